"""A server that falls silent at any moment: the run tells so, in the time that --timeout says."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from msgspec.structs import replace

from reconcile.config import make_job
from reconcile.core.compare import Reading
from reconcile.core.errors import Unreachable
from reconcile.phases.verify import verify
from tests.faults.conftest import TORTURE
from tests.remotes.conformance import Heard
from tests.remotes.s3.test_hard_cases import LARGE, MakePush
from tests.remotes.s3.test_hard_cases import make_push as make_push  # noqa: PLC0414 - a fixture
from tests.support.http_faults import FOR_EVER, Do, Fault
from tests.support.trees import build_tree

PATIENCE = 1.0  # seconds
WIDE = 32 << 20  # bytes, of which the system holds an eighth
CHANNELS = 4  # requests at a time
SAMPLE: list[tuple[Do, str]] = [("mute", "ListObjectsV2"), ("mute", "PutObject"), ("deaf", "UploadPart")]
if TORTURE:
    kinds = ("HeadObject", "CopyObject", "DeleteObjects", "CreateMultipartUpload", "UploadPart")
    SAMPLE += [("mute", kind) for kind in (*kinds, "CompleteMultipartUpload")]
    SAMPLE += [("stuck", kind) for kind in ("ListObjectsV2", "CopyObject", "DeleteObjects")]


@pytest.fixture(params=["signed by us", "by the client"] if TORTURE else ["signed by us"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for what there are thousands of."""
    if request.param == "by the client":
        monkeypatch.setattr("reconcile.remotes.s3.quick.MOST", 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("do", "kind"), SAMPLE)
def test_who_falls_silent_is_asked_no_more(make_push: MakePush, do: Do, kind: str) -> None:
    push = make_push("rclone")
    push({"a": "a", "gone": "gone", "gone too": "g", "moved": "m" * 100, "d": {"x": "x"}})
    push.hand.put("a", b"of somebody else")
    for name in ("gone", "gone too"):
        (push.source / name).unlink()
    (push.source / "moved").rename(push.source / "to")
    build_tree(
        push.source, {"a": "new", "n": "n"} | ({"large": os.urandom(LARGE)} if "Upload" in kind else {})
    )
    push.proxy.arm(Fault(do, 1, kind, times=FOR_EVER))
    with pytest.raises(Unreachable, match="for as long as --timeout says"):
        push(mirror=True, retries=0, timeout=PATIENCE)
    assert 0 < Counter(push.proxy.kinds())[kind] <= CHANNELS
    push.settle(mirror=True)


@pytest.mark.skipif(not TORTURE, reason="takes ten seconds")
@pytest.mark.usefixtures("way")
def test_a_line_that_is_slow_is_not_broken(make_push: MakePush, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part takes longer to send than a server may be silent; far more than what is on its way at a time."""
    monkeypatch.setattr("reconcile.remotes.s3.multipart.PART", WIDE)
    push = make_push("rclone")
    push({"f": "f"})
    push.proxy.narrow()
    push.proxy.arm(Fault("dribble", 1, "UploadPart", times=FOR_EVER, delay=10 * PATIENCE))
    push({"large": os.urandom(WIDE)}, retries=0, timeout=4 * PATIENCE)
    assert push.there() == push.here()


def test_what_is_read_back_and_comes_to_half(make_push: MakePush) -> None:
    push = make_push("rclone")
    push({"f": "f" * 100})
    push.proxy.arm(Fault("stuck", 1, "GetObject", times=FOR_EVER))
    with pytest.raises(Unreachable, match="for as long as --timeout says"):
        verify(make_job(replace(push.flags, retries=0, timeout=PATIENCE)), Heard(), Reading())
