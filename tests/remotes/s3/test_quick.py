"""The short way of a PUT: what it sends is what the client would, and what it can't do the client does."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from hashlib import sha256
from urllib.parse import urljoin

import boto3  # type: ignore[import-untyped]
import pytest
from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from urllib3.util import Timeout

from reconcile.remotes.s3.failure import Refusal
from reconcile.remotes.s3.headers import Headers
from reconcile.remotes.s3.quick import MOST, TOGETHER, UNSIGNED, Quick, make_quick, read_answer
from reconcile.remotes.s3.service import Service
from reconcile.remotes.s3.settings import Settings, read_rules
from tests.support.http_faults import FOR_EVER, Fault, Faulty
from tests.support.s3 import S3

SUMS = {"ContentMD5": "mgNkuembtIDdJeHwKEyFVQ==", "ChecksumCRC32": "/sUwqQ=="}  # of b"content"
ODD = "a b/c+d%20/ü/~'!*()&=?#;:@$,"


@pytest.fixture(params=["rclone", "moto"])
def proxy(
    request: pytest.FixtureRequest,
    servers: Callable[[str], S3],
    keys: Callable[[Mapping[str, str]], None],
) -> Iterator[Faulty]:
    server = servers(request.param)
    keys(server.environment)
    proxy = Faulty(server)
    yield proxy
    proxy.close()


def quick_of(server: S3) -> Quick:
    session = boto3.session.Session()
    quick = make_quick(server.client(), session, server.bucket)
    assert quick is not None
    return quick


def test_an_object_is_the_same_by_both_ways(proxy: Faulty) -> None:
    client, server = proxy.server.client(), proxy.server
    settings = Settings(cache_control=read_rules(("*=max-age=1, public",), "--cache-control"))
    wanted = {**Headers(settings).shape("a.html"), "Metadata": {"mtime": "1.5", "mode": "100644"}}
    told = []
    for way in ("quick", "client"):
        key = f"{uuid.uuid4().hex}/{ODD}"
        if way == "quick":
            reply = quick_of(server).put(key, b"content", {**wanted, **SUMS})
            assert reply is not None
        else:
            client.put_object(Bucket=server.bucket, Key=key, Body=b"content", **wanted)
        listed = client.list_objects_v2(Bucket=server.bucket, Prefix=key)["Contents"]
        assert [item["Key"] for item in listed] == [key]
        shown = client.head_object(Bucket=server.bucket, Key=key)
        told.append(
            [shown[name] for name in ("ETag", "ContentType", "CacheControl", "ContentLength", "Metadata")]
        )
    assert told[0] == told[1]


def test_what_it_does_not_know_it_leaves_to_the_client(proxy: Faulty) -> None:
    quick = quick_of(proxy.server)
    proxy.arm()
    assert quick.put("k", b"", {"Tagging": "a=b"}) is None
    assert proxy.kinds() == []


def test_a_refusal_is_told_by_the_client(proxy: Faulty) -> None:
    server = proxy.server
    service = Service(server.client(), server.bucket, "here", quick_of(server))
    service.ask("list_objects_v2", Prefix="none")
    proxy.arm(Fault("answer", kind="PutObject", status=403, code="AccessDenied", times=FOR_EVER))
    with pytest.raises(Refusal) as told:
        service.put("k", b"")
    assert told.value.is_denied
    assert proxy.kinds() == ["PutObject"] * 2
    for _ in range(MOST):
        with pytest.raises(Refusal):
            service.put("k", b"")
    proxy.arm()
    service.put("k", b"")
    assert proxy.kinds() == ["PutObject"], "it is not tried any more, and all goes on"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cut_costs_one_more_request(proxy: Faulty, when: str) -> None:
    server = proxy.server
    service = Service(server.client(), server.bucket, "here", quick_of(server))
    service.ask("list_objects_v2", Prefix="none")
    proxy.arm(Fault("cut", kind="PutObject", when="before" if when == "before" else "after"))
    key = uuid.uuid4().hex
    assert service.put(key, b"content")["ETag"]
    assert proxy.kinds() == ["PutObject"] * 2
    assert service.read(key, 0, 99) == b"content"


def test_a_copy_is_the_same_by_both_ways(proxy: Faulty) -> None:
    client, server = proxy.server.client(), proxy.server
    source, told = f"{uuid.uuid4().hex}/{ODD.replace('&', '').replace('+', '')}", []
    shape = {"ContentType": "text/x", "Metadata": {"mtime": "1.5"}}
    etag = client.put_object(Bucket=server.bucket, Key=source, Body=b"content", **shape)["ETag"]
    for way in ("quick", "client"):
        key = f"{uuid.uuid4().hex}/{ODD}"
        wanted = {"MetadataDirective": "COPY", "CopySourceIfMatch": etag}
        quick = quick_of(server) if way == "quick" else None
        service = Service(client, server.bucket, "here", quick)
        service.ask("list_objects_v2", Prefix="none")
        proxy.arm()
        assert service.copy(key, source, **wanted)["CopyObjectResult"]["ETag"] == etag
        assert proxy.kinds() == ["CopyObject"]
        shown = client.head_object(Bucket=server.bucket, Key=key)
        told.append([shown[name] for name in ("ETag", "ContentType", "ContentLength", "Metadata")])
    assert told[0] == told[1]
    with pytest.raises(Refusal) as refused:
        service.copy(key, f"{source}-none", MetadataDirective="COPY")
    assert refused.value.is_absent


@pytest.mark.parametrize("token", [None, "a token/+="])
@pytest.mark.parametrize(
    "base",
    [
        "https://bucket.s3.eu-north-1.amazonaws.com/",
        "https://one.example:443/bucket/",
        "http://one.example:9000/at/bucket/",
        "http://[::1]/bucket/",
    ],
)
@pytest.mark.parametrize("part", [False, True])
def test_it_signs_as_botocore_does(
    monkeypatch: pytest.MonkeyPatch, token: str | None, base: str, part: bool
) -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    class Lines:
        """No connection at all."""

        def _get_conn(self) -> None:
            raise OSError

    credentials, is_secure = Credentials("AKID", "secret/+", token), base.startswith("https:")
    quick = Quick(Lines(), credentials, "eu-north-1", base, signs_content=not is_secure)
    body = b"content"
    sign = quick._sign

    def note(path: str, headers: dict[str, str], body: bytes, query: str) -> None:
        sign(path, headers, body, query)
        asked.append((f"{path}?{query}" if query else path, dict(headers)))

    monkeypatch.setattr(quick, "_sign", note)
    wanted = {"CacheControl": "a  b", "ContentType": "text/x", "IfNoneMatch": "*", "Metadata": {"Mode": "1"}}
    if part:
        assert quick.put_part(ODD, "an/upload+id=&~", 12, body, SUMS) is None
    else:
        assert quick.put(ODD, body, {**wanted, **SUMS}) is None
    ((path, headers),) = asked
    ours = {"authorization", "host", "user-agent", "accept-encoding", "x-amz-security-token"}
    given = {name: value for name, value in headers.items() if name not in ours}
    request = AWSRequest("PUT", urljoin(base, path), headers=given)
    request.data = body
    request.context["has_streaming_input"] = True
    when = datetime.strptime(f"{headers['x-amz-date']}+0000", "%Y%m%dT%H%M%SZ%z")
    assert abs(when.timestamp() - time.time()) < 60
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: when)
    S3SigV4Auth(credentials.get_frozen_credentials(), "s3", "eu-north-1").add_auth(request)
    assert headers["authorization"] == request.headers["Authorization"]
    told = headers["x-amz-content-sha256"]
    assert told == (UNSIGNED if is_secure else sha256(body).hexdigest())
    assert told == request.headers["X-Amz-Content-SHA256"]


@pytest.mark.parametrize(
    ("value", "why"), [("max-age=1\r\nx-amz-acl: public-read", "a line more"), ("ü", "no ASCII")]
)
def test_no_header_says_more_than_it_should(proxy: Faulty, value: str, why: str) -> None:
    proxy.arm()
    assert quick_of(proxy.server).put("k", b"", {"CacheControl": value}) is None, why
    assert proxy.kinds() == []


def read_some(stream: io.BytesIO, most: int, size: int) -> bytes:
    return stream.read(min(size, most))


HEAD = b'HTTP/1.1 200 OK\r\nETag: "e"\r\n'


@pytest.mark.parametrize(
    ("text", "body", "is_last"),
    [
        (HEAD + b"Content-Length: 0\r\n\r\n", b"", False),
        (HEAD + b"content-length:3\r\nConnection: close\r\n\r\nabc", b"abc", True),
        (HEAD + b"\r\nabc", b"abc", True),
        (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nT: t\r\n\r\n",
            b"abc",
            False,
        ),
        (HEAD.replace(b"1.1", b"1.0") + b"Content-Length: 1\r\n\r\na", b"a", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD, b"", True),
        (HEAD + b"\r\n", b"", True),
    ],
)
def test_answers_are_read_to_their_end(text: bytes, body: bytes, is_last: bool) -> None:
    for most in (1 << 20, 7, 1):  # at a time
        answer = read_answer(partial(read_some, io.BytesIO(text), most))
        assert (answer.body, answer.is_last) == (body, is_last)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"SSH-2.0-x\r\n",
        HEAD,
        HEAD + b"Content-Length: 5\r\n\r\nabc",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 99999999999\r\n\r\n",
        HEAD + b"no header\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
        HEAD + b"x: y\r\n" * 200 + b"\r\n",
        HEAD.replace(b"\r", b"") + b"\n",
    ],
)
def test_what_is_no_answer_is_told(text: bytes) -> None:
    with pytest.raises((ValueError, OSError)):
        read_answer(io.BytesIO(text).read)


class Wire:
    """A connection that takes whatever it is given, and answers once."""

    def __init__(self) -> None:
        self.sock = self
        self.pieces: list[bytes] = []

    def settimeout(self, seconds: float) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.pieces.append(bytes(data))

    def recv(self, most: int) -> bytes:  # noqa: ARG002 - it is short
        return b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n'


class Wires:
    """A pool of one."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.timeout = Timeout(read=1.0)

    def _get_conn(self) -> Wire:
        return self.wire

    def _put_conn(self, wire: Wire) -> None:
        assert wire is self.wire


