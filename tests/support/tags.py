"""Tags that nobody can read anything in: of a remote that is unlike any other."""

from __future__ import annotations

import hashlib

from reconcile.core.model import Entry, Tag


def tag_for(size: int, mtime: int) -> Tag:
    """Of a file that shows these."""
    return hashlib.blake2b(b"%d %d" % (size, mtime), digest_size=8).digest()


class OpaqueTags:
    """A remote's part in them: it shows what was set, and nothing but that is as it was left."""

    def is_wished(self, shown: Tag, wish: Entry, *, by_others: bool = False) -> bool:  # noqa: ARG002 - all the same
        return shown == tag_for(wish.size, wish.mtime)

    def is_left(self, shown: Tag, entry: Entry) -> bool:
        return shown == (entry.tag or tag_for(entry.size, entry.mtime))

    def noted(self, shown: Tag, entry: Entry) -> Tag | None:
        return None if shown == tag_for(entry.size, entry.mtime) else shown


class NoTimes(OpaqueTags):
    """Of a remote that sets no times of ours."""

    def is_wished(self, shown: Tag, wish: Entry, *, by_others: bool = False) -> bool:  # noqa: ARG002 - as of any
        return False
