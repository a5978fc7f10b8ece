"""Whole runs to buckets that are strange: by what they forbid, what they hold, and what answers for them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import pytest

from reconcile.config import make_job
from reconcile.core.errors import Unreachable
from reconcile.core.model import Reason
from reconcile.phases.verify import verify
from reconcile.remotes.s3.multipart import FROM
from tests.faults.conftest import TORTURE
from tests.remotes.conformance import Heard
from tests.remotes.s3.test_hard_cases import MakePush, Push
from tests.remotes.s3.test_hard_cases import make_push as make_push  # noqa: PLC0414 - a fixture
from tests.support.http_faults import FOR_EVER, Fault
from tests.support.s3_sums import Sums
from tests.support.trees import Tree, build_tree

ELSE = b"<?xml version='1.0'?><html><body>Please sign in</body></html>"
NO_XML = ["\x01s", "a\tb", "del\x7f", "\ufffe", "esc\x1b[31m", "plain"]  # in which XML has no place for most


@contextmanager
def denied(push: Push, *denials: tuple[str, str]) -> Iterator[None]:
    """A policy of the bucket that denies these actions on keys that these patterns match."""
    where = f"arn:aws:s3:::{push.hand.bucket}/{push.hand.prefix}"
    deny = {"Effect": "Deny", "Principal": "*"}
    told = [{**deny, "Action": action, "Resource": [f"{where}/{keys}"]} for action, keys in denials]
    policy = json.dumps({"Version": "2012-10-17", "Statement": told})
    push.hand.client.put_bucket_policy(Bucket=push.hand.bucket, Policy=policy)
    try:
        yield
    finally:
        push.hand.client.delete_bucket_policy(Bucket=push.hand.bucket)


@pytest.fixture
def large_is_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is sent goes in parts."""
    monkeypatch.setattr("reconcile.remotes.s3.multipart.FROM", 1)


def wrong(push: Push) -> Sequence[str]:
    """What ``verify`` finds."""
    checked = verify(make_job(push.flags), Heard()).checked
    assert checked is not None
    return [finding.path for finding in checked.findings]


@pytest.mark.parametrize("name", ["moto", "rclone"] if TORTURE else ["moto"])
def test_names_in_which_xml_has_no_place(make_push: MakePush, name: str) -> None:
    """Many servers fail where they are asked to list by one."""
    push = make_push(name)
    push({odd: {odd: f"in {odd}", "also": f"also {odd}"} for odd in NO_XML})
    assert push.there() == push.here()
    assert wrong(push) == []
    for number, odd in enumerate(NO_XML):
        (push.source / odd / "also").unlink()
        if number % 2:
            (push.source / odd / odd).rename(push.source / odd / f"{odd}.moved")
            (push.source / odd).rename(push.source / f"{odd}.too")
    push.settle(mirror=True, allow_mass_delete=True)
    for folder in list(push.source.iterdir()):
        for path in list(folder.iterdir()):
            path.unlink()
        folder.rmdir()
    build_tree(push.source, {"\x01s": "a file now", "kept": "k"})
    push.settle(mirror=True, allow_mass_delete=True)


