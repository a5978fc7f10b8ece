"""--chmod and --perms, from what is typed to what stands in DEST."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconcile.config import Flags, make_job
from reconcile.core.job import Result
from reconcile.phases.verify import verify
from reconcile.pipeline import run
from reconcile.report import Recorder
from tests.support.trees import Dir, File, Link, build_tree, read_tree

Run = Callable[..., Result]


@pytest.fixture
def push(tmp_path: Path) -> Run:
    """``push(**flags)``: SRC to DEST, which are ``src`` and ``dest``."""

    def push(**flags: Any) -> Result:
        typed = Flags(str(tmp_path / "src"), str(tmp_path / "dest"), state=str(tmp_path / "state"), **flags)
        result = run(make_job(typed), Recorder("run"))
        assert list(result.problems) == []
        return result

    return push


def modes(folder: Path) -> dict[str, int | None]:
    return {path: node.mode for path, node in read_tree(folder).items() if not path.startswith(".reconcile")}


def ops(result: Result) -> list[str]:
    return sorted(f"{action.op} {action.path}" for action in result.ended)


def test_modes_are_as_they_were_asked_for(tmp_path: Path, push: Run) -> None:
    src, dest = tmp_path / "src", tmp_path / "dest"
    build_tree(
        src, {"d": Dir({"f": File("f", mode=0o600)}, mode=0o700), "x": File("x", 0o777), "l": Link("x")}
    )
    push(chmod="D755,F644")
    assert modes(dest) == {"d": 0o755, "d/f": 0o644, "x": 0o644, "l": None}
    assert push(chmod="D755,F644").connected is False
    (src / "x").chmod(0o400)  # it counts no more than before
    assert ops(push(chmod="D755,F644")) == []
    typed = Flags(str(src), str(dest), state=str(tmp_path / "state"), chmod="D755,F644")
    checked = verify(make_job(typed), Recorder("verify")).checked
    assert checked is not None
    assert not checked.findings
    again = push(chmod="F640")  # those of folders are what they are here, then
    assert ops(again) == ["setmeta d", "setmeta d/f", "setmeta x"]
    assert modes(dest) == {"d": 0o700, "d/f": 0o640, "x": 0o640, "l": None}


def test_chmod_wins_over_perms_for_what_it_names(tmp_path: Path, push: Run) -> None:
    src, dest = tmp_path / "src", tmp_path / "dest"
    build_tree(src, {"d": Dir({"f": File("f", mode=0o600)}, mode=0o711)})
    push(chmod="F604", perms="ignore")
    assert modes(dest)["d/f"] == 0o604
    assert modes(dest)["d"] != 0o711
    (dest / "d").chmod(0o770)
    (src / "d").chmod(0o750)
    assert ops(push(chmod="F604", perms="ignore", refresh=True)) == []
    (dest / "d/f").chmod(0o666)
    assert ops(push(chmod="F604", perms="ignore", refresh=True)) == ["setmeta d/f"]
    assert modes(dest) == {"d": 0o770, "d/f": 0o604}


def test_what_is_replaced_keeps_the_mode_it_has_there(tmp_path: Path, push: Run) -> None:
    src, dest = tmp_path / "src", tmp_path / "dest"
    build_tree(src, {"d": Dir({"f": File("f", mode=0o640)}, mode=0o750), "g": File("g", mode=0o600)})
    push(perms="remote")
    assert modes(dest) == {"d": 0o750, "d/f": 0o640, "g": 0o600}
    (dest / "d").chmod(0o775)
    (dest / "d/f").chmod(0o664)
    (dest / "g").chmod(0o000)
    (src / "g").chmod(0o644)
    assert ops(push(perms="remote", refresh=True)) == []
    build_tree(src, {"d": {"f": "changed", "new": File("n", mode=0o604)}, "g": File("changed", mode=0o755)})
    assert ops(push(perms="remote")) == ["create d/new", "modify d/f", "modify g"]
    assert modes(dest) == {"d": 0o775, "d/f": 0o664, "d/new": 0o604, "g": 0o000}
    (dest / "g").chmod(0o600)  # for whoever reads the tree
    assert (dest / "g").read_text() == "changed"


def test_a_file_that_changes_while_it_is_read_is_still_known_by_its_mode(tmp_path: Path, push: Run) -> None:
    src, dest = tmp_path / "src", tmp_path / "dest"
    build_tree(src, {"big": File(b"x" * 100_000, mode=0o600)})
    push(chmod="F644")
    build_tree(src, {"big": File(b"y" * 100_000, mode=0o666)})
    push(chmod="F644")
    assert modes(dest) == {"big": 0o644}
    assert (dest / "big").read_bytes() == b"y" * 100_000
