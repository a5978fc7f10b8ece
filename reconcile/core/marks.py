"""The mark that a job has in its folder on the remote, and what it tells by its name. Pure.

    mark-<serial>-<nonce>/id     "id" alone where only versions have been that name it so

A run gives it a new name as it begins to write and another as it ends, and the snapshot
and the journal know which names mean that nobody has been there since. So a state that is
older than the remote, or a remote older than the state, is seen in a listing that is made
anyway.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

BEFORE = "id"  # its name in versions that never change it

_NAME = r"mark-([0-9]{1,18})-[0-9a-f]{1,32}"


def name_mark(serial: int, nonce: str) -> str:
    """The name for a run that will save the snapshot with this serial; ``nonce``: hexadecimal digits."""
    return f"mark-{serial}-{nonce}"


def is_mark(name: str) -> bool:
    """Whether something in the job's folder on the remote is a mark."""
    return name == BEFORE or re.fullmatch(_NAME, name) is not None


def serial_of(name: str) -> int:
    """Which save of the snapshot a mark is of; 0: nobody knows."""
    match = re.fullmatch(_NAME, name)
    return int(match[1]) if match else 0


def explain_marks(expected: str, seen: Sequence[str]) -> str:
    """What it means that the remote has another mark than the state knows: a sentence."""
    here, there = serial_of(expected), max(map(serial_of, seen), default=0)
    if there > here:
        return (
            f"the state here is older than DEST (save {here} here, {there} there): it is a restored copy, or "
            "a run somewhere else has sent to DEST since"
        )
    if there < here:
        return (
            f"DEST is older than the state here (save {there} there, {here} here): it was restored from "
            "a backup, or rolled back"
        )
    return "DEST is not as this state left it: a run with another copy of the state has sent to it since"
