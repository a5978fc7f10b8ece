"""What an object is given beside its content. Pure.

What may live here: headers of PUT, of a copy, and of a multipart upload, as settings and path ask for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from mimetypes import MimeTypes
from typing import Any

from reconcile.core.model import Entry
from reconcile.remotes.s3 import tags
from reconcile.remotes.s3.settings import KMS, Rules, Settings

UNKNOWN = "application/octet-stream"
# What no version of Python's table knows, or not all: the web would not do without.
_NEWER = {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".md": "text/markdown",
    ".ico": "image/x-icon",
}
_PACKED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "br": UNKNOWN,
}


class Headers:
    """What is asked for by path."""

    def __init__(self, settings: Settings) -> None:
        self._types = MimeTypes()  # Python's own table, the same on all machines
        for suffix, kind in _NEWER.items():
            self._types.add_type(kind, suffix)
        self._content = Rules(settings.content_type)
        self._cache = Rules(settings.cache_control)
        self._always = dict(_always(settings))

    def of(self, path: str, entry: Entry, digest: bytes | None) -> dict[str, Any]:
        """All of a file of ours."""
        return {**self.shape(path), "Metadata": tags.note(entry, digest)}

    def shape(self, path: str) -> dict[str, Any]:
        """The same without what is noted with it."""
        headers: dict[str, Any] = {**self._always, "ContentType": self._type(path)}
        if (cache := self._cache.of(path)) is not None:
            headers["CacheControl"] = cache
        return headers

    def of_copy(self, source: str, path: str, entry: Entry, digest: bytes | None) -> dict[str, Any]:
        """Of a copy: what the object had, unless its new path asks for something else."""
        if self.shape(source) == self.shape(path):
            return {**self._always, "MetadataDirective": "COPY"}
        return {**self.of(path, entry, digest), "MetadataDirective": "REPLACE"}

    @property
    def of_return(self) -> Mapping[str, Any]:
        """Of what comes back from our folder as it was before."""
        return {**self._always, "MetadataDirective": "COPY"}

    @property
    def of_ours(self) -> Mapping[str, Any]:
        """Of what is in our folder: encrypted as all is, and for nobody else."""
        return {name: value for name, value in self._always.items() if name not in ("ACL", "StorageClass")}

    def _type(self, path: str) -> str:
        if (asked := self._content.of(path)) is not None:
            return asked
        kind, packed = self._types.guess_type(path.rpartition("/")[2].lower())
        return _PACKED.get(packed, UNKNOWN) if packed is not None else kind or UNKNOWN


def _always(settings: Settings) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    if settings.acl is not None:
        headers["ACL"] = settings.acl
    if settings.storage_class is not None:
        headers["StorageClass"] = settings.storage_class
    if settings.sse in ("AES256", KMS, f"{KMS}:dsse"):
        headers["ServerSideEncryption"] = settings.sse
    elif settings.sse is not None:
        headers["ServerSideEncryption"] = KMS
        headers["SSEKMSKeyId"] = settings.sse
    return headers
