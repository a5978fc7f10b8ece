"""A line for each run, which later ones never change."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from reconcile.core.job import Ending, Result
from reconcile.core.model import Action, Entry, Kind, Op, Plan, Problem, Reason, Stage
from reconcile.state import history
from reconcile.state.history import ACTIONS, MOST, PROBLEMS, RUNS, Deed, note_run, read_deeds, read_runs

FILE = Entry(Kind.FILE, size=5, mode=0o644, mtime_ns=0)
GOLDEN = (
    b'{"n":7,"began":1795747592.654,"seconds":0.384,"status":"unreachable","exit_code":6,"v":1,'
    b'"counts":{"create":1,"move":1},"entries":{"create":1,"move":61},"sent":2,"avoided":6,"found":1,"kept":3,'
    b'"problems":1,"paths":[["x\\udcff","no"]],"message":"gone","source":"/src","target":"sftp://host/dest"}\n'
)


def ending(*done: Action, status: str = "ok", code: int = 0, **more: object) -> Ending:
    result = Result("run", "/src", "/dest", Plan([list(done)]), list(done), **more)  # type: ignore[arg-type]
    return Ending(result, status, code)


def create(path: str) -> Action:
    return Action(Op.CREATE, path, new=FILE)


def test_runs_are_counted_and_told(tmp_path: Path) -> None:
    folder = str(tmp_path)
    note_run(folder, ending())
    moved = Action(Op.MOVE, "b", new=FILE, source="parked", moved=FILE, home="a", entries=3)
    problem = Problem("odd\udcff", Stage.APPLY, Reason.DENIED, "permission denied")
    note_run(folder, ending(create("odd\udcff\n"), moved, status="problems", code=3, problems=[problem]))
    first, second = read_runs(folder)
    assert (first.n, first.status, first.counts, first.sent) == (1, "ok", {}, 0)
    assert (second.n, second.status, second.exit_code, second.problems) == (2, "problems", 3, 1)
    assert second.counts == {"create": 1, "move": 1}
    assert second.entries == {"create": 1, "move": 3}
    assert second.sent == 5
    assert second.paths == [("odd\udcff", "permission denied")]
    assert read_deeds(folder, 1) is None
    assert read_deeds(folder, 2) == (
        [Deed(Op.CREATE, "odd\udcff\n", size=5), Deed(Op.MOVE, "b", "a", entries=3)],
        0,
    )
    for name in (RUNS, ACTIONS):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_what_today_writes_is_read_for_ever(tmp_path: Path) -> None:
    (tmp_path / RUNS).write_bytes(GOLDEN)
    (run,) = read_runs(str(tmp_path))
    assert (run.n, run.status, run.message, run.kept, run.avoided) == (7, "unreachable", "gone", 3, 6)
    assert run.paths == [("x\udcff", "no")]
    note_run(str(tmp_path), ending())
    assert (tmp_path / RUNS).read_bytes().startswith(GOLDEN + b'{"n":8,')


def test_much_is_told_in_part(tmp_path: Path) -> None:
    problem = Problem("p", Stage.APPLY, Reason.DENIED, "no")
    note_run(
        str(tmp_path), ending(*(create(str(n)) for n in range(MOST + 2)), problems=[problem] * (PROBLEMS + 1))
    )
    (run,) = read_runs(str(tmp_path))
    assert run.counts == {"create": MOST + 2}
    assert (run.problems, len(run.paths)) == (PROBLEMS + 1, PROBLEMS)
    told = read_deeds(str(tmp_path), 1)
    assert told is not None
    assert (len(told[0]), told[1]) == (MOST, 2)


def test_what_is_long_is_put_aside_and_goes_at_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LIMITS", {RUNS: 1000, ACTIONS: 1000})
    for number in range(60):
        note_run(str(tmp_path), ending(create(f"file {number}")))
    runs = [run.n for run in read_runs(str(tmp_path))]
    assert runs == list(range(runs[0], 61))
    assert len(runs) > 5
    assert read_deeds(str(tmp_path), 60) is not None
    assert read_deeds(str(tmp_path), 1) is None
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 5000


def test_what_is_damaged_or_of_later_is_passed_over(tmp_path: Path) -> None:
    note_run(str(tmp_path), ending())
    later = json.loads(GOLDEN) | {"v": 2}
    with (tmp_path / RUNS).open("ab") as file:
        file.write(
            json.dumps(later).encode() + b'\n{"n":8,"began":\n\xff\n{"n":9,"beg'
        )  # torn by a full disk
    note_run(str(tmp_path), ending())
    assert [run.n for run in read_runs(str(tmp_path))] == [1, 10]


def test_a_job_that_has_left_nothing_has_no_history(tmp_path: Path) -> None:
    note_run(str(tmp_path / "none"), ending())
    assert not (tmp_path / "none").exists()
    assert read_runs(str(tmp_path / "none")) == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    (tmp_path / RUNS).symlink_to("other")
    note_run(str(tmp_path), ending())
    assert (tmp_path / "other").read_bytes() == b""


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    def run_some() -> None:
        for _ in range(10):
            note_run(str(tmp_path), ending(create("a")))

    threads = [threading.Thread(target=run_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.n for run in read_runs(str(tmp_path))] == list(range(1, 41))


def test_one_that_was_halted_while_it_wrote_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_PATIENCE", 0.05)
    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    note_run(str(tmp_path), ending())
    os.close(fd)
    assert [run.n for run in read_runs(str(tmp_path))] == [1]
