"""Which connections are tried again, the first and the later ones. No network."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from reconcile.apply.connection import Line
from reconcile.core.errors import ConnectionLost, ProtocolError, TurnedAway, Unreachable, Untrusted
from reconcile.core.job import Job, Options, Reporter, Stop
from reconcile.remotes import FORGETFUL, Memory, Remote
from reconcile.remotes.ssh.target import SshTarget
from reconcile.report.recorder import Recorder
from tests.support.memory import MemoryRemote

AWAY = Unreachable("nobody answers")
LOST = ConnectionLost("it broke")


class Calls:
    """A host that takes some calls badly before it takes one well."""

    def __init__(self, *failures: Unreachable) -> None:
        self.failures = list(failures)
        self.count = 0
        self.recorder = Recorder("run")

    def __call__(self, _job: Job, _reporter: Reporter, _memory: Memory) -> Remote:
        self.count += 1
        if self.failures:
            raise self.failures.pop(0)
        return MemoryRemote({}, None)  # type: ignore[arg-type]  # nothing is asked of it

    def line(self, retries: int = 3) -> Line:
        """A line that does not wait between two calls."""
        options = Options(retries=retries, retry_max_wait=0.0)
        job = Job("/src", SshTarget("host", "/"), "/state", options)
        return Line(job, self.recorder, self, Stop(), FORGETFUL)


@pytest.mark.parametrize("failures", [[AWAY], [AWAY] * 3, [LOST, AWAY, LOST]])
def test_the_first_connection_is_tried_as_often_as_the_later_ones(failures: Sequence[Unreachable]) -> None:
    calls = Calls(*failures)
    line = calls.line()
    assert line.remote.traffic.requests == 0
    assert line.was_open
    assert calls.count == len(failures) + 1
    words = [message for _, message in calls.recorder.said]
    assert ("not connected (nobody answers)" in words[0]) == (failures[0] is AWAY)
    assert words[0].endswith("attempt 1 of 3")


def test_in_the_end_it_is_given_up() -> None:
    calls = Calls(*[AWAY] * 9)
    with pytest.raises(Unreachable, match="nobody answers"):
        _ = calls.line(retries=3).remote
    assert calls.count == 4
    calls = Calls(*[AWAY] * 9)
    with pytest.raises(Unreachable, match="nobody answers"):
        _ = calls.line(retries=0).remote
    assert calls.count == 1
    assert not calls.recorder.said


@pytest.mark.parametrize("lasting", [TurnedAway("no"), Untrusted("who are you"), ProtocolError("no SFTP")])
@pytest.mark.parametrize("before", [0, 1])
def test_what_will_not_change_is_not_tried_again(lasting: Unreachable, before: int) -> None:
    calls = Calls(*[AWAY] * before, lasting, AWAY)
    with pytest.raises(type(lasting)):
        _ = calls.line().remote
    assert calls.count == before + 1


def test_who_had_let_us_in_may_do_so_again() -> None:
    """A server that is starting up lets nobody in for a while; but another host key stays another."""
    calls = Calls()
    line = calls.line()
    assert line.remote.traffic.requests == 0
    calls.failures = [AWAY, TurnedAway("not yet")]
    line.reopen(LOST)
    assert calls.count == 4
    calls.failures = [Untrusted("who are you"), AWAY]
    with pytest.raises(Untrusted):
        line.reopen(LOST)
    assert calls.count == 5
