"""The short way of a PUT: what it sends is what the client would, and what it can't do the client does."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping

import boto3  # type: ignore[import-untyped]
import pytest

from reconcile.remotes.s3.failure import Refusal
from reconcile.remotes.s3.headers import Headers
from reconcile.remotes.s3.quick import MOST, Quick, make_quick
from reconcile.remotes.s3.service import Service
from reconcile.remotes.s3.settings import Settings, read_rules
from reconcile.remotes.s3.upload import checksums
from tests.support.http_faults import FOR_EVER, Fault, Faulty
from tests.support.s3 import S3

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
            reply = quick_of(server).put(key, b"content", {**wanted, **checksums(b"content")})
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
