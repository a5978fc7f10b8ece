"""What others have put in a bucket, what only looks like a server of S3, and what one can't keep."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace

from reconcile.config import Flags, make_job
from reconcile.core.errors import Unreachable
from reconcile.core.job import Options, Stop
from reconcile.core.model import Action, Op
from reconcile.phases.verify import verify
from reconcile.pipeline import run
from reconcile.remotes import FORGETFUL
from reconcile.remotes.s3.delete import Doomed, Tree, delete_trees, remove
from reconcile.remotes.s3.headers import Headers
from reconcile.remotes.s3.keys import Keys
from reconcile.remotes.s3.leftover import Uploads
from reconcile.remotes.s3.pool import Pool
from reconcile.remotes.s3.service import Service
from reconcile.remotes.s3.settings import Settings
from reconcile.remotes.s3.site import Site
from reconcile.remotes.s3.tags import DIGEST, MTIME, Shown
from reconcile.report.findings import describe
from reconcile.source.files import digest_of
from tests.remotes.conformance import Heard
from tests.remotes.s3.test_runs import Push, keeps_slashes
from tests.remotes.s3.test_runs import push as push  # noqa: PLC0414 - a fixture
from tests.support.http_faults import FOR_EVER, Fault, Faulty
from tests.support.s3 import S3, AtPrefix
from tests.support.trees import File, build_tree

LARGE = 17 << 20  # bytes that go in parts


@pytest.fixture
def proxy(push: Push, servers: Callable[[str], S3]) -> Iterator[Faulty]:
    """Before the server that is pushed to."""
    proxy = Faulty(servers(push.hand.prefix.rpartition("-")[2]))
    yield proxy
    proxy.close()


def through(push: Push, proxy: Faulty) -> dict[str, dict[str, object]]:
    """The flags to push by way of the proxy."""
    return {"reaching": {**push.flags.reaching, "endpoint": proxy.server.endpoint}}


@contextmanager
def web_server(status: int, body: bytes) -> Iterator[str]:
    """One that answers whatever it is asked with the same; 302 leads to itself."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            if status == 302:
                self.send_header("Location", "/login")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815 - as http.server has it

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_address[1]}"
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


@pytest.mark.parametrize(
    ("status", "body"), [(200, b""), (200, b"<?xml version='1.0'?><a><b/></a>"), (302, b"")]
)
def test_what_answers_and_is_no_s3(
    servers: Callable[[str], S3],
    keys: Callable[[Mapping[str, str]], None],
    source: Path,
    state: Path,
    status: int,
    body: bytes,
) -> None:
    """Such as stands between a guest and the network: all that it is sent it takes, and keeps nothing."""
    keys(servers("moto").environment)
    build_tree(source, {"f": "f", "empty": ""})
    with web_server(status, body) as endpoint:
        reaching = {"endpoint": endpoint, "path_style": True}
        flags = Flags(str(source), "s3://bucket/x", state=str(state), retries=0, reaching=reaching)
        for adopts in (False, True):
            with pytest.raises(Unreachable, match="does not answer as S3 does"):
                run(make_job(replace(flags, adopt_existing=adopts)), Heard())


def test_an_answer_that_does_not_say_what_is_there_now(push: Push, proxy: Faulty) -> None:
    push({"f": "f"}, **through(push, proxy))
    build_tree(push.source, {"g": "g"})
    proxy.arm(Fault("answer", kind="PutObject", path="/g", status=200, code="None", times=FOR_EVER))
    result = run(make_job(replace(push.flags, **through(push, proxy))), push.heard)
    assert [problem.path for problem in result.problems] == ["g"]
    proxy.arm()
    push(**through(push, proxy))
    assert push.names() == {"f", "g"}


def test_content_of_others_by_a_name_that_ends_in_a_slash(push: Push) -> None:
    """Where a folder has to make room it is kept, as all content is."""
    if not keeps_slashes(push):
        pytest.skip("this server keeps no key that ends in a slash")
    push({"d": {"f": "f"}})
    push.hand.put("d/", b"one")
    push.hand.put("d/sub/", b"two")
    push.hand.put("d/marker/", b"")
    (push.source / "d/f").unlink()
    (push.source / "d").rmdir()
    push({"d": "a file"}, mirror=True, allow_mass_delete=True)
    assert push.names() == {"d"}
    kept = {push.hand.get(key) for key in push.hand.names() if "/trash/kept/" in key}
    assert {b"one", b"two"} <= kept