KINDS = ["DeleteObjects", "CopyObject"]
if TORTURE:
    KINDS += ["HeadObject", "PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]
    KINDS += ["DeleteObject", "ListObjectsV2"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_something_else_answers_is_not_believed(
    make_push: MakePush, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It stands between for a while, and says 200 whatever it is asked, as where a guest has to sign in."""
    push = make_push("rclone")
    push({"gone": "g", "gone too": "g", "moved": "m" * 99, "d": {"x": "x"}, "f": "f"})
    for name in ("gone", "gone too"):
        (push.source / name).unlink()
    (push.source / "moved").rename(push.source / "d/to")
    build_tree(push.source, {"f": "changed", "n": "n"})
    if "Upload" in kind:
        monkeypatch.setattr("reconcile.remotes.s3.multipart.FROM", 1)
    push.proxy.arm(Fault("answer", kind=kind, times=FOR_EVER, status=200, body=ELSE))
    try:
        assert push.tries(mirror=True, retries=0).problems
    except Unreachable:
        pass
    monkeypatch.setattr("reconcile.remotes.s3.multipart.FROM", FROM)
    push.settle(mirror=True)
    assert push.hand.uploads() == []


@pytest.mark.parametrize("when", ["before", "after"] if TORTURE else ["after"])
@pytest.mark.usefixtures("large_is_anything")
def test_an_end_that_fails_after_it_was_begun(make_push: MakePush, when: Literal["before", "after"]) -> None:
    """S3 says 200 at once, and in its body that it went wrong."""
    push = make_push("moto")
    build_tree(push.source, {"large": "is not"})
    fault = Fault("answer", kind="CompleteMultipartUpload", status=200, code="InternalError")
    push.proxy.arm(dataclasses.replace(fault, when=when))
    push()
    assert not push.proxy.armed
    assert Counter(push.proxy.kinds())["UploadPart"] == 1
    push.settle()
    assert push.hand.uploads() == []


@pytest.fixture
def some_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has a hundred bytes goes in parts, or in one."""
    monkeypatch.setattr("reconcile.remotes.s3.multipart.FROM", 100)


@pytest.mark.parametrize("barred", ["x-amz-checksum-", "x-amz-sdk-checksum-"])
@pytest.mark.usefixtures("some_are_large")
def test_a_server_that_takes_no_other_checksum(make_push: MakePush, barred: str) -> None:
    """It refuses whatever has a header of one, as Backblaze B2 did for long, and Cloudflare R2."""
    push = make_push("moto")
    push.proxy.barred = barred
    push({"small": "s", "large": "l" * 100, "gone": "g", "gone too": "g"})
    assert push.there() == push.here()
    build_tree(push.source, {"small": "changed", "large": "c" * 100})
    for name in ("gone", "gone too"):
        (push.source / name).unlink()
    push.settle(mirror=True, allow_mass_delete=True)


def test_a_server_that_compares_crc_32(make_push: MakePush) -> None:
    """As S3 itself does, and insists: no part has a sum if it was not told so where the upload began. One
    that broke off is gone on with."""
    push = make_push("rclone")
    push.proxy.sums = Sums()
    build_tree(push.source, {"small": "s", "large": os.urandom(FROM + 1)})
    push.proxy.arm(Fault("cut", 2, "UploadPart", times=FOR_EVER))
    with pytest.raises(Unreachable):
        push(retries=0)
    push.settle()
    assert push.proxy.sums.compared == {"PutObject", "UploadPart"}
    assert push.hand.uploads() == []


@pytest.mark.usefixtures("some_are_large")
def test_a_server_that_compares_it_of_no_parts(make_push: MakePush) -> None:
    push = make_push("moto")
    push.proxy.sums = Sums()
    push.proxy.arm(Fault("answer", kind="CreateMultipartUpload", status=501, code="NotImplemented"))
    push({"small": "s", "large": "l" * 100})
    assert push.there() == push.here()
    assert push.proxy.sums.compared == {"PutObject"}


def test_many_deletes_of_which_some_are_denied(make_push: MakePush) -> None:
    """What stands is known to stand, and is tried again. Of a folder it is told how much that is."""
    push = make_push("moto")
    many = {f"f{number}": "" for number in range(1001 if TORTURE else 40)}
    push({"keep": "k", "d": many, "e": {"a": "a", "b1": "", "b2": ""}})
    for path in [*(push.source / "d").iterdir(), *(push.source / "e").iterdir()]:
        if path.name[-1] != "1" or path.parent.name == "e":
            path.unlink()
    (push.source / "e").rmdir()
    with denied(push, ("s3:DeleteObject", "d/f*7"), ("s3:DeleteObject", "e/b*")):
        result = push.tries(mirror=True, allow_mass_delete=True)
    left = {f"d/{name}" for name in many if name[-1] == "7"}
    assert {problem.reason for problem in result.problems} == {Reason.DENIED}
    told = {problem.path: problem.message for problem in result.problems}
    assert told.keys() - {"e/b1", "e/b2"} == left
    assert [text.rpartition("; ")[2] for path, text in told.items() if path not in left] == [
        "1 more of that directory stays, too"
    ]
    assert push.there().keys() == push.here().keys() | left | {"e/b1", "e/b2"}
    push.settle(mirror=True)


@pytest.mark.usefixtures("large_is_anything")
def test_a_bucket_that_insists_on_a_header(make_push: MakePush) -> None:
    """As one that takes nothing unencrypted: also what is only tried, or ours."""
    push = make_push("moto")
    push.proxy.insists = "x-amz-server-side-encryption"
    flags = {"reaching": {**push.flags.reaching, "sse": "AES256"}, "lock": "remote", "state": "remote"}
    push({"f": "f", "d": {"g": "g"}, "empty": {}, "large": "is not"}, **flags)
    push.hand.put("f", b"theirs")
    (push.source / "large").rename(push.source / "d/large")
    push({"f": "changed"}, mirror=True, **flags)
    assert push.there() == push.here()


@pytest.mark.parametrize(
    "header", ["If-Match", "If-None-Match", "x-amz-copy-source-if-match"][: 3 if TORTURE else 1]
)
def test_a_server_that_takes_no_condition_for_met(make_push: MakePush, header: str) -> None:
    """It heeds those that are not, so that it looks as if it compared."""
    push = make_push("moto")
    push.proxy.unmet = header
    push({"f": "f", "moved": "m", "gone": "g"}, lock="remote")
    (push.source / "gone").unlink()
    (push.source / "moved").rename(push.source / "to")
    push({"f": "changed", "new": "n"}, mirror=True, lock="remote")
    assert push.there() == push.here()


@pytest.mark.parametrize("name", ["rclone", "moto"] if TORTURE else ["rclone"])
def test_a_name_at_which_the_server_fails(make_push: MakePush, name: str) -> None:
    """Always, and at no other: all else goes on."""
    push = make_push(name)
    push({"a": "a", "odd": "o"})
    push.proxy.arm(Fault("answer", path="/odd", times=FOR_EVER, status=500, code="InternalError"))
    result = push.tries({"a": "changed", "odd": "changed", "z": "z"}, retries=0)
    assert [problem.path for problem in result.problems] == ["odd"]
    assert (push.hand.get("a"), push.hand.get("z"), push.hand.get("odd")) == (b"changed", b"z", b"o")
    push.settle()


def test_conditions_that_some_objects_never_meet(make_push: MakePush) -> None:
    """As where what came in parts is held as another thing than what the server was tried with."""
    push = make_push("moto")
    push({"a": "a", "gone": "g", "moved": "m", "theirs": "t", "d": {"e": "e", "f": "f"}})
    push.proxy.unmet = "If-Match"
    push.hand.put("theirs", b"THEY")
    for name in ("gone", "theirs"):
        (push.source / name).unlink()
    (push.source / "moved").rename(push.source / "to")
    push({"a": "changed"}, mirror=True)
    assert push.there() == push.here()
    assert [push.hand.get(key) for key in push.hand.names() if "/trash/kept/" in key] == [b"THEY"]
    push.proxy.unmet = ""
    push.settle(mirror=True)


@pytest.mark.usefixtures("large_is_anything")
def test_a_server_that_keeps_no_notes_with_what_came_in_parts(make_push: MakePush) -> None:
    push = make_push("moto")
    push.proxy.noteless = True
    push({"large": "is not"})
    push({"large": "is not, too"})
    push.settle()


def test_a_server_that_shows_no_etags(make_push: MakePush) -> None:
    """What is noted with an object tells that it is ours. So does a listing, which shows no notes, not."""
    push = make_push("rclone")
    push.proxy.etagless = True
    many = {f"f{number}": f"{number}" for number in range(40)}
    push(
        {"d": many, "e": {"g": "g", "h": "h"}, "moved": {"m": "m" * 99}, "theirs": "ours"},
        adopt_existing=True,
    )
    push.hand.put("theirs", b"THEY")
    for number in range(10):
        (push.source / f"d/f{number}").unlink()
    for path in (push.source / "e/g", push.source / "e/h"):
        path.unlink()
    (push.source / "e").rmdir()
    (push.source / "moved").rename(push.source / "to")
    changed = {f"f{number}": f"changed {number}" for number in range(10, 40)}
    result = push.tries({"d": changed, "theirs": "changed"}, mirror=True, allow_mass_delete=True)
    assert not result.problems
    assert push.there() == push.here()
    kept = [push.hand.get(key) for key in push.hand.names() if "/trash/kept/" in key]
    assert kept == [b"THEY"]
    assert wrong(push) == []
    push.settle(mirror=True)


def test_a_server_that_deletes_one_at_a_time(make_push: MakePush) -> None:
    push = make_push("moto")
    push.proxy.unknown = "DeleteObjects"
    push(
        {"keep": "k", "moved": "m", "d": {f"f{number}": "" for number in range(12)}, "gone": "g", "too": "t"}
    )
    for path in (*(push.source / "d").iterdir(), push.source / "gone", push.source / "too"):
        path.unlink()
    (push.source / "d").rmdir()
    (push.source / "moved").rename(push.source / "to")
    push.proxy.arm()
    push(mirror=True, allow_mass_delete=True)
    assert "DeleteObjects" not in push.proxy.kinds(), "it was tried once"
    assert push.there() == push.here()
    push.settle(mirror=True)


def test_a_name_of_which_the_server_makes_another_signature(make_push: MakePush) -> None:
    """That is about the name, once it has let us in: all else goes on."""
    push = make_push("rclone")
    push(
        {
            "a": "a",
            "[odd]": {"f": "f", "g": "g"},
            "d": {f"[odd] {number}": "" for number in range(20)},
            "e": "e",
        }
    )
    push.proxy.unsigned = "[odd]"
    (push.source / "[odd]/f").unlink()
    (push.source / "[odd]/g").unlink()
    (push.source / "[odd]").rmdir()
    (push.source / "d/[odd] 1").unlink()
    tree: Tree = {"a": "changed", "new [odd]": "n", "z": "z", "d": {"[odd] 2": "2"}}
    result = push.tries(tree, mirror=True)
    assert {problem.reason for problem in result.problems} == {Reason.BAD_NAME}
    assert {problem.path for problem in result.problems} == {"[odd]", "d/[odd] 1", "d/[odd] 2", "new [odd]"}
    assert (push.hand.get("a"), push.hand.get("z")) == (b"changed", b"z")
    push.proxy.unsigned = ""
    push.settle(mirror=True)


@pytest.mark.parametrize("aliases", [("one", "other"), ("one",), ("",)][: 3 if TORTURE else 1])
def test_a_server_that_calls_itself_by_turns_is_tried_once(
    make_push: MakePush, aliases: tuple[str, ...]
) -> None:
    push = make_push("moto")
    push.proxy.aliases = aliases
    push({"f": "f"}, lock="remote")
    assert Counter(push.proxy.kinds())["CopyObject"] == 1  # of a trial, which this server fails
    push.proxy.arm()
    push({"f": "changed"}, lock="remote")
    assert Counter(push.proxy.kinds())["CopyObject"] == 0


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(400, "ExpiredToken", "have expired"), (403, "RequestTimeTooSkewed", "clock")][: 2 if TORTURE else 1],
)
def test_why_a_look_is_refused_is_asked(make_push: MakePush, status: int, code: str, words: str) -> None:
    """An answer to HEAD has no room for a reason; and it is none of a single file's."""
    push = make_push("rclone")
    push({"f": "f"})
    build_tree(push.source, {"f": "changed", "g": "g"})
    refused = Fault("answer", times=FOR_EVER, status=status, code=code)
    push.proxy.arm(*(dataclasses.replace(refused, kind=kind) for kind in ("HeadObject", "GetObject")))
    with pytest.raises(Unreachable, match=words):
        push(retries=0)
    push.settle()


def test_a_bucket_in_another_region(make_push: MakePush) -> None:
    """Whoever is sent there goes, and no further than it takes."""
    push = make_push("rclone")
    push.proxy.region = "eu-north-1"
    push({"f": "f", "d": {f"g{number}": "g" for number in range(40)}})
    assert push.there() == push.here()
    push.proxy.arm()
    flags = {"reaching": {**push.flags.reaching, "region": "eu-north-1"}}
    push({"f": "changed"}, **flags)
    assert len(push.proxy.kinds()) < 12
    push.settle()


def test_what_lies_in_versions(make_push: MakePush, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Who deletes leaves a marker: nothing is there then, and may come again."""
    push = make_push("moto")
    client, bucket = push.hand.client, push.hand.bucket
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    try:
        push({"a": "a", "b": "b", "c": "c", "d": {"e": "e"}, "same": "same"})
        for path in ("a", "d/e"):
            push.hand.remove(path)
        push.hand.put("c", b"C")
        push.hand.put("same", b"same")  # another version of what we left
        assert wrong(push) == ["a", "c", "d"]
        (push.source / "a").unlink()
        (push.source / "d/e").rename(push.source / "d/moved")
        result = push.tries({"b": "changed", "c": "changed", "same": "changed"}, mirror=True)
        assert {problem.path for problem in result.problems} <= {"d/moved"}
        push.settle(mirror=True)
        assert [push.hand.get(key) for key in push.hand.names() if "/trash/kept/" in key] == [b"C"]
        push.hand.remove("b")
        elsewhere = str(tmp_path_factory.mktemp("elsewhere"))
        adopted = push(adopt_existing=True, state=elsewhere)
        assert [action.path for action in adopted.ended] == ["b"]
    finally:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def test_keys_of_others_that_are_no_paths(make_push: MakePush) -> None:
    """Left alone; and kept where all has to make room."""
    push = make_push("moto")
    theirs = ["/lead", "d//x", "d/./y", "d/../z", "..", "../up", ".", "//", "d//", "d/\x01t/u"]
    for key in theirs:
        push.hand.put(key, key.encode())
    push({"d": {"f": "f"}, "g": "g"}, adopt_existing=True)
    assert set(wrong(push)) <= {"d/\x01t"}
    (push.source / "d/f").unlink()
    (push.source / "d").rmdir()
    push(mirror=True, allow_mass_delete=True)
    assert {key: push.hand.get(key) for key in theirs} == {key: key.encode() for key in theirs}
    push({"d": "a file"}, mirror=True)
    held = {push.hand.get(key) for key in push.hand.names()}
    assert {key.encode() for key in theirs} <= held
    assert push.hand.get("d") == b"a file"
