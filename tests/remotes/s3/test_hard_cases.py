"""Whole runs to real S3 servers when names are odd, requests fail, rights are missing or keys expire."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from reconcile.config import Flags, make_job
from reconcile.core.errors import Unreachable
from reconcile.core.job import Result
from reconcile.core.model import Op, Outcome, Reason
from reconcile.pipeline import run
from reconcile.remotes import open_remote
from tests.remotes.conformance import Heard
from tests.support.http_faults import FOR_EVER, Fault, Faulty
from tests.support.processes import wait_for
from tests.support.s3 import S3, AtPrefix
from tests.support.trees import File, Tree, build_tree, read_tree

LARGE = 17 << 20  # bytes that go in parts
READS = {"HeadObject", "GetObject", "ListObjectsV2", "HeadBucket"}


@dataclass(frozen=True)
class Push:
    """SRC, a bucket behind a proxy, and what a third hand sees in it."""

    source: Path
    proxy: Faulty
    hand: AtPrefix
    flags: Flags

    def __call__(self, tree: Tree | None = None, **flags: Any) -> Result:
        """A run that ends well, after SRC was given what is in ``tree``."""
        result = self.tries(tree, **flags)
        assert not result.problems
        return result

    def tries(self, tree: Tree | None = None, **flags: Any) -> Result:
        """A run; errors are the caller's."""
        build_tree(self.source, tree or {})
        return run(make_job(replace(self.flags, **flags)), Heard())

    def there(self) -> dict[str, bytes]:
        """What the prefix holds, our own and keys that end in a slash left out."""
        keys = [key for key in self.hand.names() if not key.startswith(".reconcile/") and key[-1] != "/"]
        return {key: self.hand.get(key) for key in keys}

    def here(self) -> dict[str, bytes]:
        """The files of SRC."""
        return {p: n.content or b"" for p, n in read_tree(self.source).items() if n.kind == "file"}

    def settle(self, **flags: Any) -> None:
        """With nothing in the way: one run brings all, and the next asks for nothing at all."""
        self.proxy.arm()
        self(**flags)
        assert self.there() == self.here()
        self.proxy.arm()
        self(**flags)
        assert self.proxy.kinds() == []


MakePush = Callable[..., Push]


@pytest.fixture
def make_push(
    servers: Callable[[str], S3], keys: Callable[[Mapping[str, str]], None], source: Path, state: Path
) -> Iterator[MakePush]:
    """``make_push(name of a server, prefix)``."""
    proxies: list[Faulty] = []

    def make_push(name: str = "rclone", prefix: str = "") -> Push:
        server = servers(name)
        keys(server.environment)
        proxy = Faulty(server)
        proxies.append(proxy)
        prefix = prefix or source.parent.name
        reaching = {"endpoint": proxy.server.endpoint, "path_style": True, "channels": 4}
        flags = Flags(
            str(source), server.url(prefix), state=str(state), retry_max_wait=0.0, reaching=reaching
        )
        return Push(source, proxy, AtPrefix(server, prefix), flags)

    yield make_push
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def push(make_push: MakePush) -> Push:
    return make_push()


ODD = [
    *(" leads", "trails ", "a b", "a+b", "a%20b", "%", "%2F", "a&b=c;d", "#?", "~", "..a", "...", "a\\b"),
    *("ünï", "u\u0308", "日本", "🙂", "'\"<>&amp;", "[x]*{y}", "$,@:!()", "-rf"),
]


@pytest.mark.parametrize("name", ["rclone", "moto"])
def test_odd_names(make_push: MakePush, name: str) -> None:
    push = make_push(name, "a prefix +%/ünï")
    push({odd: {odd: f"in {odd}"} for odd in ODD})
    assert push.there() == push.here() == {f"{odd}/{odd}": f"in {odd}".encode() for odd in ODD}
    for number, odd in enumerate(ODD):
        (push.source / odd / odd).rename(push.source / odd / f"{odd}.moved")
        if number % 2:
            (push.source / odd / f"{odd}.moved").write_text("changed")
    push.settle(mirror=True, allow_mass_delete=True)


def test_a_server_that_knows_little(make_push: MakePush) -> None:
    """It finds no source of a copy whose key has a plus or an ampersand in it."""
    push = make_push("s3rver", "some where/ünï")
    push({"a": "a", "b": "b", "d": {"c 1": "c", "e": "e"}, "large": os.urandom(LARGE)})
    assert push.there() == push.here()
    (push.source / "b").unlink()
    (push.source / "d").rename(push.source / "f")
    (push.source / "large").rename(push.source / "f/large")
    build_tree(push.source, {"a": "changed"})
    push.settle(mirror=True, allow_mass_delete=True)


