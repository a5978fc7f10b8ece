"""State at DEST: what a job has there is true for whoever runs it next, on whatever machine."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import xxhash
from msgspec.structs import replace

from reconcile.config import Flags, make_job
from reconcile.core.errors import Locked, Refused, UsageError
from reconcile.core.job import Result
from reconcile.core.model import Action, DirectorySnapshot, Entry, Kind, Op, PlainDirectory, Reason, Stamp
from reconcile.phases.verify import verify
from reconcile.pipeline import make_plan, run
from reconcile.report import Recorder
from reconcile.state import parcel
from reconcile.state.journal import begin_journal
from reconcile.state.store import read_copy, save_snapshot
from tests.support.trees import Tree, build_tree, read_tree

TREE: Tree = {"index.html": "<h1>one</h1>", "css": {"a.css": "a", "b.css": "b"}, "empty": {}}


class Said(Recorder):
    """Keeps what is said; ``at`` a phase something is done, once."""

    def __init__(self, at: Mapping[str, Callable[[], object]] | None = None) -> None:
        super().__init__("run")
        self.heard: list[str] = []
        self._at = dict(at or {})

    def say(self, message: str) -> None:
        self.heard.append(message)

    warn = say

    def phase(self, name: str) -> None:
        self._at.pop(name, lambda: None)()


class Machine:
    """A home of its own, and a checkout of its own."""

    def __init__(self, folder: Path, dest: Path, patch: pytest.MonkeyPatch) -> None:
        self.home, self.source, self.dest, self._patch = folder / "home", folder / "checkout", dest, patch
        self.source.mkdir(parents=True)

    def run(self, reporter: Recorder | None = None, **flags: Any) -> Result:
        return self._do(run, reporter, flags)

    def plan(self, **flags: Any) -> Result:
        return self._do(make_plan, None, flags)

    def verify(self) -> Result:
        return self._do(verify, None, {})

    def forget(self) -> None:
        shutil.rmtree(self.home)

    @property
    def copy(self) -> Path:
        (folder,) = (self.home / "reconcile/remote").iterdir()
        return folder

    def _do(self, do: Callable[..., Result], reporter: Recorder | None, flags: Mapping[str, Any]) -> Result:
        with self._patch.context() as patch:
            patch.setenv("XDG_STATE_HOME", str(self.home))
            given = {"state": "remote", "times": "ignore", "mirror": True, **flags}
            job = make_job(Flags(str(self.source), str(self.dest), **given))
            return do(job, reporter or Said())


Two = tuple[Machine, Machine]


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


@pytest.fixture
def machines(tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch) -> Two:
    """Two of them, with the same tree at other places, made at other times."""
    monkeypatch.chdir(tmp_path)
    laptop, runner = (Machine(tmp_path / name, dest, monkeypatch) for name in ("laptop", "runner"))
    build_tree(laptop.source, TREE)
    build_tree(runner.source, TREE)
    return laptop, runner


def is_at_dest(machine: Machine) -> None:
    here = {path: node.content for path, node in read_tree(machine.source).items()}
    there = read_tree(machine.dest)
    assert {path: there[path].content for path in there if path.split("/")[0] != ".reconcile"} == here


def looks(folder: Path) -> dict[str, tuple[int, int]]:
    """All that shows that something was written."""
    paths = (folder, *folder.rglob("*"))
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in paths}


def values(dest: Path, what: str) -> list[Path]:
    return sorted(dest.glob(f".reconcile/store/job-default.*.{what}"))


def test_another_machine_sends_nothing_again_and_writes_nothing(machines: Two, dest: Path) -> None:
    laptop, runner = machines
    assert laptop.run().ended
    before = looks(dest)
    for _ in range(2):
        result = runner.run()
        assert (result.ended, result.problems) == ([], [])
    assert looks(dest) == before
    assert list(runner.verify().checked.findings) == []  # type: ignore[union-attr]
    runner.forget()
    assert runner.plan().plan.empty
    assert not runner.home.exists()
    assert looks(dest) == before


def test_they_take_turns(machines: Two, dest: Path) -> None:
    """What is moved and changed on one is known to the other."""
    laptop, runner = machines
    laptop.run()
    for number, (here, other) in enumerate([(runner, laptop), (laptop, runner), (runner, laptop)]):
        (here.source / "css/b.css").write_text(f"b {number}")
        (here.source / "css/a.css").rename(here.source / f"a{number}.css")
        result = here.run()
        assert {action.op.value for action in result.ended} == {"modify", "move"}
        is_at_dest(here)
        shutil.rmtree(other.source)
        shutil.copytree(here.source, other.source)
        assert other.run().ended == []
        (here.source / f"a{number}.css").rename(here.source / "css/a.css")
        (other.source / f"a{number}.css").rename(other.source / "css/a.css")
        assert [action.op.value for action in other.run().ended] == ["move"]
    assert len(values(dest, "state")) == 2
    assert values(dest, "intent") == values(dest, "part-*") == []


def test_stamps_outlive_what_others_have_sent(machines: Two) -> None:
    """Of what is the same a machine need not read the content again, though another has sent since."""
    laptop, runner = machines
    laptop.run()
    known = read_copy(str(laptop.copy))
    assert known is not None
    stamp = Stamp(1, 1, 1, 1, stat.S_IFREG | 0o644)
    css = {name: replace(entry, stamp=stamp) for name, entry in known.dirs["css"].entries().items()}
    save_snapshot(str(laptop.copy), replace(known, dirs={**known.dirs, "css": PlainDirectory(css)}))
    (runner.source / "css/a.css").write_text("another a")
    runner.run()
    said = Said({"diff": lambda: stamps.extend([read_copy(str(laptop.copy))])})
    stamps: list[DirectorySnapshot | None] = []
    laptop.run(said)
    assert stamps[0] is not None
    assert stamps[0].serial > known.serial
    now = stamps[0].dirs["css"].entries()
    assert (now["a.css"].stamp, now["b.css"].stamp) == (None, stamp)


def test_nothing_of_a_file_system_goes_to_dest(machines: Two, dest: Path) -> None:
    laptop, _ = machines
    laptop.run()
    (value,) = (path / "value" for path in values(dest, "state"))
    files = parcel.unpack(value.read_bytes(), "it")
    (value.parents[3] / "snapshot").write_bytes(files["snapshot"])
    put = read_copy(str(value.parents[3]))
    assert put is not None
    assert [entry.stamp for _, entry in put.walk() if entry.stamp is not None] == []
    assert len(list(put.walk())) == len(read_tree(laptop.source))


def test_a_full_dest_without_a_state_is_refused(machines: Two, dest: Path) -> None:
    laptop, runner = machines
    build_tree(dest, {"index.html": "somebody's"})
    with pytest.raises(Refused, match="already holds something"):
        laptop.run()
    assert not (dest / ".reconcile").exists()
    laptop.run(adopt_existing=True)
    with pytest.raises(Refused, match=r"'default': .* --job"):
        runner.run(job="site")
    assert runner.run().ended == []


def test_jobs_of_other_names_do_not_know_each_other(machines: Two, dest: Path) -> None:
    laptop, runner = machines
    laptop.run(job="a")
    runner.run(job="a.1", adopt_existing=True)
    (laptop.source / "index.html").unlink()
    laptop.run(job="a")
    assert runner.run(job="a.1").ended == []


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def be_of_later(path: Path) -> None:
    data = parcel.MAGIC + (parcel.FORMAT + 1).to_bytes(4, "big") + path.read_bytes()[12:-16]
    path.write_bytes(data + xxhash.xxh3_128_digest(data))


def be_something_else(path: Path) -> None:
    path.write_bytes(b"<html>")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [(damage, "is damaged"), (be_of_later, "newer reconcile .format 2"), (be_something_else, "no state of")],
)
def test_a_state_that_cannot_be_read_is_never_a_first_run(
    machines: Two, dest: Path, spoil: Callable[[Path], None], told: str
) -> None:
    laptop, runner = machines
    laptop.run()
    spoil(values(dest, "state")[-1] / "value")
    before = read_tree(dest)
    for do in (runner.plan, runner.run, runner.verify):
        with pytest.raises(Refused, match=told):
            do()
    assert read_tree(dest) == before
    (runner.source / "css/b.css").write_text("c")
    result = runner.run(start_over=True)
    assert result.problems == []
    is_at_dest(runner)
    shutil.copytree(runner.source, laptop.source, dirs_exist_ok=True)
    assert laptop.run().ended == []


def test_a_state_that_is_older_than_the_copy_is_refused(machines: Two, dest: Path) -> None:
    laptop, _ = machines
    laptop.run()
    shutil.copytree(dest, dest.with_name("backup"))
    (laptop.source / "later").write_text("later")
    laptop.run()
    shutil.rmtree(dest)
    dest.with_name("backup").rename(dest)
    for do in (laptop.plan, laptop.run, laptop.verify):
        with pytest.raises(Refused, match=r"older than what is known of it here: state 1 .* state 2"):
            do()
    assert [action.path for action in laptop.run(refresh=True).ended] == ["later"]
    is_at_dest(laptop)
    assert laptop.run().ended == []


def test_a_state_that_is_gone_is_refused(machines: Two, dest: Path) -> None:
    laptop, runner = machines
    laptop.run()
    shutil.rmtree(dest / ".reconcile/store")
    for do in (laptop.plan, laptop.run):
        with pytest.raises(Refused, match="No state of the job 'default' is at DEST any more"):
            do()
    assert laptop.run(start_over=True).problems == []
    assert runner.run().ended == []


def test_what_was_begun_anew_elsewhere_is_gone_on_with(machines: Two, dest: Path) -> None:
    laptop, runner = machines
    laptop.run()
    (laptop.source / "later").write_text("later")
    laptop.run()
    shutil.rmtree(dest)
    runner.run()
    said = Said()
    assert [action.path for action in laptop.run(said).ended] == ["later"]
    assert [text for text in said.heard if "begun anew" in text]


def test_who_is_overtaken_looks_again(machines: Two, dest: Path) -> None:
    """Another run ends between our look and our turn: what it has sent is not sent again."""
    laptop, runner = machines
    laptop.run()
    for machine in machines:
        (machine.source / "index.html").write_text("<h1>two</h1>")
    (laptop.source / "mine").write_text("mine")
    said = Said({"hash": runner.run})
    assert [action.path for action in laptop.run(said).ended] == ["mine"]
    assert [text for text in said.heard if "made anew" in text]
    is_at_dest(laptop)
    assert len(values(dest, "state")) == 2


def test_of_two_who_save_one_wins(machines: Two, dest: Path) -> None:
    """The lock is gone, for whatever reason, and another has saved a state in the place of ours."""
    laptop, runner = machines
    laptop.run()
    (laptop.source / "mine").write_text("mine")

    def steal() -> None:
        shutil.copytree(values(dest, "state")[0], dest / ".reconcile/store/job-default.2.state")

    with pytest.raises(Locked, match="in the place of this one"):
        laptop.run(Said({"apply": steal}))
    known = read_copy(str(laptop.copy))
    assert known is not None
    assert "mine" not in dict(known.walk())
    shutil.copytree(laptop.source, runner.source, dirs_exist_ok=True)
    runner.run()
    is_at_dest(runner)
    assert runner.run().ended == laptop.run().ended == []


@pytest.mark.parametrize("bad", ["../../outside", "/etc/passwd", "a/../../b", "a//b"])
def test_a_journal_that_leads_out_is_refused(machines: Two, dest: Path, tmp_path: Path, bad: str) -> None:
    laptop, runner = machines
    laptop.run()
    known = read_copy(str(laptop.copy))
    assert known is not None
    entry = Entry(Kind.FILE, 0o644, 1)
    levels = [[Action(Op.MOVE, "a", entry, source=bad, moved=entry)]]
    begin_journal(str(tmp_path / "made"), known.lineage, known.serial, 0, levels).close()
    made = (tmp_path / "made/journal").read_bytes()
    place = dest / ".reconcile/store/job-default.1.intent"
    place.mkdir()
    (place / "value").write_bytes(parcel.pack({"journal": made}))
    for do in (runner.plan, runner.run):
        with pytest.raises(Refused, match="journal of an interrupted run is damaged"):
            do()
    is_at_dest(laptop)


def test_the_word_is_no_folder(machines: Two, tmp_path: Path, dest: Path) -> None:
    laptop, _ = machines
    laptop.run()
    (tmp_path / "remote").mkdir()
    with pytest.raises(UsageError, match=r"\./remote"):
        laptop.run()
    laptop.run(state="./remote", adopt_existing=True)
    assert list((tmp_path / "remote").iterdir())


def test_another_folder_by_the_same_name_is_refused(machines: Two, dest: Path) -> None:
    laptop, runner = machines
    laptop.run()
    before = looks(dest)
    shutil.rmtree(runner.source)
    build_tree(runner.source, {"another": "folder"})
    for do in (runner.plan, runner.run, runner.run):
        with pytest.raises(Refused, match=f"--moved-from '{laptop.source}'"):
            do(allow_mass_delete=True)
    assert looks(dest) == before
    assert not runner.run(allow_mass_delete=True, moved_from=str(laptop.source)).problems
    is_at_dest(runner)
    assert runner.run(allow_mass_delete=True).plan.empty


def test_a_state_that_was_removed_from_dest_is_no_disaster(machines: Two, dest: Path) -> None:
    laptop, runner = machines
    (laptop.source / "gone").write_text("gone")
    laptop.run()
    (laptop.source / "gone").unlink()
    shutil.rmtree(dest / ".reconcile")
    with pytest.raises(Refused, match="--start-over"):
        laptop.run(adopt_existing=True)
    with pytest.raises(Refused, match="--adopt-existing"):
        runner.run()
    for machine, flag in ((runner, "adopt_existing"), (laptop, "start_over")):
        heard = Said()
        result = machine.run(heard, **{flag: True})
        assert [action.bytes for action in result.ended if action.bytes] == []
        assert not result.problems
        orphans = [note.path for note in result.notes if note.reason is Reason.ORPHAN]
        assert orphans == ["gone"]
        assert (dest / "gone").exists()
    assert [action.path for action in runner.run(adopt_orphans=True).ended] == ["gone"]
    is_at_dest(laptop)


def restore(backup: Path, dest: Path) -> None:
    shutil.rmtree(dest)
    backup.rename(dest)


def test_after_a_restore_another_state_of_the_same_number_is_not_taken_for_ours(
    machines: Two, dest: Path
) -> None:
    """By its number alone the copy here is what is there; and of what it knows nothing is."""
    laptop, runner = machines
    laptop.run()
    shutil.copytree(dest, dest.with_name("backup"))
    (laptop.source / "later").write_text("later")
    laptop.run()
    restore(dest.with_name("backup"), dest)
    (runner.source / "other").write_text("other")
    assert [action.path for action in runner.run().ended] == ["other"]
    for do in (laptop.plan, laptop.run):
        assert {action.path for action in do().plan.actions} == {"later", "other"}
    is_at_dest(laptop)
    assert laptop.run().ended == []


def test_what_is_left_of_an_intent_is_not_taken_for_another_ones(machines: Two, dest: Path) -> None:
    """Who was killed while it let go of an intent has left what became of it."""
    laptop, _ = machines
    laptop.run()
    left = dest / ".reconcile/store/job-default.1.part-1"
    left.mkdir()
    (left / "value").write_bytes(parcel.pack({"journal": b"of another run"}))
    (laptop.source / "css").rename(laptop.source / "old")
    build_tree(laptop.source, {"css": {"new": {"deep": {"c.css": "c"}}}})
    laptop.run()
    is_at_dest(laptop)
    assert not left.exists()


def test_a_folder_of_ours_that_several_have_in_common(machines: Two, tmp_path: Path, dest: Path) -> None:
    """What one DEST holds, another by the same name of the job does not."""
    laptop, runner = machines
    ours = str(tmp_path / "ours")
    laptop.run(remote_workdir=ours)
    runner.dest = tmp_path / "production"
    for do in (runner.plan, runner.run):
        with pytest.raises(Refused, match=r"is of another DEST: .*dest'.*production'.* --job"):
            do(remote_workdir=ours)
    assert not runner.dest.exists()
    runner.run(remote_workdir=ours, job="production")
    is_at_dest(runner)
    dest.rename(tmp_path / "linked")
    dest.symlink_to(tmp_path / "linked")
    assert laptop.run(remote_workdir=ours).ended == []


def test_a_dest_that_moves_takes_its_state_along(machines: Two, tmp_path: Path, dest: Path) -> None:
    laptop, runner = machines
    laptop.run()
    runner.dest = dest.rename(tmp_path / "moved")
    assert runner.run().ended == []


def test_what_is_there_is_not_what_is_made_into_releases(machines: Two) -> None:
    laptop, _ = machines
    laptop.run()
    (laptop.source / "index.html").write_text("<h1>two</h1>")
    for do in (laptop.plan, laptop.run):
        with pytest.raises(Refused, match=r"is of another DEST.*--job"):
            do(publish="release")
    laptop.run(publish="release", job="releases")
    assert {*read_tree(laptop.dest / "current")} == {*read_tree(laptop.source)}
