"""What a remote or a scheme says about which there is nothing to say: see ``Scheme``, whose functions these
may be, and ``Remote``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from reconcile.core.job import Job, Own, Target
from reconcile.core.model import Action, Entry, Outcome, Seen, Tag
from reconcile.source.files import Source


class Plain:
    """What ``Remote`` asks for, of one that has no folders that could be renamed and nothing to hold open."""

    def is_torn(self) -> bool:
        """Nothing is ever moved aside."""
        return False

    def rescue(self, actions: Sequence[Action]) -> Iterator[Outcome]:  # noqa: ARG002 - as it is asked
        """Nothing that a dead run had sent is anywhere but in its place."""
        return iter(())

    def room(self) -> int | None:
        """Nobody tells."""
        return None

    def recognise(
        self,
        files: Sequence[tuple[str, Entry, Seen]],  # noqa: ARG002 - as it is asked
        source: Source,  # noqa: ARG002 - as it is asked
    ) -> Iterator[tuple[str, bool]]:
        """Who would know has to read it."""
        return iter(())

    def noted(self, shown: Tag, entry: Entry) -> Tag | None:  # noqa: ARG002 - as it is asked
        """All that is shown."""
        return shown

    def fence(self, lineage: str) -> None:
        """What was asked for is done, or never will be."""

    def close(self) -> None:
        """Nothing is open."""


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
