"""Paths as text, and what is known by path. Pure.

What may live here: how one path relates to another, and what lies at or below one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import TypeVar

from reconcile.core.model import OURS, PARKED, Directory, Entry, Kind

V = TypeVar("V")


def parent(path: str) -> str:
    """The directory that holds ``path``; the base for a top-level name."""
    return path.rpartition("/")[0]


def basename(path: str) -> str:
    """The last name of a path."""
    return path.rpartition("/")[2]


def join(directory: str, name: str) -> str:
    """``name`` inside ``directory``."""
    return f"{directory}/{name}" if directory else name


def ancestors(path: str) -> Iterator[str]:
    """``path`` itself and every directory above it, the base left out."""
    while path:
        yield path
        path = parent(path)


def is_ours(path: str) -> bool:
    """Whether it is a place in the run's folder on the remote, and no path of a user."""
    return path.startswith(OURS)


def is_plain(path: str) -> bool:
    """Whether it leads to a place below the base, and is written in the one way that it is here."""
    return "\0" not in path and {"", ".", ".."}.isdisjoint(path.split("/"))


def parking_place(number: int) -> str:
    """Where something is that made way for others, and has yet to go on."""
    return f"{PARKED}/{number}"


def within(path: str, tops: Container[str]) -> bool:
    """Whether ``path`` or a directory above it is among ``tops``."""
    return any(top in tops for top in ancestors(path))


def lookup(dirs: Mapping[str, Directory], path: str) -> Entry | None:
    """The entry of one path."""
    holder, _, name = path.rpartition("/")
    directory = dirs.get(holder)
    return directory.entries().get(name) if directory is not None else None


def below(snapshot: Mapping[str, Directory], top: str) -> Iterator[tuple[str, Entry]]:
    """Every path below the directory ``top`` with its entry, parents first."""
    waiting = [top]
    while waiting:
        path = waiting.pop()
        directory = snapshot.get(path)
        if directory is None:
            continue
        for name, entry in directory.entries().items():
            inside = join(path, name)
            yield inside, entry
            if entry.kind is Kind.DIR:
                waiting.append(inside)


class Inside(Iterable[tuple[str, Entry]]):
    """The same, relative to ``top``; looked up when somebody asks. ``newer``: what hides or shows more."""

    def __init__(
        self, dirs: Mapping[str, Directory], top: str, newer: Mapping[str, Entry | None] | None = None
    ) -> None:
        self._dirs, self._top, self._newer = dirs, top, newer or {}

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        for path, entry in below(self._dirs, self._top):
            newer = self._newer.get(path)
            is_other = newer is not None and newer.excluded is not entry.excluded
            yield path[len(self._top) + 1 :], newer if newer is not None and is_other else entry


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
