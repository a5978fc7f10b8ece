"""Files that only grow, such as logs: what was in them may be sent while more is added. Pure.

What may live here: which files these are, and what is said of them. That a file did
only grow is proven where it is read (``source.files``). Others wait: half of a video is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from reconcile.core.filters import make_filter
from reconcile.core.model import Action, Op, Problem, Reason, Stage

BUILT_IN = ".log"  # the end of a name


class Growing:
    """Whether a path may grow: by its name, by a pattern, or since it has done nothing else for some runs."""

    def __init__(self, patterns: Sequence[str], known: Collection[str]) -> None:
        self._chosen = make_filter(patterns)
        self._known = known

    def __call__(self, path: str) -> bool:
        """Whether this one may."""
        return path.endswith(BUILT_IN) or path in self._known or self._chosen.excludes(path, False)


def note_grown(done: Iterable[Action], grown: Collection[str]) -> Iterator[Problem]:
    """That files were sent as they were when the run looked at them."""
    for action in done if grown else ():
        if action.path in grown and action.new is not None and action.op in (Op.CREATE, Op.MODIFY):
            message = (
                f"grew while it was sent: the first {action.new.size:,} bytes of it; the next run sends more"
            )
            yield Problem(action.path, Stage.APPLY, Reason.GROWING, message)
