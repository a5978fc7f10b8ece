"""The edits of ``world`` on a real folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.support.world import Edit

_OLD = 1_600_000_000  # seconds since the epoch: nothing is so young that it might still be written


class Folder:
    """A folder that somebody edits. What can't be done there is not."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self._clock = _OLD

    def edit(self, edits: Iterable[Edit]) -> None:
        for each in edits:
            self._edit(each)

    def _edit(self, edit: Edit) -> None:
        place, other = self.top / edit.path, self.top / edit.other
        related = place == other or place in other.parents or other in place.parents
        match edit.what:
            case "file" if self._has_room(place):
                place.write_text(edit.content)
                self._tick(place)
            case "link" if self._has_room(place):
                place.symlink_to(edit.content or "target")
            case "dir" if self._has_room(place):
                place.mkdir()
            case "remove":
                _remove(place)
            case "rename" if not related and os.path.lexists(place) and self._has_room(other):
                place.rename(other)
            case "swap" if not related and os.path.lexists(place) and os.path.lexists(other):
                aside = self.top / "aside"
                place.rename(aside)
                other.rename(place)
                aside.rename(other)
            case "chmod" if place.exists() and not place.is_symlink():
                place.chmod(0o700 if place.stat().st_mode & 0o077 else 0o755)
            case "touch" if place.is_file() and not place.is_symlink():
                self._tick(place)

    def _has_room(self, place: Path) -> bool:
        """Make way for something, and the folders above it; not through what is no folder."""
        for above in reversed(place.relative_to(self.top).parents[:-1]):
            folder = self.top / above
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                return False
            folder.mkdir(exist_ok=True)
        _remove(place)
        return True

    def _tick(self, place: Path) -> None:
        self._clock += 10
        os.utime(place, (self._clock, self._clock))


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    elif os.path.lexists(place):
        place.unlink()
