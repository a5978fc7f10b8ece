"""What is there: listed a page at a time, looked up, and walked.

What may live here: what only looks. A page has up to 1,000 objects with size and ETag, and no notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

from reconcile.core.errors import ConnectionLost, Unreachable
from reconcile.core.model import DIRECTORY, UNSEEN, Seen
from reconcile.core.paths import is_ours, join
from reconcile.remotes.s3 import tags
from reconcile.remotes.s3.failure import Failing, Refusal
from reconcile.remotes.s3.keys import Keys, is_path, is_plain, plain_part
from reconcile.remotes.s3.pool import Pool
from reconcile.remotes.s3.service import Service
from reconcile.remotes.s3.tags import Shown
from reconcile.remotes.words import one_line

Answer: TypeAlias = Shown | Refusal | None  # None: nothing is there
FEW = 16  # objects that are asked one by one rather than listed
DENSE = 20  # of a page that are wanted: where there are fewer, asking each takes less


class Unlisted(Unreachable):
    """The server lists nothing, or nothing by such a name: see the refusal."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


def pages(
    service: Service, prefix: str, *, delimiter: str = "", after: str = ""
) -> Iterator[Mapping[str, Any]]:
    """All below a prefix, which is plain. Raises Unlisted where we may not."""
    more: dict[str, Any] = {"StartAfter": after} if after else {}
    if delimiter:
        more["Delimiter"] = delimiter
    while True:
        try:
            page = service.ask("list_objects_v2", Prefix=prefix, **more)
        except Refusal as refusal:
            raise _unlisted(service, refusal) from None
        _check_that_it_lists(service, page)
        yield page
        if not page["IsTruncated"]:
            return
        token = page.get("NextContinuationToken")
        if not token or token == more.get("ContinuationToken"):
            raise ConnectionLost(f"{service.where}: a listing ended in the middle")
        more["ContinuationToken"] = token


def objects(service: Service, prefix: str, after: str = "") -> Iterator[tuple[str, Shown]]:
    """Each with its key. A prefix that XML can't hold many servers fail at: then by what of it is plain."""
    for page in pages(service, plain_part(prefix), after=after):
        for item in page.get("Contents", ()):
            if item["Key"].startswith(prefix):
                yield item["Key"], tags.listed(item)


def names_in(service: Service, prefix: str) -> tuple[list[str], list[str]]:
    """What is in a folder, by its own names: objects, and folders."""
    files, folders = dated_in(service, prefix)
    return list(files), folders


def dated_in(service: Service, prefix: str) -> tuple[dict[str, int], list[str]]:
    """The same, with when each object was written, in seconds of the server's clock; 0: it does not tell."""
    files: dict[str, int] = {}
    folders: list[str] = []
    for page in pages(service, prefix, delimiter="/"):
        for item in page.get("Contents", ()):
            written = item.get("LastModified")
            name = item["Key"][len(prefix) :]
            if name:
                files[name] = int(written.timestamp()) if isinstance(written, datetime) else 0
        folders += (item["Prefix"][len(prefix) :].rstrip("/") for item in page.get("CommonPrefixes", ()))
    return files, folders


def head(service: Service, key: str) -> Shown | None:
    """One object, with what is noted with it. None: there is none. Raises Refusal."""
    try:
        return tags.asked(service.ask("head_object", Key=key))
    except Refusal as refusal:
        if refusal.is_absent:
            return None
        raise


def holds(service: Service, prefix: str) -> bool:
    """Whether anything is below a prefix."""
    if not is_plain(prefix):
        return any(True for _ in objects(service, prefix))
    try:
        page = service.ask("list_objects_v2", Prefix=prefix, MaxKeys=1)
    except Refusal as refusal:
        raise _unlisted(service, refusal) from None
    _check_that_it_lists(service, page)
    return bool(page.get("Contents") or page.get("CommonPrefixes"))


