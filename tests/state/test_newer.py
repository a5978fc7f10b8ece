"""What a later version has left: it is told by name, with what to do, and nothing is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconcile.core.model import DirectorySnapshot
from reconcile.remotes.ssh.target import SshTarget
from reconcile.state import journal, snapshot
from reconcile.state.journal import begin_journal
from reconcile.state.store import job_folder, save_snapshot
from tests.golden.make_snapshot import sealed, unsealed
from tests.support.command import Reconcile

NOBODY = SshTarget("127.0.0.1", "/dest", "nobody", 9)  # no connection is ever tried
REFUSED = 4


@pytest.fixture
def job(tmp_path: Path) -> tuple[Reconcile, Path]:
    """A job that has run, and its folder."""
    source, state = tmp_path / "source", tmp_path / "state"
    source.mkdir()
    (source / "f").write_text("new")
    folder = job_folder(str(state), str(source), NOBODY)
    save_snapshot(folder, DirectorySnapshot({}, "lineage", 1, str(source), str(NOBODY)))
    return Reconcile(source, str(NOBODY), state), Path(folder)


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("left", ["snapshot", "journal"])
def test_it_is_refused_by_name(job: tuple[Reconcile, Path], left: str, command: str) -> None:
    reconcile, folder = job
    path = folder / left
    if left == "snapshot":
        path.write_bytes(sealed(unsealed(path.read_bytes())[1], snapshot.FORMAT + 1))
    else:
        begin_journal(str(folder), "lineage", 1, 0, []).close()
        begins = journal.MAGIC + (journal.FORMAT + 1).to_bytes(4, "big")
        path.write_bytes(begins + path.read_bytes()[len(begins) :])
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    ran = reconcile(command, json_out=False)
    assert ran.code == REFUSED
    known = snapshot.FORMAT if left == "snapshot" else journal.FORMAT
    told = " ".join(ran.err.split())
    assert f"newer reconcile (format {known + 1}; this one reads up to {known})" in told
    assert "Nothing was done." in ran.err
    assert "that version" in ran.err
    after = {each.name: each.read_bytes() for each in folder.iterdir()}
    assert {name: after[name] for name in before} == before
