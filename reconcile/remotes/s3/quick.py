"""PUT with as little around it as there can be: of thousands of small files, most of the time goes there.

What may live here: that one request, by botocore's own signature and connections, without its client, which
takes as long again. Whatever is not answered with a plain 200 is asked again through the client, which tells
refusals apart, follows to another region, and tries again what may be tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

MOST = 20  # answers in a row that are none, before it is given up: of a bucket in another region, say
_HEADERS = {
    "ACL": "x-amz-acl",
    "CacheControl": "Cache-Control",
    "ChecksumCRC32": "x-amz-checksum-crc32",
    "ContentMD5": "Content-MD5",
    "ContentType": "Content-Type",
    "IfMatch": "If-Match",
    "IfNoneMatch": "If-None-Match",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "StorageClass": "x-amz-storage-class",
}


class Quick:
    """One bucket. ``send``: of a session of botocore's; ``base``: the URL of the bucket, up to its keys."""

    def __init__(self, send: Callable[[Any], Any], credentials: Any, region: str, base: str) -> None:
        self._send = send
        self._credentials = credentials
        self._region = region
        self._base = base
        self._in_vain = 0

    def put(self, key: str, body: bytes, wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the client would answer. None: it has to be asked."""
        if self._in_vain >= MOST or wanted.keys() - _HEADERS.keys() - {"Metadata"}:
            return None
        headers = {_HEADERS[name]: value for name, value in wanted.items() if name != "Metadata"}
        headers.update((f"x-amz-meta-{name}", value) for name, value in wanted.get("Metadata", {}).items())
        request = AWSRequest("PUT", self._base + quote(key), headers=headers, data=body)
        try:
            S3SigV4Auth(self._credentials.get_frozen_credentials(), "s3", self._region).add_auth(request)
            answer = self._send(request.prepare())
            answered = answer.headers
        except (BotoCoreError, OSError):
            answer = None
        if answer is None or answer.status_code != 200 or "etag" not in answered:
            self._in_vain += answer is None or answer.status_code != 412
            return None
        self._in_vain = 0
        told = {"date": answered.get("date"), "server": answered.get("server")}
        reply = {"ETag": answered["etag"], "ResponseMetadata": {"HTTPHeaders": told}}
        if (checksum := answered.get("x-amz-checksum-crc32")) is not None:
            reply["ChecksumCRC32"] = checksum
        return reply


def make_quick(client: Any, session: Any, bucket: str) -> Quick | None:
    """None, where this botocore, or this way to be let in, is another than what is known here."""
    connections = getattr(getattr(client, "_endpoint", None), "http_session", None)
    credentials = session.get_credentials()
    is_usual = client.meta.config.signature_version == "s3v4" and not bucket.endswith("--x-s3")
    if connections is None or not is_usual or not hasattr(credentials, "get_frozen_credentials"):
        return None
    signed: str = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"})
    base = signed.partition("?")[0].rpartition("/")[0]
    if base == f"https://{bucket}.s3.amazonaws.com":  # which leads to the region's only in the end
        base = client.meta.endpoint_url.replace("://", f"://{bucket}.")
    return Quick(connections.send, credentials, client.meta.region_name, f"{base}/")
