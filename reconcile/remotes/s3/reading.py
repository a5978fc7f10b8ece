"""What objects hold: read back in pieces, several at a time, and told in the order that was asked for.

What may live here: reading content, and telling without it whether it is what we have.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future

from reconcile.core.model import NS, Entry, Range, Seen
from reconcile.remotes.s3.failure import Refusal
from reconcile.remotes.s3.settings import KMS
from reconcile.remotes.s3.site import Site
from reconcile.remotes.s3.tags import asked, unpack
from reconcile.source.files import Source, SourceError, stamp_of

PIECE = 4 << 20  # bytes of one request
AHEAD = 8  # requests under way: what comes must fit into memory


def read(site: Site, ranges: Sequence[Range]) -> Iterator[tuple[str, bytes | None]]:
    """See ``Remote``."""
    spans = (
        (number, path, at, min(PIECE, start + length - at))
        for number, (path, start, length) in enumerate(ranges)
        for at in range(start, start + max(length, 1), PIECE)
    )
    under_way: deque[tuple[int, str, Future[bytes | None]]] = deque()
    broken = -1
    try:
        while True:
            while len(under_way) < min(site.pool.size, AHEAD) and (span := next(spans, None)) is not None:
                number, path, at, length = span
                under_way.append((number, path, site.pool.submit(_read, site, path, at, length)))
            if not under_way:
                return
            number, path, future = under_way.popleft()
            data = future.result()
            if number != broken:
                yield path, data
            broken = number if data is None else broken
    finally:
        for _, _, future in under_way:
            future.cancel()


def _read(site: Site, path: str, start: int, length: int) -> bytes | None:
    try:
        data = site.service.read(site.keys.of(path), start, length)
    except Refusal:
        return None
    return data if len(data) == length else None


def recognise(
    site: Site, files: Iterable[tuple[str, Entry, Seen]], source: Source
) -> Iterator[tuple[str, bool]]:
    """See ``Remote``. By the ETag, where that is an MD5; else by what is noted with it, a HEAD each."""
    unclear: list[tuple[str, Entry]] = []
    for path, entry, seen in files:
        shown = unpack(seen.tag)
        if shown.is_md5 and _md5(source, path, entry) == shown.etag:
            yield path, True
        else:
            unclear.append((path, entry))
    if unclear:
        count = len(unclear)
        site.say(
            f"{count:,} {'object' if count == 1 else 'objects'} there of the size of ours, with an ETag that "
            "does not say whether it is the same: each is asked for what is noted with it"
        )
    tasks = [lambda path=path, entry=entry: (path, _is_noted(site, path, entry)) for path, entry in unclear]
    for path, answer in site.pool.run(tasks):
        if answer is not None:
            yield path, answer


def _is_noted(site: Site, path: str, entry: Entry) -> bool | None:
    try:
        reply = site.service.ask("head_object", Key=site.keys.of(path))
    except Refusal:
        return None
    shown = asked(reply)
    is_hidden = KMS in str(reply.get("ServerSideEncryption", "")) or "SSECustomerAlgorithm" in reply
    if shown.is_md5 and not is_hidden:
        return False  # which of this content would be another one
    if shown.digest is None or shown.digest != entry.digest:
        return None if shown.digest is None else False
    # Who edits an object may leave what is noted with it as it is, but for the time: then it is read back.
    return True if shown.mtime_ns is not None and shown.mtime_ns // NS == entry.mtime else None


def _md5(source: Source, path: str, entry: Entry) -> str:
    hasher = hashlib.md5(usedforsecurity=False)
    try:
        for piece in source.pieces(path, stamp_of(entry)):
            hasher.update(piece)
    except SourceError:
        return ""
    return hasher.hexdigest()
