"""What is deleted or replaced in a bucket is copied to the trash first, and comes back from there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from reconcile.config import Flags, make_job
from reconcile.core.errors import Refused
from reconcile.core.job import Stop
from reconcile.phases.trash import open_bin
from reconcile.phases.undo import undo
from reconcile.remotes import Bin
from tests.remotes.conformance import Heard
from tests.remotes.s3.test_runs import Push, push
from tests.support.trees import build_tree

__all__ = ["push"]

SITE = {"a": "one", "b": "two", "d": {"e": {"f": "three"}, "g": "four"}, "m": {"x": "five"}, "p": "page"}
WENT = {"a": b"one", "b": b"two", "d/e/f": b"three", "d/g": b"four"}
ON_ONE = pytest.mark.parametrize("push", ["moto"], indirect=True)


@pytest.fixture
def trashing(push: Push) -> Push:
    flags = replace(push.flags, mirror=True, allow_mass_delete=True, trash="30d")
    return replace_flags(push, flags)


def replace_flags(push: Push, flags: Flags) -> Push:
    return Push(push.source, push.hand, flags, push.heard)


def shown(push: Push) -> dict[str, bytes | None]:
    return {key: push.hand.get(key) for key in push.names() if not key.endswith("/")}


def retired(push: Push) -> dict[str, bytes | None]:
    keys = [key for key in push.hand.names() if "/trash/old/" in key]
    return {key.partition("/trash/old/")[2]: push.hand.get(key) for key in keys}


def change(push: Push) -> None:
    (push.source / "a").write_text("one, anew")
    (push.source / "b").unlink()
    shutil.rmtree(push.source / "d")
    (push.source / "m").rename(push.source / "moved")
    build_tree(push.source, {"n": {"y": "new"}})


@contextmanager
def opened(push: Push) -> Iterator[Bin]:
    with open_bin(make_job(push.flags), Heard(), Stop(), changes=True) as bin_there:
        yield bin_there


def test_it_is_there_for_a_while_and_comes_back(trashing: Push) -> None:
    push = trashing
    push(SITE)
    before = shown(push)
    change(push)
    push()
    assert retired(push) == WENT
    assert any(text.startswith("4 things that were deleted or replaced went to") for text in push.heard.said)
    with opened(push) as there:
        (only,) = there.runs()
        assert (only.count, only.size) == (4, 15)
        assert abs(only.since - time.time()) < 600
        assert {path: seen.size for path, seen in there.walk(only.name)} == {
            path: len(content) for path, content in WENT.items()
        }
        back = {each.path: each for each in there.bring_back(only.name, ["d", "a", "nothing"])}
        assert {path: each.place for path, each in back.items() if not each.problem} == {
            "a": f"a.from-{only.name}",
            "d/e/f": "d/e/f",
            "d/g": "d/g",
        }
        assert back["nothing"].problem
        assert [back.place for back in there.bring_back(only.name, [])] == ["b"]
        assert there.runs() == []
    assert retired(push) == {}
    del before["m/x"]
    more = {"a": b"one, anew", f"a.from-{only.name}": b"one", "moved/x": b"five", "n/y": b"new"}
    assert shown(push) == before | more


def test_undo_has_all_as_it_was(trashing: Push) -> None:
    push = trashing
    push(SITE)
    before = shown(push)
    change(push)
    push()
    after = shown(push)
    undone = undo(make_job(push.flags), Heard())
    assert not undone.problems
    assert undone.plan.bytes_to_send == 0
    assert shown(push) == before
    assert push().plan.empty
    push(release_held=True)
    assert shown(push) == after


@ON_ONE
def test_what_is_in_parts_comes_back_too(trashing: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconcile.remotes.s3 import multipart

    monkeypatch.setattr(multipart, "FROM", 5 << 20)
    monkeypatch.setattr(multipart, "PART", 5 << 20)
    large = b"0123456789abcdef" * (6 << 16)
    push = trashing
    push({"large": large})
    (push.source / "large").write_bytes(b"other")
    push()
    assert not undo(make_job(push.flags), Heard()).problems
    assert shown(push) == {"large": large}


@ON_ONE
def test_it_goes_when_it_is_too_much(trashing: Push) -> None:
    push = replace_flags(trashing, replace(trashing.flags, trash="1k"))
    push(dict.fromkeys(("first", "second"), "x" * 600))
    for name in ("first", "second"):
        (push.source / name).unlink()
        push()
        assert retired(push).keys() == {name}


@ON_ONE
def test_what_others_wrote_is_no_part_of_it(trashing: Push) -> None:
    push = trashing
    push(SITE)
    push.hand.put("a", b"theirs")
    push.hand.put("d/theirs", b"theirs, too")
    change(push)
    push()
    assert retired(push) == {path: WENT[path] for path in ("b", "d/e/f", "d/g")}
    kept = {push.hand.get(key) for key in push.hand.names() if "/trash/kept/" in key}
    assert kept == {b"theirs"}
    assert push.hand.get("d/theirs") == b"theirs, too"


@ON_ONE
def test_without_a_trash_nothing_is_copied(trashing: Push) -> None:
    push = replace_flags(trashing, replace(trashing.flags, trash="none"))
    push(SITE)
    change(push)
    push()
    assert retired(push) == {}
    with pytest.raises(Refused, match="can't be undone"):
        undo(make_job(push.flags), Heard())
