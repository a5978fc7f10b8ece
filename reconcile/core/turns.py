"""Whose turn it is to push to a DEST, as names in its store tell (see ``remotes.Store``). Pure.

    job-<name>.lock-<number>         a turn, and in it who has it
    job-<name>.lock-<number>.over    it has ended

Turns are counted. Who wants the next one makes its name, which one alone can, and then looks whether there is
a higher one: the highest is never removed, so that it shows who came later. Nothing is ever renamed. A turn
lasts as long as it is renewed: by the clock over there, no other's counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

NAMELESS = "default"  # what a job is called here that has no name
EXPIRY = 300  # seconds without a renewal after which a turn is over
COARSE = 600  # the same where the clock over there shows minutes only
RENEWAL = 60.0  # seconds from one renewal to the next
RECENT = 5.0  # seconds since a renewal after which who begins with the next level has another look
LATE = 180.0  # seconds after the last renewal, by our own clock, from which nothing more is asked for:
# what is on its way by then has the rest of EXPIRY to get there
NEWBORN = 10  # seconds that who has made a turn's name may take to write down who it is


class Holder(Struct, frozen=True):
    """Who has a turn. Read back it is anybody's word."""

    id: str  # of the run: letters, digits and "-"
    host: str = ""
    pid: int = 0
    since: int = 0  # seconds since the epoch, by the clock there
    url: str = ""  # of a CI run
    lineage: str = ""  # of its state: where what it has under way lies on the remote


class Turn(Struct, frozen=True):
    """The last turn that anybody has taken; 0: nobody ever has."""

    number: int = 0
    is_over: bool = True


def name_turn(job: str, number: int) -> str:
    """Its name in the store."""
    return f"job-{job}.lock-{number}"


def name_end(job: str, number: int) -> str:
    """What is there as soon as it has ended."""
    return f"{name_turn(job, number)}.over"


def _numbers(names: Iterable[str], job: str) -> Iterator[tuple[int, bool, str]]:
    form = re.compile(rf"job-{re.escape(job)}\.lock-([1-9][0-9]{{0,17}})(\.over)?")
    for name in names:
        if (match := form.fullmatch(name)) is not None:
            yield int(match[1]), bool(match[2]), name


def last_turn(names: Iterable[str], job: str) -> Turn:
    """The highest of them."""
    found = [(number, over) for number, over, _ in _numbers(names, job)]
    number = max((number for number, _ in found), default=0)
    return Turn(number, not number or (number, True) in found)


def outdated(names: Iterable[str], job: str, number: int) -> list[str]:
    """What nobody needs who has turn ``number``.

    Not the one before: who lists the store just then shall see one of the two.
    """
    return [name for turn, _, name in _numbers(names, job) if turn < number - 1]


def has_expired(age: int) -> bool:
    """Whether so many seconds are too many. Whole minutes may be those of a clock that shows no others."""
    return age >= (EXPIRY if age % 60 else COARSE)


def pack_holder(holder: Holder) -> bytes:
    """For the store."""
    return msgspec.json.encode(holder)


def read_holder(value: bytes | None) -> Holder | None:
    """None: it is not known who."""
    try:
        return msgspec.json.decode(value or b"", type=Holder)
    except (msgspec.DecodeError, UnicodeError):
        return None
