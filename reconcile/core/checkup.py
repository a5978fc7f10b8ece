"""What was found out of a DEST by looking at it and trying: facts, and what each means for a job. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from reconcile.core.model import Caps

Value: TypeAlias = "str | int | float | bool | list[str] | dict[str, str] | dict[str, int] | None"


class Standing(StrEnum):
    """How good a fact is for a job."""

    TOLD = "told"  # nothing that could be better
    WORKS = "works"  # was tried, and is as a job wants it
    OTHERWISE = "otherwise"  # is not, and a job minds that: what it asks for is done in another way
    LACKS = "lacks"  # what a job asks for can't be had


class Part(StrEnum):
    """What a fact is about, in the order in which they are told."""

    LINE = "connection"
    SERVER = "server"
    DEST = "DEST"
    TRIED = "what it does"


class Fact(Struct, frozen=True):
    """One thing that was found out."""

    part: Part
    name: str  # in one or two words, for people and machines
    words: str
    standing: Standing = Standing.TOLD
    means: str = ""  # for a job: a sentence
    value: Value = None  # for machines; None: the words are all


class Checkup(Struct, frozen=True):
    """All of them, in order."""

    target: str
    facts: tuple[Fact, ...] = ()

    def having(self, standing: Standing) -> list[Fact]:
        """Those that stand so."""
        return [fact for fact in self.facts if fact.standing is standing]

    @property
    def healthy(self) -> bool:
        """Whether a job gets all that it may ask for."""
        return not self.having(Standing.LACKS)


def in_order(target: str, facts: Iterable[Fact]) -> Checkup:
    """A checkup of facts as they came: by what they are about."""
    parts = list(Part)
    return Checkup(target, tuple(sorted(facts, key=lambda fact: parts.index(fact.part))))


# What a job does without, where a remote only says what it can do.
_DONE_WITHOUT = {
    "links": (Standing.LACKS, "symlinks are not sent; --links follow sends what they lead to"),
    "modes": (Standing.LACKS, "permissions are not kept"),
    "times": (Standing.LACKS, "times of files are not kept"),
    "rename": (Standing.OTHERWISE, "what is moved is sent again, or copied there"),
    "replace": (Standing.OTHERWISE, "a file that changes is not there for a moment"),
    "dirs": (Standing.OTHERWISE, "a folder is there as soon as something is in it"),
}


def of_caps(caps: Caps) -> Iterator[Fact]:
    """What is known without trying."""
    for name, (without, means) in _DONE_WITHOUT.items():
        if getattr(caps, name):
            yield Fact(Part.TRIED, name, "yes", Standing.WORKS, value=True)
        else:
            yield Fact(Part.TRIED, name, "no", without, means, value=False)
