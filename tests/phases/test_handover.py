"""A job whose state is kept another way than before: here until now and at DEST from now on, or back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from reconcile.config import Flags, make_job
from reconcile.core.errors import Locked, Refused
from reconcile.core.job import Result
from reconcile.pipeline import make_plan, run
from reconcile.report import Recorder
from reconcile.state.lock import hold_lock
from tests.support.trees import File, Tree, build_tree, read_tree

OLD = 1_600_000_000
TREE: Tree = {
    "index.html": File("<h1>one</h1>", mtime=OLD),
    "css": {"a.css": File("a", mtime=OLD), "b.css": File("b", mtime=OLD)},
    "empty": {},
}


class Said(Recorder):
    """Keeps what is said; fails in the phase ``at``, as who is killed does."""

    def __init__(self, at: str = "", skip: int = 0) -> None:
        super().__init__("run")
        self.heard: list[str] = []
        self._at, self._skip = at, skip

    def say(self, message: str) -> None:
        self.heard.append(message)

    warn = say

    def phase(self, name: str) -> None:
        if name == self._at:
            if not self._skip:
                raise Killed
            self._skip -= 1


class Killed(BaseException):
    """The run is no more."""


class Machine:
    """A home of its own, and a checkout of its own."""

    def __init__(self, folder: Path, dest: Path, patch: pytest.MonkeyPatch) -> None:
        self.home, self.source, self.dest, self._patch = folder / "home", folder / "checkout", dest, patch
        build_tree(self.source, TREE)

    def run(self, said: Said | None = None, **flags: Any) -> Result:
        return self._do(run, said, flags)

    def plan(self, said: Said | None = None, **flags: Any) -> Result:
        return self._do(make_plan, said, flags)

    def job_folder(self, **flags: Any) -> Path:
        with self._patch.context() as patch:
            patch.setenv("XDG_STATE_HOME", str(self.home))
            return Path(make_job(Flags(str(self.source), str(self.dest), **flags)).state)

    def _do(self, do: Callable[..., Result], said: Said | None, flags: dict[str, Any]) -> Result:
        with self._patch.context() as patch:
            patch.setenv("XDG_STATE_HOME", str(self.home))
            job = make_job(Flags(str(self.source), str(self.dest), **{"mirror": True, **flags}))
            return do(job, said or Said())


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


@pytest.fixture
def laptop(tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """It has sent its tree, with its state here."""
    monkeypatch.chdir(tmp_path)
    laptop = Machine(tmp_path / "laptop", dest, monkeypatch)
    laptop.run()
    return laptop


@pytest.fixture
def runner(tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Has the same tree at another place."""
    return Machine(tmp_path / "runner", dest, monkeypatch)


def states(dest: Path) -> Sequence[Path]:
    return sorted(dest.glob(".reconcile/store/job-default.*.state"))


def is_at_dest(machine: Machine) -> None:
    here = {path: node.content for path, node in read_tree(machine.source).items()}
    there = read_tree(machine.dest)
    assert {path: there[path].content for path in there if path.split("/")[0] != ".reconcile"} == here


def told(said: Said) -> int:
    return sum("from now on it" in line for line in said.heard)


def test_what_is_known_here_goes_to_dest(laptop: Machine, runner: Machine, dest: Path) -> None:
    """Nothing is sent again, also where nothing has changed; then others know it."""
    said = Said()
    result = laptop.run(said, state="remote")
    assert (result.ended, result.problems, told(said)) == ([], [], 1)
    assert len(states(dest)) == 1
    again = Said()
    assert laptop.run(again, state="remote").ended == []
    assert told(again) == 0
    (runner.source / "css/a.css").unlink()
    result = runner.run(again, state="remote", times="ignore")
    assert [action.op.value for action in result.ended] == ["delete"]
    assert told(again) == 0
    is_at_dest(runner)


def test_a_change_and_what_is_gone_are_known_at_once(laptop: Machine) -> None:
    (laptop.source / "css/a.css").rename(laptop.source / "a.css")
    (laptop.source / "index.html").unlink()
    result = laptop.run(state="remote")
    assert {action.op.value for action in result.ended} == {"move", "delete"}
    is_at_dest(laptop)


def test_and_comes_back(laptop: Machine, dest: Path) -> None:
    """Again and again, each time with what changed meanwhile and no more."""
    for number in range(2):
        for flags in ({"state": "remote"}, {}):
            said = Said()
            (laptop.source / "index.html").write_text(f"{number} {flags}")
            plan = laptop.plan(said, **flags)
            assert [action.op.value for action in plan.plan.actions] == ["modify"]
            result = laptop.run(said, **flags)
            assert [action.op.value for action in result.ended] == ["modify"]
            assert told(said) == 2, said.heard  # by both
            assert len(said.heard) == 2, said.heard
            is_at_dest(laptop)
            assert laptop.run(said, **flags).ended == []
            assert len(said.heard) == 2
    assert len(states(dest)) <= 2


def test_a_plan_changes_nothing(laptop: Machine, dest: Path) -> None:
    before = {path: path.lstat().st_mtime_ns for top in (dest, laptop.home) for path in top.rglob("*")}
    said = Said()
    assert laptop.plan(said, state="remote").plan.empty
    assert told(said) == 1
    assert before == {
        path: path.lstat().st_mtime_ns for top in (dest, laptop.home) for path in top.rglob("*")
    }