def test_the_longest_key_and_one_that_is_too_long(make_push: MakePush) -> None:
    push = make_push("moto")
    room = 1024 - len(push.hand.prefix) - 1
    folders = "/".join(["d" * 200] * 4)
    longest = f"{folders}/{'f' * (room - len(folders) - 1)}"
    for path in (longest, f"{longest}f"):
        (push.source / path).parent.mkdir(parents=True, exist_ok=True)
        (push.source / path).write_text("f")
    result = push.tries()
    assert {problem.path: problem.reason for problem in result.problems} == {f"{longest}f": Reason.BAD_NAME}
    assert push.there() == {longest: b"f"}
    (push.source / f"{longest}f").unlink()
    push.settle()


def test_more_deletes_than_one_request_takes(push: Push) -> None:
    push({"keep": "k", "d": {f"f{n}": "" for n in range(1001)}})
    for path in (push.source / "d").iterdir():
        path.unlink()
    (push.source / "d").rmdir()
    push.proxy.arm()
    push(mirror=True, allow_mass_delete=True)
    assert push.there() == {"keep": b"k"}
    assert len(push.proxy.kinds()) < 40
    push.settle(mirror=True)


def test_a_bucket_with_versions(make_push: MakePush) -> None:
    push = make_push("moto")
    client, bucket = push.hand.client, push.hand.bucket
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    push({"a": "a", "b": "b", "d": {"c": "c"}})
    (push.source / "b").unlink()
    build_tree(push.source, {"a": "changed", "e": "new"})
    (push.source / "d").rename(push.source / "f")
    push.settle(mirror=True)
    build_tree(push.source, {"b": "again", "a": "changed more"})
    push.settle(mirror=True)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def test_a_folder_that_moved_sends_nothing(push: Push) -> None:
    push({"d": {f"f{n}": f"content {n}" for n in range(30)}, "other": "o"})
    (push.source / "d").rename(push.source / "e")
    push.proxy.arm()
    push(mirror=True)
    counts = Counter(push.proxy.kinds())
    assert counts["CopyObject"] == 30
    sent = [request for request in push.proxy.requests if request.kind == "PutObject" and request.length]
    assert all("/.reconcile/" in request.path for request in sent), sent
    assert push.there() == push.here()


@pytest.mark.parametrize("times", [1, FOR_EVER])
def test_half_a_listing(push: Push, times: int) -> None:
    push.hand.build({f"f{n}": "same" for n in range(20)})
    build_tree(push.source, {f"f{n}": "same" for n in range(20)})
    push.proxy.arm(Fault("half", 1, "ListObjectsV2", times=times))
    if times == 1:
        assert not push(adopt_existing=True).ended
    else:
        with pytest.raises(Unreachable):
            push(adopt_existing=True, retries=0)
    push.settle(adopt_existing=True)


def test_the_end_of_an_upload_that_was_done_and_not_told(push: Push) -> None:
    push({"f": "f"})
    build_tree(push.source, {"large": os.urandom(LARGE)})
    push.proxy.arm(
        Fault("answer", 1, "CompleteMultipartUpload", when="after", status=500, code="InternalError")
    )
    push()
    assert not push.proxy.armed
    assert push.there() == push.here()
    assert Counter(push.proxy.kinds())["UploadPart"] <= 4, "it was not sent again"
    push.settle()


