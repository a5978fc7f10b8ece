"""What a tree needs of whoever carries its verbs out.

What may live here: the protocol alone. Drivers are in the wings of their protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from reconcile.core.job import Stop
from reconcile.core.model import Stats
from reconcile.remotes.tree.steps import Recipe

T = TypeVar("T")


class Driver(Protocol):
    """A place where trees are, open. One ``run`` or ``call`` at a time.

    What runs recipes may raise ConnectionLost: what has no result by then is unknown.
    """

    @property
    def traffic(self) -> Stats:
        """What was asked and brought so far."""

    @property
    def at_a_time(self) -> int:
        """How many recipes it pays to have under way, as far as is known by now."""

    @property
    def channels(self) -> int:
        """How many channels content may be spread over."""

    def call(self, recipe: Recipe[T]) -> T:
        """Run one recipe to its end."""

    def run(self, recipes: Iterable[Recipe[T]], in_flight: int, stop: Stop | None = None) -> Iterator[T]:
        """Run recipes, at most ``in_flight`` at a time; results come as they are ready.

        Recipes are drawn lazily. An exception in a recipe is a bug: it ends the run, and the others are
        closed where they stand. Once ``stop`` is requested no more are drawn; if those under way don't end
        in time, Interrupted is raised.
        """

    def aside(self, recipe: Recipe[None]) -> None:
        """Run it along with what is asked next: that takes as many round trips as it does anyway."""

    def mind(self, check: Callable[[], None], beat: Callable[[], Recipe[None] | None]) -> None:
        """From now on ``check`` before anything is asked, which raises what is to end it, and run a ``beat``
        along with what goes on whenever there is one."""

    def ask_for_channels(self, sizes: Iterable[int], most: int | None = None) -> int:
        """Files of so many bytes are coming: how many more channels were asked for, in the background.

        ``most``: that there may be, if it is known that no more are granted.
        """

    def take_channels(self, *, wait: bool) -> bool:
        """Use those that were asked for, if need be once they are there. False: there is nothing new."""

    def open_all_channels(self) -> int:
        """As many as a run would ever use: how many were asked for, the first one counted."""

    def close(self) -> None:
        """Hang up; may be called twice."""
