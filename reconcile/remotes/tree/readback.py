"""What a file on the server holds: read back and hashed, several at a time. Nothing of it is kept.

What may live here: reading content off the wire.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconcile.remotes.tree.steps import Farewell, Recipe
from reconcile.remotes.tree.verbs import Close, Data, Handle, OpenToRead, Read, Status
from reconcile.source.files import new_hash

PIECE = 32 * 1024  # bytes that every server answers one READ with (draft, section 6.4)
AHEAD = 8  # READs of one file that are under way
FILES = 32  # that are read at a time: what comes must fit into memory


def read_digest(path: bytes, size: int) -> Recipe[bytes | None]:
    """The xxh3-128 of the ``size`` bytes of a file; None if it can't be read or has fewer."""
    hasher = new_hash()
    if not size:
        return hasher.digest()
    opened: Handle | Status = yield OpenToRead(path)
    if isinstance(opened, Status):
        return None
    done = 0
    while done < size:
        ends = range(done, min(size, done + AHEAD * PIECE), PIECE)
        wanted = [(start, min(PIECE, size - start)) for start in ends]
        replies: list[Data | Status] = yield [Read(opened.handle, start, length) for start, length in wanted]
        pieces = _in_a_row(wanted, replies)
        if not pieces:
            break
        for piece in pieces:
            hasher.update(piece)
            done += len(piece)
    yield Farewell(Close(opened.handle))
    return hasher.digest() if done == size else None


def _in_a_row(wanted: Sequence[tuple[int, int]], replies: Sequence[Data | Status]) -> list[bytes]:
    """What came without a gap, from the beginning on. The rest has to be asked for again."""
    pieces: list[bytes] = []
    for (_, length), reply in zip(wanted, replies, strict=True):
        if not isinstance(reply, Data) or not 0 < len(reply.data) <= length:
            break
        pieces.append(reply.data)
        if len(reply.data) < length:  # a server may answer with less
            break
    return pieces
