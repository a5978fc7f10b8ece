"""Who is told of a run besides who looks on: a monitor by its URL, and commands of the user's own.

What may live here: that, and nothing that decides what becomes of a run, but for the command before it.
Nothing of it is imported for a run that is told to nobody.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from reconcile.core.errors import UsageError
from reconcile.core.model import Problem, Stage
from reconcile.home import expand_option

if TYPE_CHECKING:
    from reconcile.core.job import Ending, Job
    from reconcile.report import Recorder
    from reconcile.told.hooks import Companion

HOOKS = ("before", "after", "on_success", "on_failure")
TELLING = ("ping", "events", *HOOKS)  # the options


def take_telling(flags: dict[str, Any]) -> Mapping[str, str | None]:
    """Take out of the flags who is to be told. Raises UsageError for one that is empty."""
    telling = {name: flags.pop(name) for name in TELLING}
    for name, value in telling.items():
        if value is not None and not value.strip():
            raise UsageError(f"--{name.replace('_', '-')}: nothing is named; leave the option out")
    return telling


def tell_monitor(url: str, reporter: Recorder) -> None:
    """Ping that a run begins, and have it pinged how it ends. Raises UsageError for a URL that is none."""
    from reconcile.told.ping import Ping

    ping = Ping(url, reporter.say)
    reporter.at_end.append(ping.end)
    ping.start()


def tell_monitors(urls: Iterable[str], reporter: Recorder) -> None:
    """Have it pinged that a run was not even begun. What is no URL is passed over: it may be why."""
    from reconcile.told.ping import Ping

    for url in urls:
        with suppress(UsageError):
            reporter.at_end.append(Ping(url, reporter.say).end)


def tell_events(name: str, job: str, reporter: Recorder) -> None:
    """Have all that happens written to a file, at its end, or to stdout (``-``). Raises UsageError."""
    from reconcile.report.events import Events

    if name == "-":
        fd = sys.stdout.fileno()
    else:
        path = expand_option(name, "--events")
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"--events: can't write to {name!r}: {error.strerror}") from None
    events = reporter.events = Events(fd, job)

    def end(ending: Ending) -> None:
        for problem in _untold(ending):
            events.problem(problem)
        events.finished(ending)
        if events.lost:
            reporter.warn(f"--events: what happened could not be written to {name!r}: {events.lost}")

    reporter.at_end.append(end)


def _untold(ending: Ending) -> Iterator[Problem]:
    """Problems that did not come with an outcome."""
    told = (Stage.APPLY, Stage.RECOVER)
    return (problem for problem in ending.result.problems if problem.stage not in told)


def find_companion(job: Job, reporter: Recorder, values: Mapping[str, Any]) -> Companion | None:
    """Who runs what goes beside the run, if anything does; he is told how it ends."""
    commands = {name: values[name] or "" for name in HOOKS}
    if not any(commands.values()):
        return None
    from reconcile.told.hooks import Companion, Hooks

    companion = Companion(Hooks(**commands), job, reporter.warn)
    reporter.at_end.append(companion.end)
    return companion