@pytest.mark.parametrize("dirs", ["keep", "ignore"])
def test_an_empty_folder_that_can_show_nowhere_is_not_missing(push: Push, dirs: str) -> None:
    flags = {"reaching": {**push.flags.reaching, "dirs": dirs}}
    push({"empty": {"er": {}}, "d": {"f": "f"}}, **flags)
    job = make_job(replace(push.flags, **flags))
    for _ in range(2):
        checked = verify(job, Heard()).checked
        assert checked is not None
        assert not checked.findings
        assert not push(refresh=True, **flags).ended
    push.hand.remove("d/f")
    checked = verify(job, Heard()).checked
    assert checked is not None
    assert "d/f" in {finding.path for finding in checked.findings} or dirs == "keep"
    assert checked.findings


def test_what_was_written_anew_shows_no_other_time(push: Push) -> None:
    push({"f": "ours"})
    push.hand.put("f", b"Ours")
    checked = verify(make_job(push.flags), Heard()).checked
    assert checked is not None
    (finding,) = checked.findings
    assert describe(finding).remark == "written anew, of the same size"


def test_an_upload_goes_on_only_in_the_shape_that_is_wanted_now(push: Push, proxy: Faulty) -> None:
    """Who may read a file, and by which rules it is encrypted, was said when it was begun."""
    flags = through(push, proxy)
    push({"f": "f"}, **flags)
    build_tree(push.source, {"large": os.urandom(LARGE)})
    proxy.arm(Fault("cut", 2, "UploadPart", times=FOR_EVER))
    with pytest.raises(Unreachable):
        push(reaching={**flags["reaching"], "cache_control": ("*=public",)}, retries=0)
    assert len(push.hand.uploads()) == 1
    proxy.arm()
    push(**flags)
    shown = push.hand.client.head_object(Bucket=push.hand.bucket, Key=f"{push.hand.prefix}/large")
    assert "CacheControl" not in shown
    assert push.hand.uploads() == [], "what was begun before is given up"


class Interjecting(Heard):
    """Does something else once the first bytes went out."""

    def __init__(self, do: Callable[[], object]) -> None:
        super().__init__()
        self.do = do

    def sent(self, count: int, path: str, /) -> None:
        super().sent(count, path)
        if self.bytes == count:
            self.do()


def test_an_upload_of_what_is_there_already_is_given_up(push: Push, tmp_path: Path) -> None:
    """Another run, from another machine, has brought the same meanwhile."""
    push({"f": "f"})
    build_tree(push.source, {"large": os.urandom(LARGE)})
    other = make_job(replace(push.flags, state=str(tmp_path / "other"), adopt_existing=True))
    result = run(make_job(push.flags), Interjecting(lambda: run(other, Heard())))
    assert not result.problems
    assert push.names() == {"f", "large"}
    assert push.hand.uploads() == [], "parts that nobody needs are paid for"


def test_another_server_in_the_place_of_the_one_that_was_tried(
    push: Push, servers: Callable[[str], S3]
) -> None:
    """It heeds no conditions, and what others have put there is looked at before all the same."""
    if not push.hand.prefix.endswith("-moto"):
        pytest.skip("the server that is tried first has to heed conditions, and this one does not")
    proxy = Faulty(servers("moto"))
    try:
        flags = through(push, proxy)
        push({"f": "f", "gone": "g"}, **flags)
        later = AtPrefix(servers("rclone"), push.hand.prefix)
        for key in push.hand.names():
            later.put(key, push.hand.get(key))
        proxy.to = urlsplit(servers("rclone").endpoint).port or 0
        for key in ("f", "gone", "new"):
            later.put(key, f"theirs {key}".encode())
        (push.source / "gone").unlink()
        push({"f": "ours", "new": "ours"}, mirror=True, **flags)
        kept = {later.get(key) for key in later.names() if "/trash/kept/" in key}
        assert kept == {b"theirs f", b"theirs gone", b"theirs new"}
        assert (later.get("f"), later.get("new")) == (b"ours", b"ours")
    finally:
        proxy.close()


def test_what_was_edited_and_has_our_notes_is_read_back(push: Push) -> None:
    """As what mounts a bucket does: of its notes the time alone is another then."""
    build_tree(
        push.source, {"f": File(b"ours", mtime=1_700_000_000), "g": File(b"same", mtime=1_700_000_000)}
    )
    for path, there, mtime in (("f", b"Ours", "1700000001.0"), ("g", b"same", "1700000000.0")):
        notes = {DIGEST: digest_of(b"ours" if path == "f" else b"same").hex(), MTIME: mtime}
        where = {"Bucket": push.hand.bucket, "Key": f"{push.hand.prefix}/{path}"}
        client = push.hand.client  # in parts, so that its ETag tells nothing
        begun = {**where, "UploadId": client.create_multipart_upload(**where, Metadata=notes)["UploadId"]}
        part = client.upload_part(**begun, PartNumber=1, Body=there)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        client.complete_multipart_upload(**begun, MultipartUpload=parts)
    result = push(adopt_existing=True)
    assert [action.path for action in result.ended] == ["f"]
    assert push.hand.get("f") == b"ours"
    assert {push.hand.get(key) for key in push.hand.names() if "/trash/kept/" in key} == {b"Ours"}
    if push.hand.prefix.endswith("-moto"):  # the other shows the MD5 of them, too
        assert [said for said in push.heard.said if said.startswith("1 files there have the size")]


