"""What of ``remotes.s3`` is decided without a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from botocore.utils import parse_timestamp  # type: ignore[import-untyped]

from reconcile.config import Flags, make_job
from reconcile.core.errors import ConnectionLost, Interrupted, UsageError
from reconcile.core.job import Stop
from reconcile.core.model import NS, Entry, Kind, Stamp
from reconcile.remotes.s3 import keys, tags
from reconcile.remotes.s3.failure import refusal_of
from reconcile.remotes.s3.headers import Headers
from reconcile.remotes.s3.keys import Keys, is_path, is_plain, plain_part, unfit
from reconcile.remotes.s3.multipart import MOST_PARTS, PART, part_size
from reconcile.remotes.s3.open import read_time
from reconcile.remotes.s3.pool import Pool, Room
from reconcile.remotes.s3.settings import Bucket, Settings, of_job, read_rules
from reconcile.remotes.s3.tags import Shown

DIGEST = bytes(range(16))


def job_of(dest: str, folder: Path, **reaching: object) -> tuple[Bucket, Settings]:
    flags = Flags(str(folder), dest, state=str(folder / "state"), reaching=reaching)
    return of_job(make_job(flags))


def test_where_a_bucket_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    assert str(job_of("s3://bucket", tmp_path)[0]) == "s3://bucket/"
    assert str(job_of("s3://bucket//a/./100%25/", tmp_path)[0]) == "s3://bucket/a/100%25"
    one = job_of("s3://bucket/a", tmp_path, endpoint="https://one.example/")[0]
    assert (str(one), one.path, one.name) == ("s3://bucket/a?endpoint=https://one.example", "/a", "bucket")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://one.example")
    assert job_of("s3://bucket/a", tmp_path)[0] == one, "the same place, however it was named"
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert job_of("s3://bucket/a", tmp_path)[0].endpoint == ""


@pytest.mark.parametrize(
    ("reaching", "words"),
    [
        ({"endpoint": "s3.example.org"}, "URL of a server"),
        ({"endpoint": "https://key:secret@s3.example.org"}, "no keys in it"),
        ({"cache_control": ("*.html",)}, "PATTERN=VALUE"),
        ({"cache_control": ("*.html=a\nx-amz-acl: public-read",)}, "PATTERN=VALUE"),
        ({"content_type": ("=text/x",)}, "PATTERN=VALUE"),
        ({"acl": "public read"}, "no such name"),
        ({"storage_class": "a\nb"}, "no such name"),
        ({"dirs": "perhaps"}, "keep or ignore"),
        ({"channels": 1000}, "from 1 to 256"),
        ({"identity": "x"}, "means nothing"),
    ],
)
def test_what_can_be_known_to_be_wrong_is_told(
    tmp_path: Path, reaching: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as told:
        job_of("s3://bucket/a", tmp_path, **reaching)
    assert "secret" not in str(told.value)


def test_a_folder_of_ours_is_in_the_bucket(tmp_path: Path) -> None:
    for workdir in ("~/ours", "/a"):
        with pytest.raises(UsageError, match="--remote-workdir"):
            make_job(Flags(str(tmp_path), "s3://bucket/a", state=str(tmp_path / "s"), remote_workdir=workdir))
    there = Keys("site", "/private/ours")
    there.enter("lineage", "run")
    assert (there.work, there.run) == ("private/ours/", "private/ours/lineage/run/")
    assert there.of(".reconcile/parked/1") == "private/ours/lineage/run/parked/1"
    assert not there.hides("site/a")
    assert there.hides("site/.reconcile/x")
    assert there.hides("site/.reconcile-x")
    assert Keys("", None).work == ".reconcile/"
    assert Keys("private", "/private/ours").hides("private/ours/x")


def test_which_keys_there_can_be() -> None:
    assert unfit("k" * keys.LONGEST) is None
    assert "1,025" in str(unfit("k" * (keys.LONGEST + 1)))
    assert "1,026" in str(unfit("ü" * 513))
    assert "UTF-8" in str(unfit("\udcff"))
    assert is_path("a/b c/..d")
    assert not any(map(is_path, ("", "/a", "a//b", "a/./b", "../a", "a/..", "a\0b")))
    assert is_plain("a b+%ü\U0001f600")
    assert not is_plain("a\nb")
    assert plain_part("a\nb") == "a"
    assert plain_part("\x01") == ""
    assert plain_part("a b") == "a b"


def test_a_tag_tells_what_was_shown() -> None:
    shown = Shown(5, "abc-2", DIGEST, 7)
    assert tags.unpack(shown.tag) == shown
    assert tags.unpack(Shown(5, "at 7").tag).condition is None
    assert tags.unpack(Shown(5, "x y").tag) == Shown(5, "x y")
    entry = Entry(Kind.FILE, 0o644, 5, 1, digest=DIGEST, tag=Shown(5, "abc-2").tag)
    assert tags.is_left(shown, entry)
    assert tags.is_left(Shown(5, "abc-2"), entry)
    assert not tags.is_left(Shown(6, "abc-2"), entry)
    assert not tags.is_left(Shown(5, "other", DIGEST, NS), entry), "its time is another: it was edited"
    assert tags.is_left(Shown(5, "other", DIGEST, 2), entry), "a copy of it"


def test_what_is_noted_is_read_again() -> None:
    for mtime in (0, 1, NS - 1, 1_700_000_000 * NS + 5, -1, -NS - 1):
        entry = Entry(Kind.FILE, 0o640, 5, mtime, stamp=Stamp(1, 5, mtime, 1, 0o100640))
        notes = tags.note(entry, DIGEST)
        reply = {"ContentLength": 5, "ETag": '"e"', "Metadata": {k.title(): v for k, v in notes.items()}}
        assert tags.asked(reply) == Shown(5, "e", DIGEST, mtime, is_asked=True)
    assert notes["mode"] == "100640"
    assert tags.asked({"ContentLength": 5, "Metadata": {"mtime": "x", "xxh3-128": "zz"}}).digest is None


def test_types_by_suffix_and_by_rule() -> None:
    settings = Settings(
        content_type=read_rules(("feed=application/rss+xml",), "--content-type"),
        cache_control=read_rules(
            ("*=max-age=60", "*.html=no-cache", "/static/=immutable"), "--cache-control"
        ),
        acl="public-read",
        sse="arn:aws:kms:key",
    )
    headers = Headers(settings)

    def told(path: str) -> tuple[object, object]:
        shape = headers.shape(path)
        return shape["ContentType"], shape.get("CacheControl")

    assert told("a/INDEX.HTML") == ("text/html", "max-age=60")
    assert told("a/index.html") == ("text/html", "no-cache")
    assert told("static/x.html") == ("text/html", "immutable")
    assert told("m.mjs")[0] == told("j.js")[0] == "text/javascript"
    assert told("x.tar.gz")[0] == "application/gzip"
    assert told("feed")[0] == "application/rss+xml"
    assert told("none")[0] == "application/octet-stream"
    assert headers.shape("x")["ACL"] == "public-read"
    assert headers.shape("x")["SSEKMSKeyId"] == "arn:aws:kms:key"
    assert "ACL" not in headers.of_ours, "what is ours is for nobody else"
    assert headers.of_ours["ServerSideEncryption"] == "aws:kms"
    entry = Entry(Kind.FILE, 0o644, 5, 1)
    assert headers.of_copy("a.html", "b.html", entry, None)["MetadataDirective"] == "COPY"
    assert headers.of_copy("a.html", "b.css", entry, None)["ContentType"] == "text/css"


@pytest.mark.parametrize(
    "text",
    [
        *("2026-11-27T05:04:03.123Z", "2026-11-27T05:04:03Z", "2026-11-27T05:04:03.000000000Z"),
        *("Fri, 27 Nov 2026 05:04:03 GMT", "2026-11-27T05:04:03+02:00", "1795755843", 1795755843),
    ],
)
def test_times_are_read_as_botocore_reads_them(text: object) -> None:
    assert read_time(text) == parse_timestamp(text)


def test_parts_are_never_too_many() -> None:
    for size in (1, PART, PART * MOST_PARTS, PART * MOST_PARTS + 1, 5 << 40):
        part = part_size(size)
        assert -(-size // part) <= MOST_PARTS
        assert part % (1 << 20) == 0
    assert part_size(1 << 30) == PART


def test_refusals_are_told_apart() -> None:
    def refusal(status: int, code: str) -> object:
        told = refusal_of({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}})
        return told.is_absent, told.is_unmet, told.is_denied

    assert refusal(404, "NoSuchKey") == (True, False, False)
    assert refusal(404, "NoSuchBucket") == (False, False, False)
    assert refusal(412, "PreconditionFailed") == (False, True, False)
    assert refusal(409, "ConditionalRequestConflict") == (False, True, False)
    assert refusal(403, "AccessDenied") == (False, False, True)


class TestPool:
    @pytest.fixture
    def pool(self) -> Iterator[Pool]:
        pool = Pool(3)
        yield pool
        pool.close()

    def test_all_come(self, pool: Pool) -> None:
        assert sorted(pool.run(partial(int, n) for n in range(50))) == list(range(50))

    def test_what_was_under_way_is_known_before_a_loss_is_told(self, pool: Pool) -> None:
        lost = threading.Event()

        def fail() -> int:
            lost.set()
            raise ConnectionLost("it broke")

        begun: list[int] = []

        def work(number: int) -> int:
            begun.append(number)
            assert lost.wait(30)
            return number

        drawn: list[int] = []

        def tasks() -> Iterator[object]:
            for number in range(100):
                drawn.append(number)
                yield fail if number == 2 else partial(work, number)

        came: list[int] = []
        with pytest.raises(ConnectionLost):
            came.extend(pool.run(tasks()))  # type: ignore[arg-type]
        assert sorted(came) == sorted(begun)
        assert len(drawn) < 10

    def test_none_is_begun_after_a_stop(self, pool: Pool) -> None:
        stop = Stop(graceful=True)

        def tasks() -> Iterator[object]:
            yield lambda: 1
            stop.requested = 15
            yield lambda: 2

        assert list(pool.run(tasks(), stop)) == [1, 2], "the one that was drawn is done"  # type: ignore[arg-type]
        assert list(pool.run([lambda: 3], stop)) == []

    def test_what_never_ends_is_not_waited_for(self, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("reconcile.remotes.s3.pool.DRAIN", 0.0)
        stop, end = Stop(graceful=True), threading.Event()

        def tasks() -> Iterator[object]:
            yield end.wait
            stop.requested = 15

        try:
            with pytest.raises(Interrupted):
                list(pool.run(tasks(), stop))  # type: ignore[arg-type]
        finally:
            end.set()

    def test_room_is_waited_for(self) -> None:
        room = Room(10)
        room.take(6)
        taken = threading.Event()

        def take() -> None:
            room.take(99)
            taken.set()

        thread = threading.Thread(target=take)
        thread.start()
        assert not taken.is_set()
        room.give(6)
        assert taken.wait(30)
        thread.join()

    def test_who_waits_heeds_a_stop(self) -> None:
        """A server that takes nothing more of what is in memory would keep the run till it is given up."""
        room, stop = Room(10), Stop(graceful=True)
        assert room.take(10, stop)
        stop.requested = 2
        assert not room.take(1, stop)
        room.give(10)
        assert room.take(1, stop), "there is room"
