"""Who is told of a run besides who looks on: a monitor by its URL, and commands of the user's own.

What may live here: that, and nothing that decides what becomes of a run, but for the command before it.
Nothing of it is imported for a run that is told to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from reconcile.core.errors import UsageError

if TYPE_CHECKING:
    from reconcile.core.job import Job
    from reconcile.report import Recorder
    from reconcile.told.hooks import Companion

HOOKS = ("before", "after", "on_success", "on_failure")
TELLING = ("ping", *HOOKS)  # the options


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


def find_companion(job: Job, reporter: Recorder, values: Mapping[str, Any]) -> Companion | None:
    """Who runs what goes beside the run, if anything does; he is told how it ends."""
    commands = {name: values[name] or "" for name in HOOKS}
    if not any(commands.values()):
        return None
    from reconcile.told.hooks import Companion, Hooks

    companion = Companion(Hooks(**commands), job, reporter.warn)
    reporter.at_end.append(companion.end)
    return companion
