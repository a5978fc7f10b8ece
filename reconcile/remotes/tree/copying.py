"""A copy of a file there, where a second name will not do: the server makes it (copy-data), or it goes by us.

What may live here: copying, and what shows that a server that says it copies does so.
"""

from __future__ import annotations

from reconcile.core.model import PERMISSIONS, Action, Entry, Kind, Op
from reconcile.core.paths import parent
from reconcile.remotes.tree.link import intended, look, matches
from reconcile.remotes.tree.readback import read_span, spans
from reconcile.remotes.tree.rescue import staging_place
from reconcile.remotes.tree.second_name import Named, is_reached
from reconcile.remotes.tree.site import PIECE, Site, act, kind_of, wire_time
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import (
    OK,
    Attrs,
    Close,
    Code,
    Copy,
    Handle,
    Lstat,
    OpenToRead,
    Remove,
    Set,
    Status,
    Sync,
    Write,
)

SAMPLE = 4096  # bytes by which it shows whether a copy was made
AT_ONCE = 16 * 1024 * 1024  # bytes that a server copies before it answers, and meanwhile it does nothing else


def copy(site: Site, old: bytes, new: bytes, attrs: Attrs) -> Recipe[Status]:
    """Copy ``old``, a file of these attributes, to ``new``; half of one, which was cut off, is made anew.

    Piece by piece, so that a large one takes no memory. Its time is set last.
    """
    opened: Handle | Status = yield site.open_new(new, attrs.mode & PERMISSIONS)
    if isinstance(opened, Status):
        there: Attrs | Status = yield Lstat(new)
        if isinstance(there, Status):
            return opened
        if (there.size, there.mtime) == (attrs.size, attrs.mtime):
            return OK
        yield Remove(new)
        opened = yield site.open_new(new, attrs.mode & PERMISSIONS)
        if isinstance(opened, Status):
            return opened
    status = yield from _fill(site, opened, old, new, attrs.size)
    if status is OK:
        return (yield from act(Set(new, attrs.mode & PERMISSIONS, attrs.mtime)))
    yield Remove(new)
    return status


def copy_again(site: Site, action: Action) -> Recipe[Named | None]:
    """Stage a file whose content is there, as it was left, at another path, or at its own and has a second
    name: by a copy that the server makes. None: it has to be sent.

    RACE: what somebody writes to it while it is copied, and within the second, is taken for ours.
    """
    origin, known, new = action.source or action.path, action.moved or action.old, action.new
    if Copy not in site.can or site.memory.copies is False or new is None or known is None:
        return None
    if not (site.memory.suits(parent(action.path)) and (yield from is_reached(site, origin))):
        return None
    old, place = site.layout.at(origin), staging_place(site, action.path)
    there = yield from look(site, old)
    if not isinstance(there, Attrs) or kind_of(there) is not Kind.FILE:
        return None
    if there.size != new.size or not (yield from matches(site, old, there, known)):
        return None
    mode, time = site.mode_for(new), wire_time(new) if site.sends_times else None
    opened: Handle | Status = yield site.open_new(place, there.mode & PERMISSIONS if mode is None else mode)
    if isinstance(opened, Status):
        return None
    status = yield from _fill(site, opened, old, place, there.size, through_us=False)
    if status is OK and (mode is not None or time is not None):
        status = yield from act(Set(place, mode, time))
    copied, after = yield [Lstat(place), look(site, old)]
    is_it = status is OK and isinstance(copied, Attrs) and isinstance(after, Attrs)
    is_it = is_it and (after.size, after.mtime) == (there.size, there.mtime)
    is_it = is_it and mode in (None, copied.mode & PERMISSIONS)
    if not is_it or (time is not None and not (yield from intended(site, place, copied, new))):
        yield Remove(place)
        return None
    return Named(site.recorded(new, copied.mtime, new.digest, mode), place)


def is_there(action: Action) -> bool:
    """Whether what it brings is at its own path already, with another mode or time."""
    old, new = action.old, action.new
    return action.op is Op.MODIFY and _is_known(old) and _is_known(new) and old.digest == new.digest  # type: ignore[union-attr]


def _is_known(entry: Entry | None) -> bool:
    return entry is not None and entry.kind is Kind.FILE and not entry.foreign and entry.digest is not None


def _fill(
    site: Site, opened: Handle, old: bytes, new: bytes, size: int, *, through_us: bool = True
) -> Recipe[Status]:
    """Bring what ``old`` holds into an open new file, and close that."""
    status = Status(Code.UNSUPPORTED, "")
    if Copy in site.can and site.memory.copies is not False:
        status = yield from _have_copied(site, opened, old, new, size)
        if status is not OK:
            site.memory.copies = False
    if status is not OK and through_us:
        status = yield from _send(opened, old, size)
    if status is OK and Sync in site.can and site.syncs(size):
        status = yield Sync(opened.handle, size)
    closed: Status = yield Close(opened.handle)
    return closed if status is OK else status


def _have_copied(site: Site, opened: Handle, old: bytes, new: bytes, size: int) -> Recipe[Status]:
    source: Handle | Status = yield OpenToRead(old)
    if isinstance(source, Status):
        return source
    status: Status = OK
    for at in range(0, size, AT_ONCE):
        status = yield Copy(source.handle, opened.handle, at, min(AT_ONCE, size - at))
        if status is not OK:
            break
    yield Close(source.handle)
    if status is not OK:
        return status
    there: Attrs | Status = yield Lstat(new)
    if not isinstance(there, Attrs) or there.size != size:
        return Status(Code.FAILED, "it says that it has copied a file, and has not")
    if site.memory.copies is None and size:  # in each run of the first ones: what they hold at their ends
        [end] = spans([("", max(0, size - SAMPLE), min(size, SAMPLE))])
        (_, one), (_, other) = yield [read_span(end, old), read_span(end, new)]
        if one is None or one != other:
            return Status(Code.FAILED, "it has copied something else")
        site.memory.copies = True
    return OK


def _send(opened: Handle, old: bytes, size: int) -> Recipe[Status]:
    for span in spans([("", 0, size)]):
        _, data = yield from read_span(span, old)
        if data is None:
            return Status(Code.FAILED, "what it holds can't be read back")
        written: list[Status] = yield [
            Write(opened.handle, span.start + at, data[at : at + PIECE]) for at in range(0, len(data), PIECE)
        ]
        for status in written:
            if status is not OK:
                return status
    return OK
