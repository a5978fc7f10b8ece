"""What this server can do that not all can: tried in our own folder, and remembered.

What may live here: trying. Nobody asks for a server's name: of one kind there are many versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from reconcile.remotes.s3 import tags
from reconcile.remotes.s3.failure import Refusal
from reconcile.remotes.s3.sums import crc32

if TYPE_CHECKING:  # what is remembered is asked for before there is anything to connect with
    from reconcile.remotes.s3.service import Service

VERSION = 5  # of what is tried
MOST_NAMES = 8  # that are remembered of one server
NO_HEADERS: Mapping[str, Any] = MappingProxyType({})
_NONE = '"00000000000000000000000000000000"'  # an ETag that nothing has


class Ability(Struct, frozen=True):
    """Which conditions it heeds, instead of doing without a word what it should not."""

    known: bool = False
    puts_new: bool = False  # PUT with If-None-Match: *
    puts_over: bool = False  # PUT with If-Match
    deletes_same: bool = False  # DELETE with If-Match
    deletes_all_same: bool = False  # DeleteObjects with an ETag for each
    copies_same: bool = False  # CopyObject with x-amz-copy-source-if-match
    keeps_slashes: bool = False  # an object may have a key that ends in a slash
    deletes_many: bool = True  # DeleteObjects is known at all
    compares_crc: bool = False  # what has come with its CRC-32, and tells that: some refuse the header

    @property
    def races(self) -> bool:
        """Whether what somebody writes between our look and our write may be lost."""
        return not (self.puts_new and self.puts_over)


def pack(ability: Ability, software: Iterable[str] = ()) -> object:
    """For the memory. ``software``: what the server that was tried calls itself, in all its answers."""
    names = "\n".join(sorted(software)[:MOST_NAMES])
    return [VERSION, *(getattr(ability, name) for name in Ability.__struct_fields__), names]


def unpack(value: object) -> Ability:
    """What was remembered; nothing, where that is of another version."""
    fields = len(Ability.__struct_fields__)
    if not isinstance(value, list) or len(value) != fields + 2 or value[0] != VERSION:
        return Ability()
    return Ability(*map(bool, value[1:-1]))


def software_of(value: object) -> frozenset[str]:
    """On which server that was found. By now another one may stand there, which heeds less."""
    if not unpack(value).known or not isinstance(value, list):
        return frozenset()
    return frozenset(str(value[-1]).split("\n"))


def try_out(service: Service, folder: str, headers: Mapping[str, Any] = NO_HEADERS) -> Ability:
    """Write an object of ours, and see what it refuses to do with it. Raises Refusal where we may not.

    ``headers``: what is asked for with all that is written: a bucket may insist on it.
    """
    import uuid

    key = f"{folder}probe-{uuid.uuid4().hex[:12]}"
    other, folder_ = f"{key}-2", f"{key}-3/"
    one: dict[str, Any] = {"Key": key, "Body": b"1", **headers}
    copy = {"Key": other, "CopySource": {"Bucket": service.bucket, "Key": key}, **headers}
    is_new = _grants(service, "put_object", IfNoneMatch="*", **one)
    if not is_new:
        service.ask("put_object", **one)
    try:
        can: dict[str, bool] = {
            "puts_new": is_new and _refuses(service, "put_object", IfNoneMatch="*", **one),
            "puts_over": _compares(service, key, "put_object", "IfMatch", **one),
            "copies_same": _compares(service, key, "copy_object", "CopySourceIfMatch", **copy),
            "deletes_all_same": _deletes_all_same(service, key),
        }
        can["compares_crc"] = _compares_crc(service, one)
        service.ask("put_object", **one)
        can["deletes_same"] = _compares(service, key, "delete_object", "IfMatch", Key=key)
        can["deletes_all_same"] &= can["deletes_same"]  # of one that is left of many, too
        can["keeps_slashes"] = _takes(service, folder_, headers)
    finally:
        ours = (key, other, folder_, folder_.rstrip("/"))
        deletes_many = _delete(service, ours)
    can["deletes_many"] = deletes_many
    return Ability(known=True, **can)


def _refuses(service: Service, operation: str, **wanted: Any) -> bool:
    """Whether a condition that is not met is told, and so heeded where it matters."""
    try:
        service.ask(operation, **wanted)
    except Refusal as refusal:
        return refusal.status == 412
    return False


def _grants(service: Service, operation: str, **wanted: Any) -> bool:
    """Whether what is asked for is done. Some servers take all conditions for not met, or for no S3."""
    try:
        service.ask(operation, **wanted)
    except Refusal:
        return False
    return True


def _compares(service: Service, key: str, operation: str, condition: str, **wanted: Any) -> bool:
    """Whether it refuses what is not to be done for the ETag of an object, and only that."""
    if not _refuses(service, operation, **{condition: _NONE}, **wanted):
        return False
    etag = _etag_of(service, key)
    return etag is not None and _grants(service, operation, **{condition: etag}, **wanted)


def _deletes_all_same(service: Service, key: str) -> bool:
    """The same of many deletes in one request."""
    if _delete_all(service, {"Key": key, "ETag": _NONE}) != ["PreconditionFailed"]:
        return False
    etag = _etag_of(service, key)
    return etag is not None and _delete_all(service, {"Key": key, "ETag": etag}) == []


def _delete_all(service: Service, *objects: Mapping[str, str]) -> list[str] | None:
    """What went wrong, by its codes. None: all was refused."""
    try:
        reply = service.ask("delete_objects", Delete={"Quiet": True, "Objects": objects})
    except Refusal:
        return None
    return [str(error.get("Code")) for error in reply.get("Errors", ())]


def _delete(service: Service, keys: Sequence[str]) -> bool:
    """Have them gone. Whether that took one request."""
    try:
        service.ask("delete_objects", Delete={"Quiet": True, "Objects": [{"Key": key} for key in keys]})
    except Refusal as refusal:
        if not refusal.is_unknown:
            raise
        for key in keys:
            _grants(service, "delete_object", Key=key)  # which is refused where there can be no such key
        return False
    return True


def _compares_crc(service: Service, one: Mapping[str, Any]) -> bool:
    """Whether it refuses what has another CRC-32 than is said, and only that. Some know no such header: they
    do as if it was not there, or refuse what has one."""
    if _grants(service, "put_object", ChecksumCRC32=crc32(b"another"), **one):
        return False
    right = crc32(one["Body"])
    try:
        reply = service.ask("put_object", ChecksumCRC32=right, **one)
    except Refusal:
        return False
    return bool(reply.get("ChecksumCRC32") == right)


def _etag_of(service: Service, key: str) -> str | None:
    """As a condition has it."""
    try:
        return tags.asked(service.ask("head_object", Key=key)).condition
    except Refusal:
        return None


def _takes(service: Service, key: str, headers: Mapping[str, Any]) -> bool:
    """Whether there can be such a key. Some servers make another one of it."""
    try:
        service.ask("put_object", Key=key, Body=b"", **headers)
    except Refusal:
        return False
    page = service.ask("list_objects_v2", Prefix=key.rstrip("/"))
    return any(item["Key"] == key for item in page.get("Contents", ()))