def test_an_upload_that_was_begun_and_not_told(push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows its id. What is somebody else's, and has parts, stays."""
    monkeypatch.setattr("reconcile.remotes.s3.multipart.FROM", 1)
    theirs = {"Bucket": push.hand.bucket, "Key": f"{push.hand.prefix}/large"}
    theirs["UploadId"] = push.hand.client.create_multipart_upload(**theirs)["UploadId"]
    push.hand.client.upload_part(**theirs, PartNumber=1, Body=b"theirs")
    build_tree(push.source, {"large": "is not"})
    push.proxy.arm(Fault("cut", 1, "CreateMultipartUpload", when="after", times=FOR_EVER))
    with pytest.raises(Unreachable):
        push(retries=0)
    assert len(push.hand.uploads()) > 1
    push.settle()
    assert [upload["UploadId"] for upload in push.hand.uploads()] == [theirs["UploadId"]]
    push.hand.client.abort_multipart_upload(**theirs)


@pytest.mark.parametrize(("at", "etagless"), [(1, True), (2, False)])
def test_what_was_copied_out_of_the_way_or_back_leaves_nothing(push: Push, at: int, etagless: bool) -> None:
    """The run breaks off before it deletes that where it was."""
    push.proxy.etagless = etagless
    push({"a": "was a", "b": "was b"})
    for old, new in (("a", "aside"), ("b", "a"), ("aside", "b")):
        (push.source / old).rename(push.source / new)
    push.proxy.arm(Fault("cut", at, "DeleteObjects", times=FOR_EVER))
    with pytest.raises(Unreachable):
        push(mirror=True, retries=0)
    assert [key for key in push.hand.names() if "/parked/" in key]
    push.settle(mirror=True)
    assert [key for key in push.hand.names() if "/parked/" in key or "/left/" in key] == []


def test_a_trial_that_broke_off_leaves_nothing(push: Push) -> None:
    build_tree(push.source, {"f": "f"})
    push.proxy.arm(Fault("cut", 6, times=FOR_EVER))
    with pytest.raises(Unreachable):
        push(retries=0)
    assert [key for key in push.hand.names() if "probe-" in key]
    push.settle()
    assert [key for key in push.hand.names() if "probe-" in key] == []


def test_an_upload_whose_parts_nobody_may_list(push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is begun anew, and what was sent of it is not paid for."""
    monkeypatch.setattr("reconcile.remotes.s3.multipart.FROM", 1)
    build_tree(push.source, {"large": "is not"})
    push.proxy.arm(Fault("cut", 1, "UploadPart", times=FOR_EVER))
    with pytest.raises(Unreachable):
        push(retries=0)
    assert len(push.hand.uploads()) == 1
    push.proxy.arm(Fault("answer", 1, "ListParts", times=FOR_EVER, status=403, code="AccessDenied"))
    push()
    assert push.hand.uploads() == []
    push.settle()


def test_parts_are_not_sent_again_after_a_cut(push: Push) -> None:
    push({"f": "f"})
    build_tree(push.source, {"large": os.urandom(40 << 20)})
    push.proxy.arm(Fault("cut", 3, "UploadPart", times=FOR_EVER))
    with pytest.raises(Unreachable):
        push(retries=0)
    parts = Counter(push.proxy.kinds())["UploadPart"]
    assert parts >= 3
    push.proxy.arm()
    push()
    sent = sum(request.length for request in push.proxy.requests if request.kind == "UploadPart")
    assert sent < 40 << 20, "what was there was sent again"
    assert push.there() == push.here()
    uploads = push.hand.client.list_multipart_uploads(Bucket=push.hand.bucket).get("Uploads", [])
    assert [each for each in uploads if each["Key"].startswith(push.hand.prefix)] == []
    push.settle()


@pytest.mark.parametrize("kind", ["PutObject", "CopyObject", "DeleteObjects", "HeadObject"])
@pytest.mark.parametrize(
    ("do", "when"), [("cut", "before"), ("cut", "after"), ("answer", "before"), ("answer", "after")]
)
def test_what_fails_once_is_done_once(push: Push, kind: str, do: str, when: str) -> None:
    push({"a": "a", "gone": "gone", "moved": "m" * 100, "d": {"x": "x"}})
    push.hand.put("a", b"of somebody else")
    (push.source / "gone").unlink()
    (push.source / "moved").rename(push.source / "to")
    build_tree(push.source, {"a": "new", "n": "n"})
    push.proxy.arm(Fault(do, 1, kind, when=when, status=500, code="InternalError"))  # type: ignore[arg-type]
    push(mirror=True)
    kept = [push.hand.get(key) for key in push.hand.names() if "/trash/kept/" in key]
    assert kept == [b"of somebody else"]
    push.settle(mirror=True)


def test_slow_down(push: Push) -> None:
    build_tree(push.source, {f"f{n}": f"{n}" for n in range(20)})
    push.proxy.arm(Fault("answer", 8, "PutObject", times=6, status=503, code="SlowDown"))
    push()
    push.settle()


@pytest.mark.parametrize("at", [1, 12])
def test_keys_that_expire(push: Push, at: int) -> None:
    build_tree(push.source, {f"f{n}": f"{n}" for n in range(20)})
    push.proxy.arm(Fault("answer", at, times=FOR_EVER, status=403, code="ExpiredToken"))
    with pytest.raises(Unreachable, match="expired"):
        push(retries=0)
    push.settle()


def test_keys_that_expire_and_can_not_be_renewed_for_a_moment(
    push: Push, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever has let us in will again: the run connects once more, and goes on."""
    calls, program, config = tmp_path / "calls", tmp_path / "keys.sh", tmp_path / "config"
    keys = {
        "Version": 1,
        "AccessKeyId": os.environ["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": os.environ["AWS_SECRET_ACCESS_KEY"],
        "Expiration": (datetime.now(UTC) + timedelta(seconds=30)).isoformat(),  # so that each request asks
    }
    program.write_text(f"echo >>{calls}; [ $(wc -l <{calls}) != 12 ] && echo '{json.dumps(keys)}'")
    config.write_text(f"[default]\ncredential_process = /bin/sh {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    push({f"f{n}": f"{n}" for n in range(20)}, retries=1)
    assert calls.read_text().count("\n") > 12
    push.settle()


def test_a_clock_that_is_wrong(make_push: MakePush) -> None:
    push = make_push("moto")
    build_tree(push.source, {"f": "f"})
    push.proxy.skew = 3600.0
    with pytest.raises(Unreachable, match="clock"):
        push(retries=0)
    push.proxy.skew = 300.0
    push.settle()


def test_who_may_not_list_is_told_before_anything_is_done(push: Push) -> None:
    """What is there could not be told from what is not: a 404 is a 403 then."""
    build_tree(push.source, {"a": "a", "d": {"b": "b"}})
    push.proxy.hides = True
    with pytest.raises(Unreachable, match=r"denies that .*Nothing was done.*s3:ListBucket"):
        push()
    assert push.hand.names() == []
    push.proxy.hides = False
    push.settle()
    build_tree(push.source, {"a": "changed"})
    push.proxy.hides = True
    with pytest.raises(Unreachable, match="s3:ListBucket"):
        push()
    assert push.there() != push.here()


def test_what_a_browser_is_told_is_right_from_the_first_upload(push: Push) -> None:
    rules = {
        "cache_control": ("*.html=no-cache", "assets/**=max-age=31536000"),
        "content_type": ("*.x=text/x",),
    }
    reaching = {**push.flags.reaching, **rules}
    push({"index.html": "<p>", "assets": {"s.css": "p{}", "b.js": "1"}, "o.x": "x"}, reaching=reaching)
    heads = {
        key: push.hand.client.head_object(Bucket=push.hand.bucket, Key=f"{push.hand.prefix}/{key}")
        for key in push.there()
    }
    told = {
        key: (head["ContentType"].partition(";")[0], head.get("CacheControl")) for key, head in heads.items()
    }
    assert told["index.html"] == ("text/html", "no-cache")
    assert told["assets/s.css"] == ("text/css", "max-age=31536000")
    assert told["assets/b.js"][0] in ("text/javascript", "application/javascript")
    assert told["o.x"] == ("text/x", None)


def test_a_large_file_among_small_ones(push: Push) -> None:
    content = os.urandom(LARGE)
    push({"large": File(content, mtime=10**9), **{f"f{n}": "x" for n in range(20)}})
    assert push.there() == push.here()
    (push.source / "large").rename(push.source / "elsewhere")
    push.proxy.arm()
    result = push(mirror=True)
    assert Counter(push.proxy.kinds())["UploadPart"] == 0
    assert {action.op for action in result.ended} == {Op.MOVE}
    push.settle(mirror=True)


class Deaf(Heard):
    """Breaks as it is told how something ended: as where nobody reads what is printed. But ``once`` first."""

    def __init__(self, once: Callable[[], bool]) -> None:
        super().__init__()
        self.once = once

    def outcome(self, outcome: Outcome) -> None:
        wait_for(self.once, "what is under way")
        raise BrokenPipeError(outcome.action.path)


def test_what_a_run_that_broke_has_under_way_is_not_ended_later(
    push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the next one, say, in the same process."""
    monkeypatch.setattr("reconcile.remotes.s3.multipart.FROM", 1)
    build_tree(push.source, {"first": "1", "second": "2"})
    push.proxy.arm(Fault("mute", 1, "UploadPart", "/second"))
    with pytest.raises(BrokenPipeError):
        run(make_job(push.flags), Deaf(lambda: push.proxy.kinds().count("UploadPart") == 2))
    push.proxy.arm()  # and what it was waiting for breaks
    wait_for(
        lambda: not [each for each in threading.enumerate() if each.name.startswith("s3")], "its threads"
    )
    assert push.there() == {"first": b"1"}
    assert "CompleteMultipartUpload" not in push.proxy.kinds()
    push.settle()


def test_a_renewal_that_was_made_twice_as_its_answer_got_lost(make_push: MakePush) -> None:
    """The second meets what the first one wrote, with another ETag where all is encrypted."""
    push = make_push("moto")
    remote = open_remote(make_job(push.flags), Heard())
    try:
        store = remote.store
        assert store.put_new("mine", b"1")
        unmet = Fault("answer", 1, "PutObject", "/mine", "after", status=412, code="PreconditionFailed")
        push.proxy.arm(unmet)
        assert store.renew("mine")
        assert not push.proxy.armed
        push.hand.put(".reconcile/store/mine", b"1")  # of somebody else, who removed ours before
        push.proxy.arm(unmet)
        assert not store.renew("mine")
    finally:
        remote.close()
