"""What a tree needs of whoever carries its verbs out.

What may live here: the protocol alone. Drivers are in the wings of their protocols.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from reconcile.core.job import Stop
from reconcile.core.model import Action, Stats
from reconcile.remotes.tree.steps import Recipe

T = TypeVar("T")


class Driver(Protocol):
    """An open place where trees are. One ``run`` or ``call`` at a time.

    Any method that runs recipes may raise ConnectionLost: what has no result by then is unknown.
    """

    @property
    def name(self) -> str:
        """Who answers, in messages: "the server", "the disk"."""

    @property
    def can(self) -> frozenset[type]:
        """The verbs beyond the usual that it has: of Replace, HardLink, SetLink, Sync and Statvfs."""

    @property
    def traffic(self) -> Stats:
        """What was asked and brought so far."""

    @property
    def round_trip(self) -> float:
        """Seconds: the shortest that an answer took so far; infinite before the first."""

    @property
    def at_a_time(self) -> int:
        """How many recipes it pays to have under way."""

    @property
    def handles(self) -> int:
        """How many files and directories may be open at a time."""

    @property
    def block(self) -> int:
        """Bytes of content that one Write takes."""

    @property
    def channels(self) -> int:
        """How many channels content may be spread over."""

    def call(self, recipe: Recipe[T]) -> T:
        """Run one recipe to its end."""

    def run(self, recipes: Iterable[Recipe[T]], in_flight: int, stop: Stop | None = None) -> Iterator[T]:
        """Run recipes, at most ``in_flight`` at a time; results come as they are ready.

        Recipes are drawn lazily. An exception in a recipe ends the run, and the others are closed where
        they stand. Once ``stop`` is requested no more are drawn; if those under way don't end in time,
        Interrupted is raised.
        """

    def aside(self, recipe: Recipe[None]) -> None:
        """Run it along with what is asked next, where that takes no round trip more."""

    def expect(self, actions: Iterable[Action]) -> None:
        """These are coming: get ready for large ones, in the background."""

    def close(self) -> None:
        """Hang up; may be called twice."""
