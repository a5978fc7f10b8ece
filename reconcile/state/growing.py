"""Files that could not be sent in the runs before since they grew: after two they are taken for logs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from reconcile.core.chosen import is_in_scope
from reconcile.core.model import Problem, Reason
from reconcile.state.small import recall, remember

NAME = "growing"
ENOUGH = 2  # runs in a row


def known_growing(folder: str) -> frozenset[str]:
    """Those that may be sent while they grow."""
    return frozenset(path for path, runs in _recall(folder).items() if runs >= ENOUGH)


def note_growing(
    folder: str, problems: Iterable[Problem], grown: Collection[str], scope: Collection[str] | None = None
) -> None:
    """Count the runs that failed; what was sent while it grew (``grown``) stays known. Never fails.

    So does what was not looked at, as it is out of ``scope``.
    """
    before = _recall(folder)
    now = {p: runs for p, runs in before.items() if p in grown or not is_in_scope(p, scope)}
    for problem in problems:
        if problem.reason is Reason.GROWING:
            now[problem.path] = min(before.get(problem.path, 0) + 1, ENOUGH)
    if now != before:
        with suppress(OSError):
            remember(folder, NAME, sorted(now.items()) or None)


def _recall(folder: str) -> Mapping[str, int]:
    try:
        return {path: runs for path, runs in recall(folder, NAME) or () if type(path) is str and runs > 0}
    except (ValueError, TypeError):
        return {}
