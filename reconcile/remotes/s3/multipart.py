"""A large file's way to the bucket: in parts, many at a time, and there once all of them are.

What may live here: one upload, from its beginning, or from where an earlier run has left it, to its end.
It is read twice: once for its digest, which has to be told before the first part is sent.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.errors import ConnectionLost
from reconcile.core.job import Stop
from reconcile.core.model import Action, Entry, Only, Outcome, Reason
from reconcile.remotes.s3 import sums as sums_of
from reconcile.remotes.s3.copying import abort, begin
from reconcile.remotes.s3.drift import There, insist, may_write
from reconcile.remotes.s3.failure import Refusal, explain, problem
from reconcile.remotes.s3.leftover import Upload
from reconcile.remotes.s3.listing import head
from reconcile.remotes.s3.site import Site, as_kept
from reconcile.remotes.s3.tags import Shown, is_wished
from reconcile.remotes.s3.upload import look_again
from reconcile.source.files import AGAIN, PIECE, Source, SourceError, digest_of, new_hash, stamp_of

T = TypeVar("T")

FROM = 16 << 20  # bytes: what is smaller is sent in one request
PART = 8 << 20  # bytes of a part
MOST_PARTS = 10_000  # of an upload (S3 API reference)
FILES = 3  # large ones under way at a time: their parts share the threads


class Sent(Struct, frozen=True):
    """All parts of a file are there, and nobody sees it yet."""

    action: Action
    wish: Entry
    upload: Upload
    parts: list[dict[str, Any]]


class Parts:
    """Bounds what of all large files is in memory at a time."""

    def __init__(self, site: Site) -> None:
        self._pool = site.pool
        self._room = threading.Semaphore(site.pool.size + 2)

    def submit(self, task: Callable[..., T], *args: Any) -> Future[T]:
        """Begin a task that holds a part, once there is room for it. See ``Pool``."""
        self._room.acquire()
        try:
            task_under_way = self._pool.submit(task, *args)
        except BaseException:
            self._room.release()
            raise
        task_under_way.add_done_callback(lambda _: self._room.release())  # also of one that is not begun
        return task_under_way


def send(site: Site, action: Action, source: Source, parts: Parts, stop: Stop | None) -> Sent | Outcome:
    """Bring all parts. One that changes while it is read is tried once more as it is then."""
    assert action.new is not None
    wish = action.new
    while True:
        try:
            wish = replace(wish, digest=_digest(site, source, action.path, wish))
            return _send(site, action, wish, source, parts, stop)
        except SourceError as error:
            failed = problem(action.path, error.reason, error.message)
            is_first = wish.stamp is action.new.stamp
            again = (
                look_again(site, source, action.path, wish) if error.reason in AGAIN and is_first else None
            )
            if again is None:
                return Outcome(action, problem=failed)
            wish = again
        except Refusal as refusal:
            return Outcome(action, problem=explain(action.path, "send it", refusal))


def complete(site: Site, sent: Sent, there: There) -> Outcome:
    """Put it in its place, if that may be."""
    action, wish, upload = sent.action, sent.wish, sent.upload
    kept = wish if action.new is not None and wish.stamp is action.new.stamp else replace(wish, stamp=None)

    def attempt(there: There) -> Outcome:
        ways = may_write(site, action, wish, there)
        if isinstance(ways, Outcome):
            return replace(
                ways, effects={p: e and replace(e, stamp=kept.stamp) for p, e in ways.effects.items()}
            )
        is_told = False
        try:
            site.service.ask(
                "complete_multipart_upload",
                Key=upload.key,
                UploadId=upload.id,
                MultipartUpload={"Parts": sent.parts},
                **ways,
            )
            is_told = True
        except Refusal as refusal:
            if refusal.code != "NoSuchUpload":
                raise
        # Done, or done before an answer got lost. Some servers show another ETag than they answer with.
        shown = head(site.service, upload.key)
        if shown is None or not (is_wished(shown, wish) or (is_told and _has_no_notes(shown, wish))):
            said = "all of it was sent, and the server does not show it; the next run looks again"
            return Outcome(action, problem=problem(action.path, Reason.FAILED, said))
        site.uploads.end(upload)
        return Outcome(action, Only(action.path, as_kept(kept, shown, wish.digest)))

    outcome = insist(site, action, there, attempt)
    abort_if_open(site, upload)  # also where it was found to be there already
    return outcome


def _has_no_notes(shown: Shown, wish: Entry) -> bool:
    """Whether it may be what we have sent in parts: not all servers keep what is noted with that."""
    return shown.size == wish.size and shown.digest is None and shown.mtime_ns is None


def abort_if_open(site: Site, upload: Upload) -> None:
    """What was not brought out is given up."""
    if any(each.id == upload.id for each in site.uploads.left):
        abort(site, upload)


def _send(
    site: Site, action: Action, wish: Entry, source: Source, parts: Parts, stop: Stop | None
) -> Sent | Outcome:
    assert wish.digest is not None
    key = site.keys.of(action.path)
    headers = {**site.headers.of(action.path, wish, wish.digest), **_to_come(site)}
    shape = digest_of(repr(sorted(headers.items())).encode())
    upload = site.uploads.take(key, wish.digest, wish.size, shape)
    there = _parts_of(site, upload) if upload is not None else None
    if upload is None or there is None:
        size = part_size(wish.size)
        try:
            upload, there = begin(site, Upload(key, "", wish.digest, wish.size, size, shape), headers), {}
        except Refusal as refusal:
            if not _to_come(site) or refusal.status not in (400, 501):
                raise
            site.ability = replace(site.ability, compares_crc=False)  # but of what comes in one piece
            return _send(site, action, wish, source, parts, stop)
    under_way: list[Future[dict[str, Any] | Outcome]] = []
    try:
        for number, data in enumerate(_pieces(site, source, action.path, wish, upload.part), 1):
            if stop is not None:
                stop.check()
            if any(each.done() and each.exception() is not None for each in under_way):
                break
            under_way.append(parts.submit(_part, site, action, upload, number, data, there))
        sent = [each.result() for each in under_way]
    except SourceError:
        _settle(under_way)
        abort(site, upload)
        raise
    except BaseException:  # it is gone on with where it was
        _settle(under_way)
        raise
    failed = next((each for each in sent if isinstance(each, Outcome)), None)
    if failed is not None:
        abort(site, upload)
        return failed
    return Sent(action, wish, upload, [each for each in sent if not isinstance(each, Outcome)])


def _part(
    site: Site,
    action: Action,
    upload: Upload,
    number: int,
    data: bytes,
    there: Mapping[int, Mapping[str, Any]],
) -> dict[str, Any] | Outcome:
    try:
        known, crc = there.get(number), site.ability.compares_crc
        if known is not None and _is_same(known, data):
            told = {"ChecksumCRC32": known.get("ChecksumCRC32") or sums_of.crc32(data)} if crc else {}
            return {"PartNumber": number, "ETag": known["ETag"], **told}
        sums = sums_of.of_part(data, crc=crc)
        reply = site.service.put_part(upload.key, upload.id, number, data, **sums)
        if (failed := sums_of.unlike(action.path, reply, sums)) is not None:
            return Outcome(action, problem=failed)
        site.sent(len(data), action.path)
        told = {"ChecksumCRC32": sums["ChecksumCRC32"]} if crc else {}
        return {"PartNumber": number, "ETag": reply["ETag"], **told}
    except Refusal as refusal:
        return Outcome(action, problem=explain(action.path, f"send part {number} of it", refusal))


def _to_come(site: Site) -> dict[str, str]:
    """What the parts are compared by, which S3 wants to know first."""
    return {"ChecksumAlgorithm": sums_of.ALGORITHM} if site.ability.compares_crc else {}


def _is_same(known: Mapping[str, Any], data: bytes) -> bool:
    """Whether a part that an earlier run has sent is what this one would send."""
    if int(known["Size"]) != len(data):
        return False
    if known.get("ChecksumCRC32"):
        return bool(known["ChecksumCRC32"] == sums_of.crc32(data))
    return bool(known["ETag"].strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest())


def _parts_of(site: Site, upload: Upload) -> dict[int, Mapping[str, Any]] | None:
    """What of an upload is there, by number. None: it is gone."""
    found: dict[int, Mapping[str, Any]] = {}
    more: dict[str, Any] = {}
    try:
        while True:
            page = site.service.ask("list_parts", Key=upload.key, UploadId=upload.id, **more)
            found.update({int(part["PartNumber"]): part for part in page.get("Parts", ())})
            marker = page.get("NextPartNumberMarker")
            if not page.get("IsTruncated") or not marker or marker == more.get("PartNumberMarker"):
                return found
            more["PartNumberMarker"] = marker
    except Refusal:
        abort(site, upload)
        return None


def part_size(size: int) -> int:
    """Bytes of a part, in whole MiB, so that there are not too many."""
    mib = 1 << 20
    return max(PART, -(-size // (MOST_PARTS * mib)) * mib)


def _digest(site: Site, source: Source, path: str, wish: Entry) -> bytes:
    if wish.digest is not None:
        return wish.digest
    hasher = new_hash()
    for piece in _content(site, source, path, wish, PIECE):
        hasher.update(piece)
    return hasher.digest()


def _content(site: Site, source: Source, path: str, wish: Entry, size: int) -> Iterator[bytes]:
    """As it is read. SRC is one thread's at a time only while a file is opened."""
    pieces = source.pieces(path, stamp_of(wish), size)
    with site.lock:
        piece = next(pieces, None)
    while piece is not None:
        yield piece
        piece = next(pieces, None)


def _pieces(site: Site, source: Source, path: str, wish: Entry, size: int) -> Iterator[bytes]:
    """The content in parts, checked before the last: a read may give less than a part."""
    hasher, held = new_hash(), b""
    for piece in _content(site, source, path, wish, size):
        hasher.update(piece)
        held = held + piece if held else piece
        while len(held) >= size:
            yield held[:size]
            held = held[size:]
    if hasher.digest() != wish.digest:
        raise SourceError(Reason.CHANGED, "changed while it was read")
    if held or not wish.size:
        yield held


def _settle(under_way: list[Future[dict[str, Any] | Outcome]]) -> None:
    """What is under way is let come to its end: nothing of ours arrives later than we know of."""
    until = time.monotonic() + 60
    for each in under_way:
        if not each.cancel():
            try:
                each.result(max(0.0, until - time.monotonic()))
            except (ConnectionLost, Refusal, TimeoutError):
                pass  # told by the first of them
