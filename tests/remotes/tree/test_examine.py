"""What is found out of a server before a job, by trying: and nothing of that stays there."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from reconcile.core.checkup import Checkup, Fact, Standing, in_order
from reconcile.core.errors import Interrupted
from reconcile.core.job import Job, Stop
from reconcile.pipeline import run
from reconcile.remotes import Examinable, open_remote
from reconcile.remotes.local.scheme import Folder
from reconcile.remotes.tree import pace
from tests.remotes.conformance import Heard
from tests.support.jobs import JobTo
from tests.support.mounts import in_memory, mounted
from tests.support.quirky import Quirk
from tests.support.trees import assert_same_tree, build_tree

TOLD = {Standing.TOLD, Standing.WORKS}


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast it is nobody asks here."""
    monkeypatch.setattr(pace, "SECONDS", 0.05)


def examine(job: Job, stop: Stop | None = None) -> Checkup:
    remote = open_remote(job, Heard())
    assert isinstance(remote, Examinable)
    try:
        return in_order(str(job.target), remote.examine("run", stop or Stop()))
    finally:
        remote.close()


def facts(checkup: Checkup) -> dict[str, Fact]:
    return {fact.name: fact for fact in checkup.facts}


def here(folder: Path) -> Job:
    return Job("", Folder(str(folder)), "")


def test_all_is_well_on_a_disk_here(dest: Path) -> None:
    dest.mkdir()
    before = dest.stat().st_mode
    checkup = examine(here(dest))
    assert checkup.healthy
    assert {fact.standing for fact in checkup.facts} <= TOLD
    assert facts(checkup)["length"].value == 255
    assert os.listdir(dest) == []
    assert dest.stat().st_mode == before


@pytest.mark.parametrize(
    ("quirk", "name", "standing"),
    [
        (Quirk.CLAIMS_OPENSSH, "order", Standing.WORKS),
        (Quirk.UNORDERED, "order", Standing.OTHERWISE),
        (Quirk.RENAME_REPLACES, "rename", Standing.OTHERWISE),
        (Quirk.RENAME_DENIED, "rename", Standing.LACKS),
        (Quirk.SYMLINK_REVERSED, "links", Standing.OTHERWISE),
        (Quirk.SYMLINK_DENIED, "links", Standing.LACKS),
        (Quirk.RENAME_FOLLOWS, "links", Standing.OTHERWISE),
        (Quirk.CASELESS, "case", Standing.LACKS),
        (Quirk.DECOMPOSES, "accents", Standing.OTHERWISE),
        (Quirk.FORBIDS_COLON, "characters", Standing.LACKS),
        (Quirk.NAMES_AS_TEXT, "bytes", Standing.LACKS),
        (Quirk.READ_DENIED, "fetches", Standing.LACKS),
        (Quirk.READS_SHORT, "fetches", Standing.TOLD),
        (Quirk.FEW_HANDLES, "characters", Standing.WORKS),
        (Quirk.WANTS_TRUNC, "times", Standing.WORKS),
    ],
)
def test_what_a_server_does_otherwise_is_told(
    quirk: Quirk, name: str, standing: Standing, job_to: JobTo, served: Path
) -> None:
    (served / "dest").mkdir()
    checkup = examine(job_to(quirk))
    fact = facts(checkup)[name]
    assert fact.standing is standing
    assert bool(fact.means) == (standing in {Standing.OTHERWISE, Standing.LACKS})
    assert checkup.healthy == (standing is not Standing.LACKS)
    assert os.listdir(served / "dest") == []
    assert os.listdir(served) == ["dest"]


def test_the_characters_that_can_t_be_are_named(job_to: JobTo, served: Path) -> None:
    (served / "dest").mkdir()
    fact = facts(examine(job_to(Quirk.FORBIDS_COLON)))["characters"]
    assert fact.value == ":"


@pytest.mark.parametrize("above", [True, False])
def test_a_dest_that_is_not_there_is_told_and_not_made(job_to: JobTo, served: Path, *, above: bool) -> None:
    if not above:
        served.rmdir()
        served.mkdir()
    job = job_to()
    checkup = examine(job)
    assert facts(checkup)["folder"].standing is Standing.OTHERWISE
    assert checkup.healthy
    assert "rename" not in facts(checkup)
    assert os.listdir(served) == []


def test_nor_is_a_folder_here_or_what_is_above_it(tmp_path: Path) -> None:
    checkup = examine(here(tmp_path / "not" / "there"))
    assert "nor the folder that it is to be in" in facts(checkup)["folder"].words
    assert os.listdir(tmp_path) == []


def test_what_is_in_the_way_of_our_folder_is_told_and_stays(job_to: JobTo, served: Path) -> None:
    build_tree(served, {"dest": {".reconcile": "a file", "theirs": "theirs"}})
    before = {path: path.read_text() for path in (served / "dest").iterdir()}
    checkup = examine(job_to())
    assert facts(checkup)["writable"].standing is Standing.LACKS
    assert not checkup.healthy
    assert {path: path.read_text() for path in (served / "dest").iterdir()} == before


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    dest = tmp_path / "disk"
    with mounted(dest, *in_memory("64k")):
        fill(dest / "all of it")
        checkup = examine(here(dest))
        assert not checkup.healthy
        assert facts(checkup)["space"].standing is Standing.LACKS
        assert os.listdir(dest) == ["all of it"]


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_little_room_is_left_to_others(tmp_path: Path) -> None:
    """No more than a tenth of it is written to."""
    with mounted(tmp_path / "disk", *in_memory("8m")):
        sent = facts(examine(here(tmp_path / "disk")))["sends"]
        assert sent.standing is Standing.TOLD
        assert os.listdir(tmp_path / "disk") == []


def test_what_a_job_has_there_stays(job_to: JobTo, source: Path, served: Path) -> None:
    build_tree(source, {"d": {"f": "f"}})
    job = job_to(Quirk.CLAIMS_OPENSSH)
    run(job, Heard())
    folder = served / "dest" / ".reconcile"
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    examine(job)
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    build_tree(source, {"g": "g"})
    assert run(job, Heard()).problems == []
    assert_same_tree(source, served / "dest")


def test_what_a_doctor_that_died_has_left_is_cleared_away_a_day_later(dest: Path) -> None:
    ours = dest / ".reconcile" / "doctor"
    build_tree(ours, {"old": {"staging": {"1": "left"}}, "new": {"staging": {"1": "at work"}}})
    day_before = time.time() - 90_000
    os.utime(ours / "old", (day_before, day_before))
    examine(here(dest))
    assert os.listdir(ours) == ["new"]
    assert (ours / "new" / "staging" / "1").read_text() == "at work"


def test_an_interrupted_one_leaves_nothing(job_to: JobTo, served: Path) -> None:
    (served / "dest").mkdir()
    with pytest.raises(Interrupted):
        examine(job_to(), Stop(requested=2, graceful=True))
    assert os.listdir(served / "dest") == []
