"""Who tells the user: a terminal (rich), plain text for cron and CI, GitHub's log, JSON for machines.

All of them are told the same things (:class:`reconcile.core.job.Reporter`) and end with either ``finish``
or ``fail``. What is said is decided in ``words``, ``plans`` and ``document``, which are pure; in the
others only where and how.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from reconcile.ci import in_ci, on_github
from reconcile.report.outlet import Outlet
from reconcile.report.plain import PlainReporter
from reconcile.report.recorder import Recorder

__all__ = ["Outlet", "PlainReporter", "Recorder", "make_reporter"]


def make_reporter(
    command: str,
    *,
    as_json: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> Recorder:
    """The one that fits: ``--json``, GitHub's log, a terminal, or none of these.

    ``stdout``, ``stderr``: in their place.
    """
    out, err = Outlet(stdout or sys.stdout), Outlet(stderr or sys.stderr)
    if as_json:
        from reconcile.report.json import JsonReporter

        return JsonReporter(command, out)
    if on_github():
        from reconcile.report.github import GithubReporter, LogOutlet

        streams = LogOutlet(out.stream), LogOutlet(err.stream)
        return GithubReporter(command, *streams, quiet=quiet, verbose=verbose)
    if out.isatty() and os.environ.get("TERM") != "dumb" and not in_ci():
        from reconcile.report.terminal import TerminalReporter  # imports rich

        return TerminalReporter(command, out, err, quiet=quiet, verbose=verbose)
    return PlainReporter(command, out, err, quiet=quiet, verbose=verbose)
