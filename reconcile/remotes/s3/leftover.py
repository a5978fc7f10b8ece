"""Multipart uploads of ours that are not at their end: known by their ids, taken up again or given up.

Here, and not in the journal: that says what is intended, and each part would be a line in it that the server
has to confirm anyway (ListParts). Which uploads are ours only we can know, since a listing of them tells
nothing of whose they are; so a small file beside the snapshot names them, and the server says how far each
has come. What that file has lost is left to the bucket's own rules (AbortIncompleteMultipartUpload). One that
was asked for when the run died is known by its key, and by having no parts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from reconcile.remotes import Memory

NAME = "uploads"  # as the memory knows them


class Upload(Struct, frozen=True):
    """One that was begun."""

    key: str
    id: str  # "": it was asked for, and nobody was told of an answer
    digest: bytes  # of all the content
    size: int  # bytes, in all
    part: int  # bytes of each but the last
    shape: bytes = b""  # of what the object is given beside its content, which was told at the beginning

    @property
    def name(self) -> str:
        """What tells it from others."""
        return self.id or f"\0{self.key}"


class Uploads:
    """Those of this job."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._open = {upload.name: upload for upload in _read(memory.recall(NAME))}
        self._ours: set[str] = set()  # ids that this run has begun, or taken up

    def was_intended(self, upload: Upload) -> bool:
        """One to the same key was asked for, and there was no answer."""
        with self._lock:
            return upload.name in self._open

    def intend(self, upload: Upload) -> None:
        """It is about to be asked for."""
        with self._lock:
            self._open[upload.name] = upload
            self._remember()

    def begin(self, upload: Upload) -> None:
        """It is under way from now on."""
        with self._lock:
            self._open.pop(replace(upload, id="").name, None)
            self._open[upload.name] = upload
            self._ours.add(upload.id)
            self._remember()

    def take(self, key: str, digest: bytes, size: int, shape: bytes) -> Upload | None:
        """One of the same content to the same key, in the same shape, to be gone on with."""
        wanted = key, digest, size, shape
        with self._lock:
            for upload in self._open.values():
                told = upload.key, upload.digest, upload.size, upload.shape
                if upload.id and upload.id not in self._ours and told == wanted:
                    self._ours.add(upload.id)
                    return upload
        return None

    def end(self, upload: Upload) -> None:
        """It has come to its end, or is gone."""
        with self._lock:
            if self._open.pop(upload.name, None) is not None:
                self._remember()

    @property
    def left(self) -> list[Upload]:
        """What dead runs have left, and what this one has given up."""
        with self._lock:
            return list(self._open.values())

    def _remember(self) -> None:
        kept = [
            [each.key, each.id, each.digest, each.size, each.part, each.shape] for each in self._open.values()
        ]
        self._memory.remember(kept or None, NAME)


def _read(value: object) -> Iterator[Upload]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, list) and [*map(type, item)] == [str, str, bytes, int, int, bytes]:
            yield Upload(*item)
