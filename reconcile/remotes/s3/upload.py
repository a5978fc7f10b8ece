"""One file's way to the bucket, in one request: a PUT is there whole, or not at all.

What may live here: reading a file, sending it, and what holds then. Large files are ``multipart``'s.
"""

from __future__ import annotations

import base64

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.model import Action, Entry, Only, Outcome
from reconcile.remotes.s3 import sums as sums_of
from reconcile.remotes.s3 import tags
from reconcile.remotes.s3.drift import There, insist, may_write
from reconcile.remotes.s3.failure import Refusal, explain, problem
from reconcile.remotes.s3.site import Site, as_kept
from reconcile.source.files import AGAIN, Source, SourceError, as_it_is_now, digest_of, stamp_of

MARKER = b""
NO_MARKERS = "the server keeps no key that ends in a slash: folders in which nothing is do not show there"


class Content(Struct, frozen=True):
    """A small file, read."""

    action: Action
    wish: Entry  # as it was when it was read, with its digest
    data: bytes


def read(site: Site, action: Action, source: Source) -> Content | Outcome:
    """Read a small file. One that changed since the scan is read as it is now."""
    assert action.new is not None
    wish = action.new
    for _ in range(2):
        try:
            with site.lock:
                data = source.read(action.path, stamp_of(wish))
        except SourceError as error:
            failed = problem(action.path, error.reason, error.message)
            again = look_again(site, source, action.path, wish) if error.reason in AGAIN else None
            if again is None or wish is not action.new:
                return Outcome(action, problem=failed)
            wish = again
            continue
        if wish is not action.new:
            wish = replace(wish, stamp=None)  # to be read again next time
        return Content(action, replace(wish, digest=digest_of(data)), data)
    raise AssertionError


def put(site: Site, content: Content, there: There) -> Outcome:
    """Send it."""
    action, wish, data = content.action, content.wish, content.data
    sums = sums_of.of_object(data, crc=site.ability.compares_crc)
    md5 = base64.b64decode(sums["ContentMD5"]).hex()
    key, headers = site.keys.of(action.path), site.headers.of(action.path, wish, wish.digest)

    def attempt(there: There) -> Outcome:
        ways = may_write(site, action, wish, there, same=md5)
        if isinstance(ways, Outcome):
            return ways
        reply = site.service.put(key, data, **sums, **headers, **ways)
        if (failed := sums_of.unlike(action.path, reply, sums)) is not None:
            return Outcome(action, problem=failed)
        return Outcome(action, Only(action.path, as_kept(wish, tags.written(len(data), reply), wish.digest)))

    outcome = insist(site, action, there, attempt)
    if outcome.done:
        site.sent(len(data), action.path)
    return outcome


def make_marker(site: Site, action: Action) -> Outcome:
    """An empty directory: a key with a slash at its end. It is nobody's content: it may be there already."""
    assert action.new is not None
    if not site.ability.keeps_slashes:
        return Outcome(action, {action.path: action.new})
    try:
        site.service.ask(
            "put_object", Key=site.keys.of(action.path) + "/", Body=MARKER, **site.headers.of_ours
        )
    except Refusal as refusal:
        return Outcome(action, problem=explain(action.path, "make the directory", refusal))
    return Outcome(action, {action.path: action.new})


def look_again(site: Site, source: Source, path: str, wish: Entry) -> Entry | None:
    """See ``as_it_is_now``: one thread at a time."""
    with site.lock:
        return as_it_is_now(source, path, wish)