def test_what_others_have_at_dest_counts(laptop: Machine, runner: Machine) -> None:
    """Who sent there since knew better; the state here is left alone."""
    runner.run(state="remote", adopt_existing=True)
    here = laptop.job_folder()
    (runner.source / "css/c.css").write_text("c")
    runner.run(state="remote")
    shutil.rmtree(laptop.source)
    shutil.copytree(runner.source, laptop.source)
    said = Said()
    assert laptop.run(said, state="remote").ended == []
    assert told(said) == 0
    assert (here / "snapshot").exists()


def test_an_older_state_is_not_believed(laptop: Machine, dest: Path, tmp_path: Path) -> None:
    """It was restored: DEST is listed, as by any run with such a state, and then it is at DEST."""
    folder = laptop.job_folder()
    shutil.copytree(folder, tmp_path / "old")
    (laptop.source / "css/c.css").write_text("c")
    (laptop.source / "index.html").unlink()
    laptop.run()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "old", folder)
    said = Said()
    laptop.run(said, state="remote")
    assert any("older than DEST" in line for line in said.heard), said.heard
    is_at_dest(laptop)
    assert states(dest)
    assert laptop.run(state="remote").ended == []


def test_what_is_known_of_another_dest_is_not_taken(laptop: Machine, dest: Path) -> None:
    """Its mark is not there: what is in DEST now is somebody else's."""
    shutil.rmtree(dest)
    build_tree(dest, {"theirs": "theirs"})
    with pytest.raises(Refused, match="already holds something"):
        laptop.run(state="remote")
    assert (dest / "theirs").read_text() == "theirs"
    assert (laptop.job_folder() / "snapshot").exists()


def test_a_run_by_the_state_of_before_is_waited_for(laptop: Machine) -> None:
    with hold_lock(str(laptop.job_folder())), pytest.raises(Locked):
        laptop.run(state="remote")
    assert laptop.run(state="remote").ended == []


@pytest.mark.parametrize(
    ("at", "back"), [("lock", False), ("apply", False), ("commit", False), ("survey", True), ("commit", True)]
)
def test_broken_off_in_the_middle(laptop: Machine, runner: Machine, at: str, back: bool) -> None:
    """Wherever that is, the next run goes on; then from elsewhere, and by the state of before."""
    flags: dict[str, Any] = {} if back else {"state": "remote"}
    if back:
        laptop.run(state="remote")
    for skip in range(3):
        (laptop.source / "index.html").write_text(f"{skip} more{'!' * skip}")
        try:
            laptop.run(Said(at, skip), **flags)
        except Killed:
            pass
        else:
            break
    laptop.run(**flags)
    is_at_dest(laptop)
    (laptop.source / "css/b.css").unlink()
    laptop.run()
    is_at_dest(laptop)
    laptop.run(state="remote")
    shutil.rmtree(runner.source)
    shutil.copytree(laptop.source, runner.source)
    assert runner.run(state="remote").ended == []


def test_what_was_begun_by_the_other_state_is_ended_by_that(laptop: Machine) -> None:
    """Whoever goes by what was before knows nothing of it: what looks alike there may be another's."""
    (laptop.source / "index.html").write_text("two")
    with pytest.raises(Killed):
        laptop.run(Said("commit", skip=1), state="remote")
    for do in (laptop.plan, laptop.run):
        with pytest.raises(Refused, match="Run once with --state remote"):
            do()
    assert laptop.run(state="remote").problems == []
    assert laptop.run().ended == []
    is_at_dest(laptop)


def test_what_others_have_sent_since_is_known_when_it_comes_back(laptop: Machine, runner: Machine) -> None:
    """What is at DEST counts, not what this machine has seen of it."""
    laptop.run(state="remote")
    (runner.source / "css/c.css").write_text("c")
    (runner.source / "index.html").unlink()
    runner.run(state="remote")
    said = Said()
    result = laptop.run(said)
    assert {action.path: action.op.value for action in result.ended} == {
        "css/c.css": "delete",
        "index.html": "create",
    }
    assert len(said.heard) == 1, said.heard
    is_at_dest(laptop)


def test_a_named_job_whose_source_is_another_is_refused(laptop: Machine, runner: Machine) -> None:
    """As it is without going over: a slip of the pen shall not empty DEST."""
    laptop.run(job="web", adopt_existing=True)
    shutil.rmtree(laptop.source)
    build_tree(runner.source, {"other": "other", "more": "more"})
    laptop.source = runner.source
    (runner.source / "index.html").unlink()
    for name in ("css", "empty"):
        shutil.rmtree(runner.source / name)
    with pytest.raises(Refused, match="'web'"):
        laptop.run(state="remote", job="web", allow_mass_delete=True)


def test_a_journal_here_that_another_machine_has_ended_costs_one_look(
    laptop: Machine, runner: Machine
) -> None:
    (laptop.source / "index.html").write_text("two")
    (runner.source / "index.html").write_text("two")
    with pytest.raises(Killed):
        laptop.run(Said("commit", skip=1), state="remote")
    runner.run(state="remote", times="ignore", wait=20)
    assert laptop.run().problems == []
    assert not laptop.run().connected


@pytest.mark.parametrize("at", ["apply", "commit"])
def test_what_broke_off_here_is_gone_on_with_from_dest(laptop: Machine, at: str) -> None:
    (laptop.source / "css").rename(laptop.source / "style")
    (laptop.source / "index.html").write_text("<h1>two, that is longer</h1>")
    with pytest.raises(Killed):
        laptop.run(Said(at, skip=at == "commit"))
    said = Said()
    laptop.run(said, state="remote")
    is_at_dest(laptop)
    assert any("interrupted" in line for line in said.heard), said.heard
    assert laptop.run(state="remote").ended == []