def look(service: Service, keys: Keys, path: str) -> Seen | None:
    """What is at a path: an object, or a directory in which there is something."""
    try:
        there = head(service, keys.of(path))
        if there is not None:
            return there.seen
        return DIRECTORY if holds(service, f"{keys.of(path)}/") else None
    except (Refusal, UnicodeEncodeError):
        return UNSEEN
    except Unlisted as unlisted:
        if not unlisted.refusal.is_unsigned:
            raise
        return UNSEEN


def walk(service: Service, keys: Keys, top: str, say: Callable[[str], None]) -> Iterator[tuple[str, Seen]]:
    """Everything below ``top``, our own left out: objects, and directories that have a key of their own."""
    start = f"{keys.of(top)}/" if top else keys.base
    said = False
    for key, shown in objects(service, start):
        rest = key[len(start) :]
        if not rest or (keys.hides(key) and not is_ours(top)):
            continue
        path = join(top, rest.removesuffix("/"))
        if is_path(path):
            yield path, DIRECTORY if rest.endswith("/") else shown.seen
        elif not said:
            said = True
            strange = one_line(repr(rest))
            say(f"{service.where} lists keys that can't be paths, such as {strange}; left out")


def survey(
    service: Service,
    keys: Keys,
    paths: Iterable[str],
    pool: Pool,
) -> dict[str, Answer]:
    """What objects are at these paths. Listed, where they lie near each other; else each is asked.

    A page goes on from the next path that is wanted, so that what nobody asks for is mostly passed over.
    """
    every = sorted({keys.of(path): path for path in paths}.items(), key=lambda pair: pair[0].encode())
    wanted = [pair for pair in every if is_plain(pair[0])]
    strange = [pair for pair in every if not is_plain(pair[0])]
    found: dict[str, Answer] = {}
    at = 0
    while len(wanted) - at > FEW:
        first = wanted[at][0]
        try:
            page = next(pages(service, keys.base, after=_before(first)))
        except Unlisted as unlisted:
            if not unlisted.refusal.is_unsigned:
                raise
            break
        items = {item["Key"]: tags.listed(item) for item in page.get("Contents", ())}
        is_last = not page.get("IsTruncated")
        listed = [key.encode() for key in items]
        if listed != sorted(listed):
            break  # nothing can be told from what is not there
        end = listed[-1] if listed else b""
        reached = at
        while reached < len(wanted) and (is_last or wanted[reached][0].encode() <= end):
            key, path = wanted[reached]
            found[path] = items.get(key)
            reached += 1
        if reached == at or (not is_last and reached - at < DENSE):
            at = reached
            break
        at = reached
    found.update(pool.run(partial(_ask, service, keys, key, path) for key, path in wanted[at:] + strange))
    return found


def _ask(service: Service, keys: Keys, key: str, path: str) -> tuple[str, Answer]:
    try:
        return path, head(service, key)
    except Refusal as refusal:
        return path, refusal
    except Failing as failing:
        return path, refusal_for(service, keys, failing)


def refusal_for(service: Service, keys: Keys, failing: Failing) -> Refusal:
    """What a server fails at again and again is refused, if it does not fail at all. Raises what it met."""
    try:
        holds(service, keys.base)
    except Unreachable:
        raise failing from None
    return Refusal("InternalError", 500, "the server fails at this one, and not at others")


def _before(key: str) -> str:
    """What sorts right before a key, for StartAfter, which does not show what it names."""
    last = ord(key[-1]) - 1
    return key[:-1] if last < 32 or 0xD800 <= last <= 0xDFFF else f"{key[:-1]}{chr(last)}\U0010ffff"


def _check_that_it_lists(service: Service, page: Mapping[str, Any]) -> None:
    """An answer to something else looks empty, and nothing can be told from it. Raises TurnedAway."""
    if "IsTruncated" not in page:
        raise service.no_s3("a listing says neither what is there nor whether that is all")


def _unlisted(service: Service, refusal: Refusal) -> Unlisted:
    what = "it denies that" if refusal.is_denied else "it refuses"
    return Unlisted(
        refusal,
        f"{service.where} can't be listed: {what} ({refusal}). Nothing was done. Reconcile looks before it "
        "writes: its policy needs s3:ListBucket and s3:ListBucketMultipartUploads on the bucket, and "
        "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on what is in it.",
    )
