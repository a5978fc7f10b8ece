"""How long the same path has been failing: counted from run to run, for people."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping

from reconcile.core.chosen import is_in_scope
from reconcile.core.job import Since
from reconcile.core.model import Problem, Stage
from reconcile.state.small import recall, remember

NAME = "problems"


def update(
    folder: str,
    problems: Iterable[Problem],
    say: Callable[[str], None],
    *,
    day: str | None = None,
    scope: Collection[str] | None = None,
) -> Mapping[str, Since]:
    """Count the problems of a run that came to its end; what has none any more is forgotten.

    What was not looked at, as it is out of ``scope``, is counted as it was.

    Returns since when each path of ``problems`` has been failing, this run counted;
    the longest, if it fails in several stages. ``day`` is today unless given. Never
    fails: ``say`` is told when the count is lost.
    """
    try:
        before = _load(recall(folder, NAME))
    except (ValueError, TypeError):
        before = {}
        say("the count of earlier problems was damaged; it begins anew")
    start = Since(day or time.strftime("%Y-%m-%d"), 0)
    now = {key: since for key, since in before.items() if not is_in_scope(key[0], scope)}
    for problem in problems:
        since = before.get((problem.path, problem.stage), start)
        now[problem.path, problem.stage] = Since(since.day, since.runs + 1)
    if now or before:
        rows = [(path, str(stage), since.day, since.runs) for (path, stage), since in now.items()]
        try:
            remember(folder, NAME, rows or None)
        except OSError as error:
            say(f"the count of problems can't be saved: {error.strerror}")
    failing: dict[str, Since] = {}
    for (path, _), since in now.items():
        failing[path] = max(failing.get(path, since), since, key=lambda each: each.runs)
    return failing


def recall_failing(folder: str) -> dict[tuple[str, Stage], Since]:
    """What failed in the last run that came to its end, and since when."""
    try:
        return _load(recall(folder, NAME))
    except (ValueError, TypeError):
        return {}


def describe_failing(failing: Mapping[str, Since]) -> str:
    """How long what is to be done again has been failing, for people."""
    runs = max(since.runs for since in failing.values())
    day = min(since.day for since in failing.values())
    names = ", ".join(repr(path)[1:-1] for path in list(failing)[:3])
    more = f" and {len(failing) - 3:,} more" if len(failing) > 3 else ""
    return f"tried again: {names}{more} (failing since {day}, {runs} {'run' if runs == 1 else 'runs'})"


def awaits_cleanup(folder: str) -> bool:
    """Whether the last run that came to its end left something of its own on the remote."""
    return any(stage is Stage.CLEANUP for _, stage in recall_failing(folder))


def _load(rows: object) -> dict[tuple[str, Stage], Since]:
    """Raises ValueError or TypeError for what ``update`` would not have written."""
    loaded: dict[tuple[str, Stage], Since] = {}
    if not isinstance(rows, list | None):
        raise TypeError("no list")
    for path, stage, day, runs in rows or ():
        if (type(path), type(stage), type(day), type(runs)) != (str, str, str, int):
            raise TypeError("of the wrong type")
        loaded[path, Stage(stage)] = Since(day, runs)
    return loaded
