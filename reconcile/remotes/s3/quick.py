"""PUT with as little around it as there can be: of thousands of small files, most of the time goes there.

What may live here: that one request, of content and of a copy, signed and read by ourselves (AWS Signature
Version 4, in one piece) over botocore's connections, without its client and without the HTTP of Python, which
take five times as long. Whatever is not answered with a plain 200 is asked again through the client, which
tells refusals apart, follows to another region, and tries again what may be tried again. A server that falls
silent is none for the client either: that is raised.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from html import unescape
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
from msgspec import Struct
from urllib3.exceptions import HTTPError

from reconcile.remotes.s3.silence import is_silence

MOST = 20  # answers in a row that are none, before it is given up: of a bucket in another region, say
TOGETHER = 64 << 10  # bytes of content that go out in one piece, the first with what is before it
LONGEST = 1 << 20  # bytes of an answer
MOST_LINES = 100  # of its headers
UNSIGNED = "UNSIGNED-PAYLOAD"
_NORMAL = (404, 412)  # a condition that is not met is no sign of anything
_PORTS = {"http": 80, "https": 443}
NONE: Mapping[str, str] = {}
_COMPARED = "content-md5", "x-amz-checksum-crc32"  # with the content, by the server
_ETAG = re.compile(rb"<ETag>([^<]+)</ETag>")
_HEADERS = {
    "ACL": "x-amz-acl",
    "CacheControl": "cache-control",
    "ChecksumCRC32": "x-amz-checksum-crc32",
    "ContentMD5": "content-md5",
    "ContentType": "content-type",
    "CopySourceIfMatch": "x-amz-copy-source-if-match",
    "IfMatch": "if-match",
    "IfNoneMatch": "if-none-match",
    "MetadataDirective": "x-amz-metadata-directive",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "StorageClass": "x-amz-storage-class",
}


class Answer(Struct, frozen=True):
    """What came. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_last: bool  # nothing comes on this connection any more

    @property
    def about(self) -> dict[str, Any]:
        """As the client tells of it."""
        return {"HTTPHeaders": {"date": self.headers.get("date"), "server": self.headers.get("server")}}