def site_of(client: object) -> Site:
    """A bucket, with nothing remembered of it."""
    return Site(
        service=Service(client, "bucket", "here"),
        keys=Keys("", None),
        headers=Headers(Settings()),
        options=Options(),
        pool=Pool(1),
        uploads=Uploads(FORGETFUL),
        say=print,
        warn=print,
        tell=print,
    )


@pytest.mark.parametrize("key", [b"<Key>other</Key>", b""])
def test_a_delete_that_is_refused_by_another_name(servers: Callable[[str], S3], key: bytes) -> None:
    """Nothing is believed to be gone that the server may have spoken of."""
    body = b"<DeleteResult><Error>%b<Code>AccessDenied</Code></Error></DeleteResult>" % key
    with web_server(200, body) as endpoint:
        site = site_of(dataclasses.replace(servers("moto"), endpoint=endpoint).client())
        failed = remove(site, [Doomed("a", Shown(1, "?")), Doomed("b", Shown(1, "?"))])
    assert {name: refusal.is_denied for name, refusal in failed.items()} == {"a": True, "b": True}


def test_a_folder_is_gone_only_once_all_of_it_was_asked_for() -> None:
    """A run that is to end asks for no more: what became of the rest the next one finds out."""
    stop = Stop(graceful=True)
    stop.requested = 15
    trees = [
        Tree(Action(Op.DELETE, "full"), "full", [Doomed("full/f", Shown(1, "?"))], []),
        Tree(Action(Op.DELETE, "empty"), "empty", [], []),
    ]
    (outcome,) = delete_trees(site_of(None), trees, stop)
    assert outcome.effects == {"empty": None}


def test_an_object_beside_a_folder_of_ours(push: Push) -> None:
    """They don't meet: nothing is another for it, and nothing is sent again."""
    if not push.hand.prefix.endswith("-moto"):
        pytest.skip("this server has no object and folder of one name")
    push({"d": {"f": "f", "g": {"h": "h"}}})
    push.hand.put("d", b"theirs")
    push.hand.put("d/g", b"theirs, too")
    checked = verify(make_job(push.flags), Heard()).checked
    assert checked is not None
    assert not checked.findings
    assert not push(refresh=True).ended
    assert push.hand.get("d") == b"theirs"


def test_verify_finds_our_folder_where_it_was_the_last_time(push: Push) -> None:
    push({"f": "f"}, remote_workdir=f"/{push.hand.prefix}/private")
    before = push.hand.etags()
    checked = verify(make_job(push.flags), Heard()).checked
    assert checked is not None
    assert not checked.wrong
    assert push.hand.etags() == before
    assert not push(refresh=True).ended


def test_verify_after_a_run_that_broke_off_blames_nobody_else(push: Push, proxy: Faulty) -> None:
    flags = through(push, proxy)
    push({"f": "f"}, **flags)
    build_tree(push.source, {f"g{number}": "g" for number in range(20)})
    proxy.arm(Fault("cut", 8, "PutObject", times=FOR_EVER))
    with pytest.raises(Unreachable):
        push(retries=0, **flags)
    proxy.arm()
    heard = Heard()
    checked = verify(make_job(replace(push.flags, **flags)), heard).checked
    assert checked is not None
    assert not checked.wrong
    assert [said for said in heard.said if "was interrupted" in said]
    assert not [said for said in heard.said if "does not fit" in said]
    push(**flags)


def test_what_is_kept_is_told_once_and_where_it_is(push: Push) -> None:
    """Also of a run that looks a second time at what it could not do the first time."""
    push({"d": {"a": "ours a", "b": "ours b", "c": "ours c"}})
    (push.source / "d").rename(push.source / "e")
    push.hand.put("d/a", b"theirs a")
    push.hand.put("e/b", b"theirs b")
    push(mirror=True)
    names = push.hand.names(".reconcile")
    kept = [key for key in names if "/trash/kept/" in key]
    assert [push.hand.get(key) for key in kept] == [b"theirs b"]
    (note,) = [key for key in names if ".kept-" in key]
    assert kept[0].startswith(note.removesuffix(".kept-1"))
    assert len([said for said in push.heard.said if "made room" in said]) == 1
