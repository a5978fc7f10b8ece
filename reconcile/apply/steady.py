"""The small store at DEST, whatever becomes of connections. See ``remotes.Store``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Protocol, TypeVar

from reconcile.remotes import Remote

T = TypeVar("T")


class Insist(Protocol):
    """Asks what may be asked more than once, until it is answered."""

    def __call__(self, question: Callable[[Remote], T]) -> T:
        """See ``Retrying``."""


class SteadyStore:
    """A store that is asked over as many connections as it takes."""

    def __init__(self, insist: Insist) -> None:
        self._insist = insist

    def get(self, name: str) -> bytes | None:
        """See ``Store``."""
        return self._insist(lambda remote: remote.store.get(name))

    def put_new(self, name: str, value: bytes) -> bool:
        """See ``Store``. After a loss the name may be taken, and by us."""
        tries = count(1)

        def put(remote: Remote) -> bool:
            again = next(tries) > 1
            return remote.store.put_new(name, value) or (again and remote.store.get(name) == value)

        return self._insist(put)

    def claim(self, name: str) -> bool:
        """See ``Store``."""
        return self._insist(lambda remote: remote.store.claim(name))

    def names(self) -> list[str]:
        """See ``Store``."""
        return self._insist(lambda remote: remote.store.names())

    def age(self, name: str) -> int | None:
        """See ``Store``."""
        return self._insist(lambda remote: remote.store.age(name))

    def renew(self, name: str) -> bool:
        """See ``Store``."""
        return self._insist(lambda remote: remote.store.renew(name))

    def drop(self, name: str) -> bool:
        """See ``Store``."""
        return self._insist(lambda remote: remote.store.drop(name))

    def drop_all(self, names: Iterable[str]) -> None:
        """See ``Store``."""
        left = list(names)
        self._insist(lambda remote: remote.store.drop_all(left))
