"""What runs have changed on the remote, each in a file of its own, for ``undo``.

    done.<serial>   of the run that saved the snapshot of that number: msgpack, as all that is small

There is a ``done`` only of runs with a trash (``--trash``), or after one: without, it says no more than that
what was changed then is not known.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from reconcile.core.done import Done
from reconcile.core.job import Trash
from reconcile.core.model import Change
from reconcile.state.actions import pack_effects, unpack_effects
from reconcile.state.private import open_ours
from reconcile.state.small import put, recall, remember
from reconcile.state.undone import HELD, VERSION, check_paths

MOST = 60  # runs that can be undone

_LIST = "done"  # in a parcel: which there are
_NAME = re.compile(r"done\.([0-9]{1,18})")


def note_done(folder: str, done: Done) -> None:
    """Remember what a run has changed. Raises OSError."""
    changes = done.changes
    olds, news = ({change.path: getattr(change, side) for change in changes} for side in ("old", "new"))
    packed = map(pack_effects, (olds, news, done.retired))
    value = [VERSION, done.run, done.began_ns, *packed, done.is_lost]
    remember(folder, _name(done.serial), value)


def read_done(folder: str) -> list[Done]:
    """All that is known of what runs have done, the latest first. What is damaged counts as not known.

    It may have come from DEST, and be anybody's: no path in it leads out.
    """
    return [_read(folder, serial) for serial in sorted(_serials(folder), reverse=True)]


def forget_done(folder: str, serials: Iterable[int] | None = None) -> None:
    """These have been undone, or can't be any more; None: all. Never fails."""
    for serial in [*_serials(folder)] if serials is None else serials:
        with suppress(OSError):
            os.unlink(os.path.join(folder, _name(serial)))


def name_of(folder: str, serial: int) -> str:
    """What the run is called at DEST that was to save this; "": not known."""
    return _read(folder, serial).run


def knows_any(folder: str) -> bool:
    """Whether there is a run that could be undone."""
    return any(True for _ in _serials(folder))


def outgrown(folder: str, limits: Trash | None) -> Iterator[int]:
    """Those of which nothing can be in the trash any more, and those beyond so many."""
    serials = sorted(_serials(folder), reverse=True)
    yield from serials[MOST:]
    if limits is not None and limits.seconds is not None:
        for serial in serials[:MOST]:
            with suppress(OSError):
                if os.stat(os.path.join(folder, _name(serial))).st_mtime + limits.seconds < time.time():
                    yield serial


def parcel_of(folder: str, serial: int | None = None, undone: Collection[int] = ()) -> dict[str, bytes]:
    """What goes along to DEST with the state of this serial, or with what is intended; what is ``undone``
    with it can't be undone any more."""
    found = {}
    serials = sorted({*_serials(folder)} - {*undone})
    if serial is not None and (serials or undone):
        found[_LIST] = " ".join(map(str, serials)).encode()
    for name in (HELD, *([] if serial is None else [_name(serial)])):
        with suppress(OSError), open(open_ours(os.path.join(folder, name)), "rb") as file:
            found[name] = file.read()
    return found


def put_parcel(folder: str, files: Mapping[str, bytes]) -> None:
    """The other way round. What was undone elsewhere is not known here any more, and what was done elsewhere,
    and has not come here, is known to be no more than that. Raises OSError."""
    for name, data in files.items():
        if name == HELD or _NAME.fullmatch(name):
            put(os.path.join(folder, name), data)
    if HELD not in files:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, HELD))
    if _LIST in files:
        known, here = {int(each) for each in re.findall(rb"[0-9]{1,18}", files[_LIST])}, {*_serials(folder)}
        forget_done(folder, here - known)
        for serial in sorted(known - here)[-MOST:]:
            note_done(folder, Done(serial, "", 0, is_lost=True))


def _name(serial: int) -> str:
    return f"done.{serial}"


def _serials(folder: str) -> Iterator[int]:
    with suppress(OSError):
        for name in os.listdir(folder):
            if match := _NAME.fullmatch(name):
                yield int(match[1])


def _read(folder: str, serial: int) -> Done:
    lost = Done(serial, "", 0, is_lost=True)
    try:
        value: Any = recall(folder, _name(serial))
        version, run, began_ns, olds, news, gone, is_lost = value
        before, after, retired = map(unpack_effects, (olds, news, gone))
        check_paths(before | retired, version)
        if is_lost:
            return Done(serial, str(run), int(began_ns), is_lost=True)
        if before.keys() != after.keys():
            return lost
        changes = [Change(path, before[path], after[path]) for path in sorted(before)]
        known = {path: entry for path, entry in retired.items() if entry is not None}
        return Done(serial, str(run), int(began_ns), changes, known)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return lost
