"""What is known by path, and what of it lies below one. Pure.

What may live here: containers of paths, which know nothing of what they hold.
"""

from __future__ import annotations

from typing import TypeVar

V = TypeVar("V")


class PathDict(dict[str, V]):
    """A dictionary by path that takes out what is at or below one without a look at all the rest.

    It changes by item assignment, ``setdefault`` and ``cut`` only. The index is made
    when it is first wanted: mostly it never is.
    """

    __slots__ = ("_inside",)

    _inside: dict[str, set[str]] | None  # path → what is known in it, or leads to what is

    def __init__(self, items: dict[str, V] | None = None) -> None:
        super().__init__(items or {})
        self._inside = None

    def __setitem__(self, path: str, value: V) -> None:
        if self._inside is not None and path not in self:
            _link(self._inside, path)
        super().__setitem__(path, value)

    def setdefault(self, path: str, value: V) -> V:
        """As of any dictionary."""
        if path not in self:
            self[path] = value
        return self[path]

    def cut(self, top: str) -> dict[str, V]:
        """Take out ``top`` and all below it, parents first."""
        if self._inside is None:
            self._inside = {"": set()}
            for path in self:
                _link(self._inside, path)
        found: dict[str, V] = {}
        waiting = [top]
        while waiting:
            path = waiting.pop()
            if path in self:
                found[path] = super().pop(path)
            waiting += self._inside.pop(path, ())
        self._inside.get(top.rpartition("/")[0], set()).discard(top)
        return found


def _link(inside: dict[str, set[str]], path: str) -> None:
    """Make a path known to the directory it is in, and that to its own, as far as it is not yet."""
    while path:
        above = path.rpartition("/")[0]
        known = inside.get(above)
        if known is not None:
            known.add(path)
            return
        inside[above] = {path}
        path = above
