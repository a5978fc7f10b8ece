"""What files on the server hold: read back, several at a time, and told in the order that was asked for.

What may live here: reading content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from reconcile.core.model import Range
from reconcile.remotes.tree.site import PIECE
from reconcile.remotes.tree.steps import Farewell, Recipe
from reconcile.remotes.tree.verbs import Close, Data, Handle, OpenToRead, Read, Status

SPAN = 256 * 1024  # bytes of a file that are read before the next ones are asked for
AT_ONCE = 64  # of a file of ours: two MiB, as much as one channel takes in a round trip
SPANS = 32  # that are read at a time: what comes must fit into memory


class Span(Struct, frozen=True):
    """So much of a range as is read at a time."""

    number: int  # of all spans
    range: int  # number of the range that it is of
    path: str
    start: int
    length: int


def spans(ranges: Iterable[Range], piece: int = PIECE) -> Iterator[Span]:
    """The parts in which ranges are read; of one without a byte there is one. ``piece``: see there."""
    number, size = 0, max(SPAN // piece, 1) * piece
    for which, (path, start, length) in enumerate(ranges):
        for at in range(start, start + max(length, 1), size):
            yield Span(number, which, path, at, min(size, start + length - at))
            number += 1


def read_span(span: Span, path: bytes, piece: int = PIECE) -> Recipe[tuple[Span, bytes | None]]:
    """What is in a file there; None if it can't be read or has less. ``path``: where the file is.
    ``piece``: bytes that are asked for in one READ, as the server grants."""
    if not span.length:
        return span, b""
    opened: Handle | Status = yield OpenToRead(path)
    if isinstance(opened, Status):
        return span, None
    done = 0
    pieces: list[bytes] = []
    while done < span.length:
        ends = range(done, span.length, piece)
        wanted = [(span.start + at, min(piece, span.length - at)) for at in ends]
        replies: list[Data | Status] = yield [Read(opened.handle, at, length) for at, length in wanted]
        came = _in_a_row(wanted, replies)
        if not came:
            break
        pieces += came
        done += sum(map(len, came))
    yield Farewell(Close(opened.handle))
    return span, b"".join(pieces) if done == span.length else None


def read_open(opened: Handle, size: int) -> Recipe[bytes | None]:
    """All of a file of ours that is open; None if it can't be read, or has less."""
    done = 0
    pieces: list[bytes] = []
    while done < size:
        ends = range(done, size, PIECE)[:AT_ONCE]
        wanted = [(at, min(PIECE, size - at)) for at in ends]
        replies: list[Data | Status] = yield [Read(opened.handle, at, length) for at, length in wanted]
        came = _in_a_row(wanted, replies)
        if not came:
            return None
        pieces += came
        done += sum(map(len, came))
    return b"".join(pieces)


def in_order(results: Iterable[tuple[Span, bytes | None]]) -> Iterator[tuple[str, bytes | None]]:
    """The spans one after the other, each range to its end, or to the first that could not be read."""
    early: dict[int, tuple[Span, bytes | None]] = {}
    turn, broken = 0, -1
    for result in results:
        early[result[0].number] = result
        while turn in early:
            span, data = early.pop(turn)
            turn += 1
            if span.range != broken:
                yield span.path, data
                broken = span.range if data is None else -1


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
