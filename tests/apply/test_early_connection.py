"""A connection that is made beside other work: its questions wait, and are in nobody's way."""

from __future__ import annotations

import threading

from reconcile.apply.connection import Retrying
from reconcile.core.job import Job, Reporter, Stop
from reconcile.remotes import FORGETFUL, Memory, Remote
from reconcile.remotes.ssh.target import Login, SshTarget
from reconcile.report import Recorder
from tests.support.memory import LocalTree, MemoryRemote

JOB = Job("/source", SshTarget("host", "/"), "/state", login=Login(interactive=True))


class Asked(Recorder):
    """Notes when it is told that a question comes."""

    def __init__(self) -> None:
        super().__init__("run")
        self.asked = 0

    def asking(self) -> None:
        self.asked += 1


class Server:
    """A server that wants an answer of the user."""

    def __init__(self) -> None:
        self.reached, self.ended = threading.Event(), threading.Event()
        self.lets_in = False

    def __call__(self, _job: Job, reporter: Reporter, _memory: Memory) -> Remote:
        self.reached.set()
        try:
            reporter.asking()
            self.lets_in = True
        finally:
            self.ended.set()
        return MemoryRemote({}, LocalTree())


def test_a_question_waits_until_somebody_waits_for_the_connection() -> None:
    reporter, server = Asked(), Server()
    line = Retrying(JOB, reporter, server, Stop(), FORGETFUL)
    line.open_soon()
    assert server.reached.wait(30)
    assert not server.ended.wait(0.05)  # it does not come to its end by itself
    assert reporter.asked == 0
    assert line.open() is not None
    assert (reporter.asked, server.lets_in) == (1, True)


def test_a_question_that_nobody_waits_for_is_never_put() -> None:
    reporter, server = Asked(), Server()
    line = Retrying(JOB, reporter, server, Stop(), FORGETFUL)
    line.open_soon()
    line.close()
    assert server.ended.wait(30)
    assert (reporter.asked, server.lets_in) == (0, False)


def test_no_key_is_enrolled_before_that_is_needed() -> None:
    server = Server()
    job = Job("/source", SshTarget("host", "/"), "/state", login=Login(accept_new_host_key=True))
    line = Retrying(job, Asked(), server, Stop(), FORGETFUL)
    line.open_soon()
    assert not server.reached.is_set()
    assert line.open() is not None
