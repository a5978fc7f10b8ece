"""What a scheme says about which there is nothing to say: see ``Scheme``, whose functions these may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconcile.core.job import Job, Own, Target


def folders(target: Target, workdir: str | None) -> Mapping[str, str]:  # noqa: ARG001 - as it is asked
    """Nothing of DEST is on this machine."""
    return {}


def own_files(login: object) -> Iterable[Own]:  # noqa: ARG001 - as it is asked
    """No file here lets us in."""
    return ()


def doubt(text: str) -> str | None:  # noqa: ARG001 - as it is asked
    """It can't have been meant otherwise."""
    return None


def may_open_early(job: Job) -> bool:  # noqa: ARG001 - as it is asked
    """Nothing would be gained."""
    return False


def load() -> None:
    """Nothing slow is needed."""
