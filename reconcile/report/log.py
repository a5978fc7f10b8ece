"""For programs: what is said on the way goes to the logger ``reconcile``. How it ended they know."""

# ruff: noqa: D102 - what a reporter is told is documented once, where it is told first

from __future__ import annotations

import logging

from reconcile.report import words
from reconcile.report.recorder import Recorder

_LOGGER = logging.getLogger("reconcile")


class LogReporter(Recorder):
    """Notes, and nothing else."""

    def tell(self, message: str, *, loud: bool = False) -> None:
        _LOGGER.log(logging.WARNING if loud else logging.INFO, "%s", words.show_message(message))
