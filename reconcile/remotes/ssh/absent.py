"""A module that one thread does without for a while, and that all others import as ever."""

from __future__ import annotations

import sys
import threading


class Absent:
    """An importer that finds no module ``name`` for the thread that makes it, until its end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: int | None = threading.get_ident()
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:  # noqa: ARG002
        """See ``importlib.abc.MetaPathFinder``."""
        if name == self._name and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"no {name} for us", name=name)

    def end(self) -> None:
        """From now on it is as ever. It stays listed: who walks the list just now would miss the next."""
        self._thread = None
