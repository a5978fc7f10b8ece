"""``snapshot`` and ``forget``: what DEST is believed to hold, and that this is known no more."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from reconcile.cli import main
from reconcile.config import Flags, make_job
from reconcile.core.errors import ConnectionLost, Exit
from reconcile.core.job import Job, Reporter
from reconcile.pipeline import run
from reconcile.remotes import Memory, Remote, open_remote
from reconcile.state.lock import hold_lock
from tests.apply.test_adopt_by import BreaksOffAtWork
from tests.remotes.conformance import Heard
from tests.support.trees import Link, build_tree

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(source: Path, dest: Path, state: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    build_tree(source, {"a": "one", "d": {"b": "three"}, "l": Link("a")})
    for path in (source / "a", source / "d" / "b"):
        path.chmod(0o640)
    job = (str(source), str(dest), "--state", str(state))
    assert main(["run", *job]) == Exit.OK

    def call(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*args, *job])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_what_is_there_is_listed_and_what_is_kept_is_told(call: Call, source: Path) -> None:
    (source / "a").unlink()
    assert call("run")[0] == Exit.OK
    code, out, err = call("snapshot", "ls")
    assert (code, err) == (Exit.OK, "")
    a, d, b, link = out.splitlines()
    assert a.startswith("- 640  3 B  2")
    assert a.endswith("  a  (kept)")
    assert d.endswith("  d/")
    assert b.endswith("  d/b")
    assert link.endswith("  l → a")
    assert "a" not in {line.split()[-1] for line in call("snapshot", "ls", "--only", "d")[1].splitlines()}
    (job,) = json.loads(call("snapshot", "ls", "--json")[1])["jobs"]
    assert [(entry["path"], entry["retained"]) for entry in job["entries"]] == [
        ("a", True),
        ("d", False),
        ("d/b", False),
        ("l", False),
    ]
    out = call("snapshot", "show")[1]
    assert "holds    2 files, 1 folder, 1 link; 8 B\n" in out
    assert "of that  1 deleted here, and kept there\n" in out


def test_of_what_never_ran_nothing_is_known(source: Path, dest: Path, state: Path) -> None:
    assert main(["snapshot", "ls", str(source), str(dest), "--state", str(state)]) == Exit.REFUSED


def test_it_is_forgotten_and_what_was_sent_stays(call: Call, dest: Path, state: Path, source: Path) -> None:
    code, _, err = call("forget")
    assert (code, "there is nobody to ask" in err) == (Exit.REFUSED, True)
    (folder,) = state.iterdir()
    with hold_lock(str(folder)):
        other = [sys.executable, "-m", "reconcile", "forget", str(source), str(dest), "--state", str(state)]
        assert subprocess.run([*other, "--yes"], capture_output=True, check=False).returncode == Exit.LOCKED
    assert call("forget", "--yes") == (Exit.OK, f"forgotten: {folder}\n", "")
    assert not folder.exists()
    assert (dest / "d" / "b").read_text() == "three"
    assert call("forget", "--yes")[0] == Exit.USAGE
    assert call("run")[0] == Exit.REFUSED  # DEST is full, and nothing tells where that came from
    assert call("run", "--adopt-existing")[0] == Exit.OK


def test_not_where_a_run_broke_off(call: Call, state: Path, source: Path, dest: Path) -> None:
    def connect(job: Job, reporter: Reporter, memory: Memory) -> Remote:
        return cast("Remote", BreaksOffAtWork(open_remote(job, reporter, memory), 1))

    build_tree(source, {"m": "1", "n": "2"})
    flags = Flags(str(source), str(dest), state=str(state), retries=0)
    with pytest.raises(ConnectionLost):
        run(make_job(flags), Heard(), connect)
    code, _, err = call("forget", "--yes")
    assert (code, "A run broke off" in err) == (Exit.REFUSED, True)
    assert "unfinished" in call("snapshot", "show")[1]
    assert call("run")[0] == Exit.OK
    assert call("forget", "--yes")[0] == Exit.OK
