"""Copies that the server makes: nothing is sent.

What may live here: one object to another key, in one request, or in parts where it is too large for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from reconcile.remotes.s3 import tags
from reconcile.remotes.s3.failure import Failing, Refusal
from reconcile.remotes.s3.leftover import Upload
from reconcile.remotes.s3.listing import head
from reconcile.remotes.s3.site import Site
from reconcile.remotes.s3.tags import Shown

MOST = 5 << 30  # bytes that one CopyObject takes (S3 API reference)
PART = 512 << 20  # bytes of a part that is copied


def copy(site: Site, source: str, shown: Shown, key: str, headers: Mapping[str, Any]) -> Shown:
    """Copy what ``source`` is known to hold. Returns what the copy shows.

    Raises Refusal: it is unmet, or absent, where that is not there any more.
    RACE: a server that does not heed the condition copies what has come there since we looked.
    """
    if shown.size > MOST:
        return _copy_in_parts(site, source, shown, key, headers)
    reply = site.service.copy(key, source, **_same(site, shown), **headers)
    result = reply.get("CopyObjectResult", {})
    if "ETag" in result:
        return tags.written(shown.size, result)
    if "LastModified" not in result or (copied := head(site.service, key)) is None:
        raise Failing(f"{site.service.where}: the answer to a copy does not say what is there now")
    return copied


def _copy_in_parts(site: Site, source: str, shown: Shown, key: str, headers: Mapping[str, Any]) -> Shown:
    """The parts one after the other: others of the level are under way beside it."""
    service = site.service
    there = service.ask("head_object", Key=source)
    if tags.asked(there).etag != shown.etag:
        raise Refusal("PreconditionFailed", 412)
    wanted = {name: value for name, value in headers.items() if name != "MetadataDirective"}
    if headers.get("MetadataDirective") == "COPY":
        wanted["Metadata"] = there.get("Metadata", {})
        names = ("ContentType", "CacheControl", "ContentEncoding", "ContentDisposition", "ContentLanguage")
        wanted.update({name: there[name] for name in names if there.get(name)})
    upload = begin(site, Upload(key, "", b"", shown.size, PART), wanted)
    try:
        parts = []
        for number, start in enumerate(range(0, shown.size, PART), 1):
            reply = service.ask(
                "upload_part_copy",
                Key=key,
                UploadId=upload.id,
                PartNumber=number,
                CopySource=_place(site, source),
                CopySourceRange=f"bytes={start}-{min(start + PART, shown.size) - 1}",
                **_same(site, shown),
            )
            if "ETag" not in (result := reply.get("CopyPartResult", {})):
                raise Failing(f"{service.where}: the answer to a copy does not say what is there now")
            parts.append({"PartNumber": number, "ETag": result["ETag"]})
        made = {"Parts": parts}
        service.ask("complete_multipart_upload", Key=key, UploadId=upload.id, MultipartUpload=made)
    except Refusal:
        abort(site, upload)
        raise
    site.uploads.end(upload)
    if (copied := head(service, key)) is None or copied.size != shown.size:
        raise Failing(f"{service.where}: all parts were copied, and the server does not show what they make")
    return copied


def begin(site: Site, wanted: Upload, headers: Mapping[str, Any]) -> Upload:
    """Begin an upload in parts, known by its key before it is asked for. Raises Refusal."""
    if site.uploads.was_intended(wanted):  # and nobody knows what became of that
        abort(site, wanted)
    site.uploads.intend(wanted)
    try:
        reply = site.service.ask("create_multipart_upload", Key=wanted.key, **headers)
    except Refusal:
        site.uploads.end(wanted)
        raise
    upload = replace(wanted, id=str(reply["UploadId"]))
    site.uploads.begin(upload)
    if reply.get("ResponseMetadata", {}).get("RetryAttempts"):  # what was begun before nobody was told of
        abort(site, wanted)
    return upload


def abort(site: Site, upload: Upload) -> None:
    """Give an upload up. One that is gone is given up, too; one that can't be is tried again later."""
    try:
        for id_ in [upload.id] if upload.id else _empty(site, upload.key):
            site.service.ask("abort_multipart_upload", Key=upload.key, UploadId=id_)
    except Refusal as refusal:
        if upload.id and not refusal.is_absent:
            return
    site.uploads.end(upload)


def _empty(site: Site, key: str) -> Iterator[str]:
    """The ids of uploads to a key of which nothing was sent, and that we don't know. Raises Refusal.

    RACE: somebody else who is about to send the first part to the same key has to begin anew.
    """
    known = {upload.id for upload in site.uploads.left}
    for each in site.service.ask("list_multipart_uploads", Prefix=key).get("Uploads", ()):
        if each["Key"] == key and each["UploadId"] not in known:
            page = site.service.ask("list_parts", Key=key, UploadId=each["UploadId"], MaxParts=1)
            if not page.get("Parts"):
                yield each["UploadId"]


def _place(site: Site, key: str) -> dict[str, str]:
    return {"Bucket": site.service.bucket, "Key": key}


def _same(site: Site, shown: Shown) -> dict[str, str]:
    """The condition, unless it is known that the server does not heed it, or takes it for never met."""
    is_in_vain = site.ability.known and not site.ability.copies_same
    return {} if is_in_vain or shown.condition is None else {"CopySourceIfMatch": shown.condition}
