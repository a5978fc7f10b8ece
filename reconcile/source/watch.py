"""That something in a folder changed, as the system tells it (watchfiles). A hint, no more.

What may live here: this. Some events get lost, on network file systems all of them, and some are about what
is none of ours: whoever is told has to look.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from reconcile.core.errors import UsageError

if TYPE_CHECKING:
    from watchfiles.main import FileChange

TICK = 0.2  # seconds in which a signal is heeded, and a folder seen that is there again


class Watcher:
    """Watches some folders. Each of them may be a link, or not be there now."""

    def __init__(self, folders: Sequence[str], stopped: Callable[[], bool]) -> None:
        """``stopped``: whether to wait no longer. Raises UsageError without the library."""
        self.blind = ""  # why it sees nothing, if it should
        self._folders = folders
        self._tops = [os.path.realpath(folder) for folder in folders]
        self._known = [_identify(folder) for folder in folders]
        self._broke = False
        tops = {top for top, known in zip(self._tops, self._known, strict=True) if known is not None}
        self._events = _watch(_outermost(tops), stopped) if tops else iter(())
        try:
            next(self._events, None)  # so that it is at work from now on
        except (OSError, RuntimeError, ValueError) as error:  # too many folders, a name that is no UTF-8
            self.blind = str(error)

    def look(self) -> Iterator[tuple[int, str]]:
        """What changed: the number of a folder, and the path below it, "" for itself. Else waits a moment."""
        try:
            changes = next(self._events, None)
        except (OSError, RuntimeError, ValueError):  # among others a name that is no UTF-8
            self._broke = True
            changes = None
        if changes is None:
            time.sleep(TICK)
            return
        for change, path in changes:
            for number, top in enumerate(self._tops):
                if path == top and change.name == "deleted":  # the next one may have its inode
                    self._known[number] = None
                if path == top or path.startswith(f"{top.rstrip('/')}/"):
                    yield number, path[len(top) :].lstrip("/")

    def is_lost(self) -> bool:
        """Whether it has to be made anew: it broke, or a folder is another one by now."""
        now = map(_identify, self._folders)
        return self._broke or any(
            one not in (None, known) for one, known in zip(now, self._known, strict=True)
        )

    def close(self) -> None:
        """Watch no longer."""
        self._events = iter(())


class _Asked(Struct, frozen=True):
    """What the library looks at, as at an event of ``threading``."""

    is_set: Callable[[], bool]


def _watch(folders: Iterable[str], stopped: Callable[[], bool]) -> Iterator[set[FileChange]]:
    """Sets of changes, an empty one if there was none for a moment."""
    try:
        from watchfiles import watch
    except ImportError:
        raise UsageError(
            "watch needs the library watchfiles, which is not installed here: "
            "pip install 'reconcile-sftp[watch]'"
        ) from None
    milliseconds = round(TICK * 1000)
    return watch(
        *folders,
        watch_filter=None,
        debounce=milliseconds,
        stop_event=_Asked(stopped),
        rust_timeout=milliseconds,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )


def _outermost(folders: Iterable[str]) -> Sequence[str]:
    """Without those that are within others, which are watched anyway."""
    kept: list[str] = []
    for folder in sorted(folders, key=len):
        if not any(folder.startswith(f"{other.rstrip('/')}/") for other in kept):
            kept.append(folder)
    return kept


def _identify(folder: str) -> tuple[int, int] | None:
    """Which folder it is; None: it is not there."""
    try:
        info = os.stat(folder)
    except OSError:
        return None
    return info.st_dev, info.st_ino