@pytest.mark.parametrize("size", [0, 1, TOGETHER, TOGETHER + 1, 5 * TOGETHER + 7])
def test_a_large_one_goes_out_in_pieces_that_each_have_the_timeout(size: int) -> None:
    wires, body = Wires(), bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    quick = Quick(wires, Credentials("k", "s"), "us-east-1", "http://127.0.0.1:9/b/")
    assert quick.put("key", body, {}) is not None
    head, end, _ = b"".join(wires.wire.pieces).partition(b"\r\n\r\n")
    assert b"".join(wires.wire.pieces) == head + end + body
    assert max(map(len, wires.wire.pieces)) <= TOGETHER + len(head + end)


def test_a_copy_that_fails_after_it_was_begun_is_asked_again(proxy: Faulty) -> None:
    """S3 says 200 at once, and in its body that it went wrong."""
    server, key = proxy.server, uuid.uuid4().hex
    service = Service(server.client(), server.bucket, "here", quick_of(server))
    service.ask("put_object", Key=key, Body=b"content")
    proxy.arm(Fault("answer", kind="CopyObject", status=200, code="InternalError"))
    assert service.copy(f"{key}-2", key)["CopyObjectResult"]["ETag"]
    assert proxy.kinds() == ["CopyObject"] * 2
    assert service.read(f"{key}-2", 0, 99) == b"content"