class Quick:
    """One bucket. ``lines``: connections, of botocore's; ``base``: the URL of the bucket, up to its keys.

    ``signs_content``: with the rest; over TLS botocore does without, where a sum of it is signed.
    """

    def __init__(
        self, lines: Any, credentials: Any, region: str, base: str, *, signs_content: bool = True
    ) -> None:
        self._lines = lines
        self._credentials = credentials
        self._region = region
        url = urlsplit(base)
        is_usual = url.port in (None, _PORTS.get(url.scheme))
        self._host = str(url.hostname) if is_usual and ":" not in str(url.hostname) else url.netloc
        self._path = url.path
        self._signs_content = signs_content
        self._key = ("", "", b"")  # secret and day, and what is made of them
        self._in_vain = 0

    def put(self, key: str, body: bytes, wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the client would answer. None: it has to be asked."""
        answer = self._ask(self._path + quote(key), body, wanted)
        return _told(answer)

    def put_part(
        self, key: str, upload: str, number: int, body: bytes, wanted: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """The same of a part of a large one."""
        query = f"partNumber={number}&uploadId={quote(upload, safe='')}"
        return _told(self._ask(self._path + quote(key), body, wanted, query=query))

    def copy(self, key: str, source: str, wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The same of a copy. ``source``: bucket and key."""
        origin = {"x-amz-copy-source": quote(source)}
        answer = self._ask(self._path + quote(key), b"", wanted, origin)
        # An error may come after the 200, in its place.
        if answer is None or b"<CopyObjectResult" not in answer.body:
            return None
        if (etag := _ETAG.search(answer.body)) is None:
            return None
        result = {"ETag": unescape(etag[1].decode())}
        return {"CopyObjectResult": result, "ResponseMetadata": answer.about}

    def _ask(
        self,
        path: str,
        body: bytes,
        wanted: Mapping[str, Any],
        more: Mapping[str, str] = NONE,
        query: str = "",
    ) -> Answer | None:
        if self._in_vain >= MOST or wanted.keys() - _HEADERS.keys() - {"Metadata"}:
            return None
        headers = dict(more)
        headers.update((_HEADERS[name], value) for name, value in wanted.items() if name != "Metadata")
        headers.update(
            (f"x-amz-meta-{name.lower()}", value) for name, value in wanted.get("Metadata", {}).items()
        )
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            return None
        try:
            self._sign(path, headers, body, query)
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            place = f"{path}?{query}" if query else path
            head = f"PUT {place} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n"
            answer = self._send(head.encode("ascii"), body)
        except (BotoCoreError, HTTPError, OSError, ValueError) as error:
            if is_silence(error):
                raise
            answer = None
        if answer is None or answer.status != 200:
            self._in_vain += answer is None or answer.status not in _NORMAL
            return None
        self._in_vain = 0
        return answer

    def _sign(self, path: str, headers: dict[str, str], body: bytes, query: str) -> None:
        """Sign all headers there are, and those this adds (S3 API reference, "Authenticating Requests")."""
        keys = self._credentials.get_frozen_credentials()
        is_signed = self._signs_content or headers.keys().isdisjoint(_COMPARED)
        digest = sha256(body).hexdigest() if is_signed else UNSIGNED
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        day = now[:8]
        headers.update({"host": self._host, "x-amz-content-sha256": digest, "x-amz-date": now})
        if keys.token:
            headers["x-amz-security-token"] = keys.token
        names = sorted(headers)
        said = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
        signed, scope = ";".join(names), f"{day}/{self._region}/s3/aws4_request"
        request = sha256(f"PUT\n{path}\n{query}\n{said}\n{signed}\n{digest}".encode("ascii")).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{request}"
        signature = hmac.digest(self._key_of(keys.secret_key, day), text.encode("ascii"), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, "
            f"SignedHeaders={signed}, Signature={signature}"
        )
        headers["accept-encoding"], headers["user-agent"] = "identity", "reconcile"

    def _key_of(self, secret: str, day: str) -> bytes:
        """What signs all of a day."""
        if self._key[:2] != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = (secret, day, key)
        return self._key[2]

    def _send(self, head: bytes, body: bytes) -> Answer:
        """Raises HTTPError, OSError, and ValueError for what is no HTTP."""
        line = self._lines._get_conn()
        is_whole = False
        try:
            if line.sock is None:
                line.connect()
            line.sock.settimeout(self._lines.timeout.read_timeout)
            line.sock.sendall(head + body[:TOGETHER])
            for at in range(TOGETHER, len(body), TOGETHER):  # each of them may take as long as the timeout
                line.sock.sendall(memoryview(body)[at : at + TOGETHER])
            answer = read_answer(line.sock.recv)
            is_whole = not answer.is_last
            return answer
        finally:
            if not is_whole:
                line.close()
            self._lines._put_conn(line)


def _told(answer: Answer | None) -> Mapping[str, Any] | None:
    if answer is None or "etag" not in answer.headers:
        return None
    reply = {"ETag": answer.headers["etag"], "ResponseMetadata": answer.about}
    if (checksum := answer.headers.get("x-amz-checksum-crc32")) is not None:
        reply["ChecksumCRC32"] = checksum
    return reply


class Incoming:
    """What comes, as far as it has, by as few calls as can be: mostly all of an answer comes with the first.

    Raises ValueError for what is no answer, or more than such an answer is, and ConnectionResetError for half
    of one. ``receive``: so many bytes at most, none at the end.
    """

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._held = b""

    @property
    def is_empty(self) -> bool:
        """Nothing came that was not asked for."""
        return not self._held

    def until(self, end: bytes) -> bytes:
        """All before that, which goes."""
        while (at := self._held.find(end)) < 0:
            if len(self._held) > LONGEST or b"\n\n" in self._held:
                raise ValueError(self._held[:40])
            self._more()
        found, self._held = self._held[:at], self._held[at + len(end) :]
        return found

    def take(self, size: int) -> bytes:
        """So many bytes."""
        if not 0 <= size <= LONGEST:
            raise ValueError(size)
        while len(self._held) < size:
            self._more()
        found, self._held = self._held[:size], self._held[size:]
        return found

    def rest(self) -> bytes:
        """All until nothing comes any more."""
        while len(self._held) <= LONGEST and (piece := self._receive(TOGETHER)):
            self._held += piece
        return self._held

    def _more(self) -> None:
        if not (piece := self._receive(TOGETHER)):
            raise ConnectionResetError
        self._held += piece


def read_answer(receive: Callable[[int], bytes]) -> Answer:
    """See ``Incoming``."""
    incoming = Incoming(receive)
    first, *lines = incoming.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
    if len(lines) > MOST_LINES:
        raise ValueError(len(lines))
    version, status = first.split(None, 2)[:2]
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(line)
        headers[name.lower()] = value.strip()
    is_last = version != "HTTP/1.1" or headers.get("connection", "").lower() == "close"
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _read_chunks(incoming)
    elif "content-length" in headers:
        body = incoming.take(int(headers["content-length"]))
    else:  # or an answer that has nothing to say, and another one after it
        body, is_last = incoming.rest() if int(status) == 200 else b"", True
    return Answer(int(status), headers, body, is_last or not incoming.is_empty)


def _read_chunks(incoming: Incoming) -> bytes:
    body = b""
    while size := int(incoming.until(b"\r\n").partition(b";")[0], 16):
        body += incoming.take(size)
        if len(body) > LONGEST or incoming.until(b"\r\n"):
            raise ValueError(size)
    while incoming.until(b"\r\n"):
        pass  # what was to be said at the end
    return body


def make_quick(client: Any, session: Any, bucket: str) -> Quick | None:
    """None, where this botocore, or this way to be let in, is another than what is known here."""
    credentials = session.get_credentials()
    is_usual = client.meta.config.signature_version == "s3v4" and not bucket.endswith("--x-s3")
    if not is_usual or not hasattr(credentials, "get_frozen_credentials"):
        return None
    signed: str = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"})
    base = signed.partition("?")[0].rpartition("/")[0]
    if base == f"https://{bucket}.s3.amazonaws.com":  # which leads to the region's only in the end
        base = client.meta.endpoint_url.replace("://", f"://{bucket}.")
    try:
        lines = _lines_to(client, f"{base}/")
    except AttributeError:
        return None
    if lines is None:
        return None
    asked = (client.meta.config.s3 or {}).get("payload_signing_enabled")
    return Quick(
        lines,
        credentials,
        client.meta.region_name,
        f"{base}/",
        signs_content=not base.startswith("https:") if asked is None else bool(asked),
    )


def _lines_to(client: Any, url: str) -> Any:
    """Connections of botocore's to a host: how they are secured it has been told. None: by way of a proxy."""
    http = client._endpoint.http_session
    if http._proxy_config.proxy_url_for(url):
        return None
    lines = http._get_connection_manager(url).connection_from_url(url)
    http._setup_ssl_cert(lines, url, http._verify)
    return lines if hasattr(lines, "_get_conn") and hasattr(lines, "_put_conn") else None
