"""What is left out by default, from what is typed to what is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconcile.source import scan
from tests.support.command import Reconcile
from tests.support.trees import build_tree, read_tree

SITE = {
    ".git": {"config": "c"},
    "index.html": "i",
    ".DS_Store": "d",
    "deep": {".DS_Store": "d", ".svn": {}, "Thumbs.db.txt": "kept"},
}


def test_left_out_told_named_and_removed(tmp_path: Path) -> None:
    build_tree(tmp_path / "src", SITE)
    push = Reconcile(tmp_path / "src", str(tmp_path / "dest"), tmp_path / "state")
    first = push("run", json_out=False)
    assert "note: '.git/' is new to DEST" in first.err
    assert "left out" not in first.err
    assert "new to DEST" not in push("run", json_out=False).err

    left = push("run", "--default-excludes", "--mirror", json_out=False)
    assert left.code == 0
    assert "note: left out: 1 .git, 1 .svn, 2 .DS_Store (--no-default-excludes sends them)" in left.err
    assert (
        "5 entries are left out now, which DEST holds still: '.DS_Store', '.git/', 'deep/.DS_Store' and 1"
        in left.err
    )
    assert (tmp_path / "dest/.git/config").read_text() == "c"
    again = push("run", "--default-excludes", "--mirror", json_out=False)
    assert "left out: 1 .git" in again.err
    assert "holds still" not in again.err
    assert again.out == "reconcile: nothing to do, no connection made (3 entries unchanged)\n"

    back = push.plan("--default-excludes", "--include", ".git", "--mirror", "--delete-excluded")
    assert back.counts == {"delete": 3}
    assert push("run", "--delete-excluded").code == 2
    swept = push.run("--default-excludes", "--mirror", "--delete-excluded")
    assert swept.counts == {"delete": 4}
    names = {path for path in read_tree(tmp_path / "dest") if not path.startswith(".reconcile")}
    assert names == {"index.html", "deep", "deep/Thumbs.db.txt"}


def test_counted_as_well_where_two_processes_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconcile.core.filters import make_filter
    from reconcile.core.hidden import DEFAULT_EXCLUDES
    from reconcile.core.job import Options

    monkeypatch.setattr(scan, "SHARE_FROM", 10)
    build_tree(tmp_path, {f"d{n}": {".DS_Store": "", "x": {"Thumbs.db": "", "y": ""}} for n in range(20)})
    found = scan.scan(str(tmp_path), make_filter(DEFAULT_EXCLUDES), Options(default_excludes=True))
    assert found.left_out == {".DS_Store": 20, "Thumbs.db": 20}
    assert found.entry_count == 60
