"""What is set otherwise than the time before is told, in the words of the flags, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconcile.core.chmod import parse_chmod
from reconcile.core.filters import make_filter
from reconcile.core.job import Links, Options, Perms
from reconcile.core.settings import fingerprint, tell_changed

BEFORE = Options()


def told(
    now: Options, lines: tuple[str, ...] = (), own: tuple[str, ...] = (), asked: Options | None = None
) -> str | None:
    """What is told once these are set where the defaults and two patterns were."""
    before = fingerprint(BEFORE, make_filter(("*.map", "/tmp"), ("/key",)))
    chosen = make_filter(lines or ("*.map", "/tmp"), own or ("/key",))
    return tell_changed(before, fingerprint(now, chosen), fingerprint(asked or now, chosen))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keep_times": False}, "--times keep, now ignore"),
        ({"file_perms": Perms.IGNORE, "dir_perms": Perms.IGNORE}, "--perms keep, now ignore"),
        ({"file_perms": Perms.IGNORE}, "--perms keep, now keep of directories only"),
        ({"file_perms": Perms.REMOTE, "dir_perms": Perms.REMOTE}, "--perms keep, now remote"),
        ({"chmod": parse_chmod("D755,F644")}, "no --chmod, now D755,F644"),
        ({"links": Links.FOLLOW}, "--links keep, now follow"),
    ],
)
def test_each_flag(change: dict[str, object], words: str) -> None:
    changed: Options = replace(BEFORE, **change)
    assert told(changed) == f"the run before this had other settings: {words}"
    back = tell_changed(*(fingerprint(each, make_filter(())) for each in (changed, BEFORE, BEFORE)))
    assert back is not None
    assert back.endswith(", now none" if "chmod" in words else ", now keep")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("*.map",), "without the pattern '/tmp'"),
        (("*.map", "/tmp", "a", "b", "c", "d"), "with the patterns 'a', 'b', 'c' and 1 more"),
        (("x", "/tmp"), "without the pattern '*.map'; with the pattern 'x'"),
        (("/tmp", "*.map"), "its patterns in another order"),
    ],
)
def test_patterns(lines: tuple[str, ...], words: str) -> None:
    assert told(BEFORE, lines) == f"the run before this had other settings: {words}"


def test_what_is_no_difference() -> None:
    assert told(BEFORE) is None
    assert told(BEFORE, ("# why", "*.map", "", "/tmp")) is None, "comments"
    assert told(BEFORE, own=("/state", "/other key")) is None, "what is ours on another machine"
    assert told(replace(BEFORE, ignore_inode=True)) is None
    assert told(replace(BEFORE, keep_times=False), asked=BEFORE) is None, "what DEST does not keep"


def test_what_runs_of_before_have_recorded() -> None:
    before = "('True', 'False', 'keep', 'False', 'False', ('*.log', '!a.log'))"
    assert fingerprint(replace(BEFORE, keep_times=False), make_filter(("*.log", "!a.log"))) == before
    now = fingerprint(BEFORE, make_filter(("*.log",)))
    assert tell_changed(before, now, now) == (
        "the run before this had other settings: --times ignore, now keep; without the pattern '!a.log'"
    )


@given(st.one_of(st.text(), st.sampled_from(["()", "1", "('a',)", "((),)*6", "('','','','','',1,{})"])))
def test_what_nobody_has_recorded(text: str) -> None:
    now = fingerprint(BEFORE, make_filter(()))
    assert tell_changed(text, now, now) is None
