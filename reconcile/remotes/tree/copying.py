"""A copy of a file there, where the server makes none and gives no second names: it goes through us."""

from __future__ import annotations

from reconcile.remotes.tree.readback import read_span, spans
from reconcile.remotes.tree.site import PIECE, Site, act
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Attrs, Close, Code, Handle, Lstat, Remove, Set, Status, Write


def copy_through_us(site: Site, old: bytes, new: bytes, attrs: Attrs) -> Recipe[Status]:
    """Copy ``old``, a file of these attributes, to ``new``; half of one, which was cut off, is made anew.

    Piece by piece, so that a large one takes no memory. Its time is set last.
    """
    opened: Handle | Status = yield site.open_new(new, attrs.mode & 0o777)
    if isinstance(opened, Status):
        there: Attrs | Status = yield Lstat(new)
        if isinstance(there, Status):
            return opened
        if (there.size, there.mtime) == (attrs.size, attrs.mtime):
            return OK
        yield Remove(new)
        opened = yield site.open_new(new, attrs.mode & 0o777)
        if isinstance(opened, Status):
            return opened
    status = yield from _send(opened, old, attrs.size)
    closed: Status = yield Close(opened.handle)
    if status is OK and closed is OK:
        return (yield from act(Set(new, attrs.mode & 0o777, attrs.mtime)))
    yield Remove(new)
    return closed if status is OK else status


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
