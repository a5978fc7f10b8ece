"""A plan in a file of the user's, to be looked at by others and carried out later.

    magic "RECONPLN" · format version, 4 bytes, big-endian · frames (see ``frames``)

The first frame is the header, then come the actions of the plan, in its order. The file is 0600: names tell
things, too. How to log in is not in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import NoneType
from typing import Any

from msgspec import Struct

from reconcile.core.errors import ReconcileError, UsageError
from reconcile.core.job import Reviewed
from reconcile.core.model import Action
from reconcile.state.actions import pack_action, unpack_action
from reconcile.state.frames import frame, payloads
from reconcile.state.private import create

MAGIC = b"RECONPLN"
FORMAT = 1
_PREFIX = len(MAGIC) + 4
_ACTIONS_A_FRAME = 1000


class Saved(Struct, frozen=True):
    """A plan as it was saved, with what it was made of."""

    names: tuple[str, ...]  # of what: a job, or SRC and DEST
    flags: Mapping[str, Any]  # those that make a plan what it is, by the names of the options
    reviewed: Reviewed


def save_plan(path: str, saved: Saved) -> None:
    """Put it in the place of whatever is there, all at once. Raises ReconcileError if that can't be done."""
    actions = list(saved.reviewed.actions)
    header = {
        "names": list(saved.names),
        "flags": dict(saved.flags),
        "lineage": saved.reviewed.lineage,
        "serial": saved.reviewed.serial,
        "actions": len(actions),
    }
    fresh = f"{path}.{os.urandom(4).hex()}"
    try:
        try:
            with open(create(fresh), "wb") as file:
                file.write(MAGIC + FORMAT.to_bytes(4, "big") + frame(header))
                file.writelines(_frames(actions))
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
        except BaseException:
            if os.path.lexists(fresh):
                os.unlink(fresh)
            raise
    except OSError as error:
        raise ReconcileError(
            f"The plan can't be saved as {path!r}: {error.strerror}. Nothing was changed, here or there."
        ) from error


def read_plan(path: str) -> Saved:
    """What was saved there. Raises UsageError for what is no plan, or none that can be read."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError(f"--plan: {path!r} can't be read: {error.strerror}. Nothing was done.") from error
    version = int.from_bytes(data[len(MAGIC) : _PREFIX], "big")
    if not data.startswith(MAGIC) or version == 0:
        raise UsageError(
            f"--plan: {path!r} is no plan that 'reconcile plan --out FILE' has saved. Nothing was done."
        )
    if version > FORMAT:
        raise UsageError(
            f"--plan: {path!r} was saved by a newer reconcile (format {version}; this one reads up to "
            f"{FORMAT}). Nothing was done. Use that version, or plan again."
        )
    try:
        return _load(payloads(data, _PREFIX))
    except (StopIteration, ValueError, TypeError, KeyError, IndexError) as error:
        raise UsageError(f"--plan: {path!r} is damaged. Nothing was done. Plan again.") from error


def _load(frames: Iterator[Any]) -> Saved:
    header = next(frames)
    actions = [unpack_action(packed) for some in frames for packed in some]
    if len(actions) != header["actions"]:
        raise ValueError("it ends early")
    if not all(type(action.path) is str and type(action.source) in (str, NoneType) for action in actions):
        raise TypeError("of the wrong type")
    reviewed = Reviewed(str(header["lineage"]), int(header["serial"]), actions)
    flags = {str(name): _as_typed(value) for name, value in header["flags"].items()}
    return Saved(tuple(map(str, header["names"])), flags, reviewed)


def _as_typed(value: Any) -> Any:
    """What may be given several times is a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _frames(actions: Iterable[Action]) -> Iterable[bytes]:
    rest = iter(actions)
    while some := [pack_action(action) for action in islice(rest, _ACTIONS_A_FRAME)]:
        yield frame(some)
