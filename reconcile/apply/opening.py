"""A connection that is made beside other work, as connecting is mostly waiting.

What may live here: the thread that makes it, and what keeps it from asking the user out of turn.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from reconcile.core.errors import Unreachable
from reconcile.core.job import Reporter
from reconcile.remotes import Remote

# Seconds until a busy thread lets the one that connects go on, which is mostly waiting. With the one that is
# best later (see ``__main__``) a run that sends twenty files takes a thirtieth longer.
_HURRY = 0.0005
_LOOK_UP = 0.2  # seconds: a signal that comes just before a wait begins is heard only after it


class Aside:
    """The reporter, for a connection that is made beside other work: it asks nothing before its turn."""

    def __init__(self, reporter: Reporter) -> None:
        self.turn = threading.Event()
        self.unwanted = False
        self._reporter = reporter
        self.phase, self.say, self.warn = reporter.phase, reporter.say, reporter.warn
        self.planned, self.refused, self.sent = reporter.planned, reporter.refused, reporter.sent
        self.retrying, self.outcome = reporter.retrying, reporter.outcome

    def asking(self) -> None:
        """Not before somebody waits for the connection. Raises Unreachable if nobody ever will."""
        self.turn.wait()
        if self.unwanted:
            raise Unreachable("nobody waits for the connection any more")
        self._reporter.asking()


class Opening:
    """A connection that is being made by a thread of its own."""

    def __init__(self, connect: Callable[[], Remote], aside: Aside) -> None:
        self._connect = connect
        self._aside = aside
        self._remote: Remote | None = None
        self._error: BaseException | None = None
        self._unwanted = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        usual = sys.getswitchinterval()
        sys.setswitchinterval(_HURRY)
        try:
            self._remote = self._connect()
        except BaseException as error:  # noqa: BLE001 — raised again where it is waited for
            self._error = error
        finally:
            sys.setswitchinterval(usual)
        if self._unwanted and self._remote is not None:
            self._remote.close()

    def wait(self) -> Remote:
        """The remote, once it is open; or what went wrong is raised."""
        self._aside.turn.set()
        while self._thread.is_alive():
            self._thread.join(_LOOK_UP)
        if self._error is not None:
            raise self._error
        assert self._remote is not None
        return self._remote

    def abandon(self) -> None:
        """Nobody waits for it any more. Does not wait either: a dead host may take its time."""
        self._unwanted = self._aside.unwanted = True
        self._aside.turn.set()
        if not self._thread.is_alive() and self._remote is not None:
            self._remote.close()
