"""The S3 servers, and the proxy that lets things go wrong before them: whether tests may count on them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.http_faults import FOR_EVER, Fault, Faulty, start_faulty
from tests.support.processes import wait_for
from tests.support.s3 import SERVERS, AtPrefix, Missing, start_s3


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    with start_s3("rclone", tmp_path_factory.mktemp("s3")) as server, start_faulty(server) as proxy:
        yield proxy


@pytest.fixture
def hand(faulty: Faulty, request: pytest.FixtureRequest) -> Iterator[AtPrefix]:
    faulty.arm()
    hand = AtPrefix(faulty.server, request.node.name)
    yield hand
    faulty.arm()
    faulty.skew, faulty.hides = 0.0, False


@pytest.mark.parametrize("name", SERVERS)
def test_what_is_put_is_there_until_it_is_removed(name: str, tmp_path: Path) -> None:
    try:
        with start_s3(name, tmp_path) as server:
            hand = AtPrefix(server, "a prefix/of ours")
            hand.build({"a": "1", "d": {"b ü+%": "2"}})
            assert sorted(hand.names()) == ["a", "d/b ü+%"]
            assert hand.get("d/b ü+%") == b"2"
            hand.rename("a", "c")
            hand.remove("d")
            assert hand.names() == ["c"]
            hand.remove("")
            assert hand.names() == []
    except Missing as missing:
        pytest.skip(str(missing))


def test_each_request_is_known_by_its_name(hand: AtPrefix, faulty: Faulty) -> None:
    hand.put("f", b"content")
    hand.get("f")
    hand.rename("f", "g")
    hand.client.head_object(Bucket=hand.bucket, Key=f"{hand.prefix}/g")
    target = {"Bucket": hand.bucket, "Key": f"{hand.prefix}/big"}
    upload = {**target, "UploadId": hand.client.create_multipart_upload(**target)["UploadId"]}
    hand.client.upload_part(**upload, PartNumber=1, Body=b"x")
    hand.client.list_parts(**upload)
    hand.client.list_multipart_uploads(Bucket=hand.bucket)
    hand.client.abort_multipart_upload(**upload)
    hand.client.delete_object(**target)
    assert faulty.kinds() == [
        *("PutObject", "GetObject", "CopyObject", "ListObjectsV2", "DeleteObjects", "HeadObject"),
        *("CreateMultipartUpload", "UploadPart", "ListParts", "ListMultipartUploads"),
        *("AbortMultipartUpload", "DeleteObject"),
    ]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("do", ["cut", "answer"])
def test_what_fails_was_done_or_not(hand: AtPrefix, faulty: Faulty, do: str, when: str) -> None:
    hand.put("f", b"old")
    faulty.arm(Fault(do, 1, "PutObject", "/f", when=when, status=500, code="InternalError"))  # type: ignore[arg-type]
    seen: list[bytes] = []
    hand.client.meta.events.register("before-send.s3.PutObject", lambda **_: seen.append(hand.get("f")))
    hand.put("f", b"new")  # tried again by botocore
    assert seen == [b"old", b"old" if when == "before" else b"new"]
    assert not faulty.armed
    assert faulty.kinds().count("PutObject") == 2


def test_half_a_listing_is_no_listing(hand: AtPrefix, faulty: Faulty) -> None:
    hand.build({f"f{n}": "x" for n in range(5)})
    faulty.arm(Fault("half", 1, "ListObjectsV2"))
    assert len(hand.names()) == 5
    assert faulty.kinds() == ["ListObjectsV2"] * 2


def test_half_an_upload_is_none(hand: AtPrefix, faulty: Faulty) -> None:
    faulty.arm(Fault("torn", 1, "PutObject", times=FOR_EVER))
    with pytest.raises(Exception, match="onnection"):
        hand.put("f", b"x" * 100_000)
    faulty.arm()
    assert hand.names() == []


def test_nobody_may_list(hand: AtPrefix, faulty: Faulty) -> None:
    hand.put("f", b"f")
    faulty.hides = True
    assert hand.get("f") == b"f"
    with pytest.raises(hand.client.exceptions.ClientError, match="AccessDenied"):
        hand.names()
    with pytest.raises(hand.client.exceptions.ClientError, match="403"):
        hand.client.head_object(Bucket=hand.bucket, Key="absent")


def test_a_clock_that_is_wrong(hand: AtPrefix, faulty: Faulty) -> None:
    faulty.skew = 3600
    with pytest.raises(hand.client.exceptions.ClientError, match="RequestTimeTooSkewed"):
        hand.put("f", b"f")
    faulty.skew = 600
    hand.put("f", b"f")


def test_a_client_is_killed(hand: AtPrefix, faulty: Faulty, tmp_path: Path) -> None:
    program = (
        "from tests.support.s3 import AtPrefix, S3; input(); AtPrefix(S3('', '%s'), '%s').put('f', b'f')"
    )
    pid_file = tmp_path / "pid"
    faulty.arm(Fault("kill", 1, "PutObject", when="after", pid_file=str(pid_file)))
    command = [sys.executable, "-c", program % (faulty.server.endpoint, hand.prefix)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    client = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
    pid_file.write_text(str(client.pid))
    client.communicate(b"\n", timeout=60)
    assert client.returncode == -9
    wait_for(lambda: not faulty.armed, "the fault")
    assert hand.get("f") == b"f"


def test_a_client_that_died_while_it_sent_is_gone_for_the_server_too(hand: AtPrefix, faulty: Faulty) -> None:
    """Who sends the same part after that would wait for ever: this server takes the parts by turns."""
    target = {"Bucket": hand.bucket, "Key": f"{hand.prefix}/big"}
    upload = {**target, "UploadId": hand.client.create_multipart_upload(**target)["UploadId"]}
    where = {"Params": {**upload, "PartNumber": 1}, "ExpiresIn": 60}
    url = urlsplit(hand.client.generate_presigned_url("upload_part", **where))
    with socket.create_connection(("127.0.0.1", url.port or 0)) as dying:
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 100000\r\n\r\n"
        dying.sendall(head.encode() + b"x" * 50_000)
        wait_for(lambda: "UploadPart" in faulty.kinds(), "the half of it")
    hand.client.upload_part(**upload, PartNumber=1, Body=b"x" * 100)
    hand.client.abort_multipart_upload(**upload)
