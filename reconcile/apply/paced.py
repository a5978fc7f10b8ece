"""No more bytes a second than was asked for: whoever sends tells each piece first, and is held up here.

What may live here: that. It works for whatever remote there is, as all of them tell what they send.
"""

from __future__ import annotations

import threading
import time

from reconcile.core.job import Reporter, Stop

_NAP = 0.2  # seconds: so soon a run that is asked to end is let go
_SLACK = 0.25  # seconds of unused time that may be made up for


class _Paced:
    """The reporter, which takes its time to hear what was sent."""

    def __init__(self, reporter: Reporter, rate: float, stop: Stop) -> None:
        self.phase, self.say, self.warn = reporter.phase, reporter.say, reporter.warn
        self.planned, self.refused, self.asking = reporter.planned, reporter.refused, reporter.asking
        self.retrying, self.outcome = reporter.retrying, reporter.outcome
        self._sent, self._rate, self._stop = reporter.sent, rate, stop
        self._free = 0.0  # when all that was told will have had its time
        self._lock = threading.Lock()  # S3 sends from several threads

    def sent(self, count: int, path: str) -> None:
        """So many bytes more: comes back once they have had their time."""
        self._sent(count, path)
        with self._lock:
            self._free = max(self._free, time.monotonic() - _SLACK) + count / self._rate
            free = self._free
        while not self._stop.requested and (left := free - time.monotonic()) > 0:
            time.sleep(min(left, _NAP))


def pace(reporter: Reporter, rate: float | None, stop: Stop) -> Reporter:
    """The reporter for a remote that may send ``rate`` bytes a second; None: as many as it can."""
    return reporter if rate is None else _Paced(reporter, rate, stop)
