"""What an object shows, made a tag of: its size, its ETag, and what we have noted with it. Pure.

What may live here: how such tags are packed and compared. A listing shows no notes, so that a tag has them
only where the object itself was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from reconcile.core.model import NS, Entry, Seen, Tag
from reconcile.core.model import Kind as _Kind

DIGEST, MTIME, MODE = "xxh3-128", "mtime", "mode"  # of the content, hexadecimal; seconds; octal


class Shown(Struct, frozen=True):
    """What the server shows of an object."""

    size: int
    etag: str  # without its quotes; of servers that have none, when it was written last
    digest: bytes | None = None
    mtime_ns: int | None = None
    is_asked: bool = False  # the object itself was asked, and has no other notes

    @property
    def tag(self) -> Tag:
        """For others, who can't look into it."""
        notes = b"" if self.digest is None and self.mtime_ns is None else self._notes
        return b"%d %b" % (self.size, self.etag.encode()) + notes

    @property
    def _notes(self) -> bytes:
        digest = self.digest.hex() if self.digest is not None else ""
        mtime = "" if self.mtime_ns is None else str(self.mtime_ns)
        return f"\n{digest} {mtime}".encode()

    @property
    def seen(self) -> Seen:
        """A file as all see it."""
        return Seen(_Kind.FILE, None, self.size, None, self.tag)

    @property
    def condition(self) -> str | None:
        """For If-Match; None: the server has no ETags."""
        return None if self.etag == "?" or self.etag.startswith("at ") else f'"{self.etag}"'

    @property
    def is_md5(self) -> bool:
        """Whether its ETag may be the MD5 of its content."""
        return len(self.etag) == 32 and all(char in "0123456789abcdef" for char in self.etag)


def unpack(tag: Tag) -> Shown:
    """What a tag of ours holds."""
    first, _, notes = tag.partition(b"\n")
    size, _, etag = first.partition(b" ")
    digest, _, mtime = notes.decode().partition(" ")
    return Shown(
        int(size), etag.decode(), bytes.fromhex(digest) if digest else None, int(mtime) if mtime else None
    )


def listed(item: Mapping[str, Any]) -> Shown:
    """An item of a listing."""
    return Shown(int(item["Size"]), _etag(item))


def notes_of(reply: Mapping[str, Any]) -> dict[str, str]:
    """What is noted with an object. Some servers bring the names to another case."""
    return {str(name).lower(): str(value) for name, value in reply.get("Metadata", {}).items()}


def asked(reply: Mapping[str, Any]) -> Shown:
    """The answer to HEAD."""
    notes = notes_of(reply)
    size = int(reply.get("ContentLength", 0))
    return Shown(size, _etag(reply), _digest(notes.get(DIGEST)), _mtime(notes.get(MTIME)), is_asked=True)


def written(size: int, reply: Mapping[str, Any]) -> Shown:
    """The answer to PUT, or a copy."""
    return Shown(size, _etag(reply))


def note(entry: Entry, digest: bytes | None) -> dict[str, str]:
    """What is noted with an object of ours. The time is written as rclone does, which reads it, too."""
    mode = entry.stamp.mode if entry.stamp is not None else entry.wished_mode
    notes = {MTIME: f"{entry.mtime_ns // NS}.{entry.mtime_ns % NS:09d}"}
    if mode >= 0:
        notes[MODE] = f"{mode:o}"
    if digest is not None:
        notes[DIGEST] = digest.hex()
    return notes


def is_left(shown: Shown, entry: Entry) -> bool:
    """Whether an object is as we left it. A copy of it may have another ETag."""
    if entry.tag is not None and shown.tag.partition(b"\n")[0] == entry.tag.partition(b"\n")[0]:
        return True
    return shown.digest is not None and shown.digest == entry.digest and is_wished(shown, entry)


def is_wished(shown: Shown, wish: Entry) -> bool:
    """Whether an object that was asked itself holds what is wished.

    A digest alone proves nothing: who edits an object may well leave what is noted with it as it is, but
    for the time.
    """
    if shown.size != wish.size or shown.mtime_ns is None:
        return False
    if wish.digest is not None and shown.digest is not None:
        return wish.digest == shown.digest and shown.mtime_ns // NS == wish.mtime
    return shown.mtime_ns == wish.mtime_ns


def _etag(item: Mapping[str, Any]) -> str:
    etag = str(item.get("ETag", "")).strip('"')
    if etag:
        return etag.replace("\n", "")
    when = item.get("LastModified")
    return f"at {when.timestamp() // 1:.0f}" if isinstance(when, datetime) else "?"


def _digest(text: str | None) -> bytes | None:
    try:
        digest = bytes.fromhex(text or "")
    except ValueError:
        return None
    return digest if len(digest) == 16 else None


def _mtime(text: str | None) -> int | None:
    seconds, _, rest = (text or "").partition(".")
    digits = (rest + "000000000")[:9]
    if not seconds.removeprefix("-").isdecimal() or not digits.isdecimal():
        return None
    return int(seconds) * NS + int(digits)
