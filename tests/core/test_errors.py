"""A run that is refused in the middle does not say that nothing was done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconcile.config import Flags, make_job
from reconcile.core.errors import ConnectionLost, Refused, UsageError, amend
from reconcile.core.job import Job, Reporter
from reconcile.core.model import Outcome
from reconcile.pipeline import run
from reconcile.remotes import Memory, Remote, open_remote
from reconcile.report import make_reporter
from tests.support.sshd import Sshd
from tests.support.trees import Tree


class BreaksOffAfterOne:
    """A remote whose line breaks once the first action has ended, and to which there is no way back."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def __getattr__(self, name: str) -> object:
        return getattr(self._remote, name)

    def perform(self, *args: object) -> Iterator[Outcome]:
        for outcome in self._remote.perform(*args):  # type: ignore[arg-type]
            yield outcome
            raise ConnectionLost("cut")


def test_refused_on_the_way_back(
    source: Path, dest: Path, state: Path, sshd: Sshd, tree: Callable[[Tree], Path]
) -> None:
    tree({"a": "a", "b": "b"})
    opened: list[BreaksOffAfterOne] = []

    def connect(job: Job, reporter: Reporter, memory: Memory) -> Remote:
        if opened:
            raise Refused("DEST is not a directory any more. Nothing was done. Look at it.")
        opened.append(BreaksOffAfterOne(open_remote(job, reporter, memory)))
        return opened[0]  # type: ignore[return-value]

    login = sshd.endpoint.login()
    reaching = {"identity": login.identity, "known_hosts": login.known_hosts}
    flags = Flags(str(source), sshd.url(dest), state=str(state), reaching=reaching)
    with pytest.raises(Refused) as refused:
        run(make_job(flags), make_reporter("run", as_json=True), connect)
    assert "Nothing was done" not in str(refused.value)
    assert "What was done before that stays" in str(refused.value)
    assert str(refused.value).endswith("Look at it.")


def test_an_error_keeps_its_kind() -> None:
    error = UsageError("No. Nothing was done. Try.")
    amend(error, "All was.")
    assert str(error) == "No. All was. Try."
