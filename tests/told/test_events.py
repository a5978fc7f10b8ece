"""A line for each thing that happens, as it happens."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reconcile.core.errors import Exit
from reconcile.core.job import Ending, Result
from reconcile.core.model import Action, Entry, Kind, Op, Outcome, Plan, Problem, Reason, Stage, Tally
from reconcile.report.events import Events
from reconcile.report.recorder import Recorder
from tests.support.command import ReconcileHere

FILE = Entry(Kind.FILE, size=5, mode=0o644, mtime_ns=0)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "events"


@pytest.fixture
def job(source: Path, dest: Path, state: Path, log: Path) -> ReconcileHere:
    (source / "a").write_text("a")
    return ReconcileHere(source, str(dest), state, ["--events", str(log)])


def read(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def names(events: Sequence[dict[str, Any]]) -> list[str]:
    """In order, without those that come and go with time."""
    return [event["event"] for event in events if event["event"] not in ("phase", "progress", "note")]


def test_a_run_from_its_beginning_to_its_end(job: ReconcileHere, log: Path, dest: Path) -> None:
    job.run()
    events = read(log)
    assert names(events) == ["started", "planned", "done", "finished"]
    started, planned, done, finished = [event for event in events if event["event"] in names(events)]
    assert (started["command"], started["source"], started["target"]) == ("run", str(job.source), str(dest))
    assert (planned["actions"], planned["bytes_to_send"]) == (1, 1)
    assert (done["op"], done["path"], done["bytes"]) == ("create", "a", 1)
    assert (finished["exit_code"], finished["status"], finished["counts"]["create"]) == (0, "ok", 1)
    assert all(abs(event["time"] - os.stat(log).st_mtime) < 600 for event in events)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    job.run()
    assert names(read(log))[4:] == ["started", "finished"], "what was there stays"


def test_a_run_that_is_refused(job: ReconcileHere, log: Path, dest: Path) -> None:
    dest.mkdir()
    (dest / "theirs").touch()
    assert job("run").code == Exit.REFUSED
    finished = read(log)[-1]
    assert (finished["event"], finished["status"], finished["exit_code"]) == ("finished", "refused", 4)
    assert "theirs" in finished["message"] or "holds" in finished["message"]


def test_stdout_is_theirs_alone(source: Path, dest: Path, state: Path) -> None:
    (source / "a").write_text("a")
    job = ReconcileHere(source, str(dest), state, ["--events", "-"])
    ran = job("run", json_out=False)
    assert ran.code == Exit.OK
    assert names([json.loads(line) for line in ran.out.splitlines()])[-1] == "finished"
    assert "1 created" in ran.err
    assert job("run").code == Exit.USAGE


def test_several_jobs(tmp_path: Path, source: Path, log: Path) -> None:
    file = tmp_path / "reconcile.toml"
    tables = "".join(f'[jobs.{name}]\nsource = "source"\ntarget = "./{name}"\n' for name in ("one", "two"))
    file.write_text(f'[defaults]\nevents = "events"\n{tables}')

    class Jobs(ReconcileHere):
        def argv(self, command: str, *args: str) -> list[str]:
            return ["", "", "", command, "--config", str(file), *args]

    assert Jobs(source, "", tmp_path)("run", json_out=False).code == Exit.OK
    events = read(log)
    assert [event["job"] for event in events if event["event"] == "finished"] == ["one", "two"]
    assert {event["job"] for event in events} == {"one", "two"}


def test_what_can_not_be_written_is_said_and_stops_nothing(job: ReconcileHere, dest: Path) -> None:
    ran = job("run", "--events", "/dev/full", json_out=False)
    assert ran.code == Exit.OK
    assert "could not be written to '/dev/full': No space left on device" in ran.err
    assert (dest / "a").exists()
    assert job("run", "--events", str(dest)).code == Exit.USAGE


def test_a_reader_that_leaves_stops_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    recorder = Recorder("run")
    recorder.events = events = Events(writer)
    recorder.about("/src", "/dest")
    recorder.phase("apply")
    os.close(writer)
    assert events.lost == "Broken pipe"


def test_terminated_at_once(source: Path, state: Path, log: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"sftp://me@127.0.0.1:{mute.getsockname()[1]}/dest"
        process = ReconcileHere(source, url, state, ["--events", str(log)]).start("run")
        line, _ = mute.accept()
        with line:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == Exit.TERMINATED
    assert read(log)[-1]["exit_code"] == Exit.TERMINATED


def test_what_fails_and_how_far_it_is(log: Path) -> None:
    actions = [Action(Op.CREATE, name, new=FILE) for name in ("odd\udcff", "b")]
    plan, tally = Plan([actions]), Tally()
    with log.open("wb") as file:
        events = Events(file.fileno(), "www")
        events.planned(plan, tally)
        events.sent(5, "odd\udcff")
        outcomes = [
            Outcome(actions[0]),
            Outcome(actions[1], problem=Problem("b", Stage.APPLY, Reason.DENIED, "permission denied")),
        ]
        for outcome in outcomes:
            tally.add(outcome)
            events.outcome(outcome)
        events.finished(Ending(Result("run", "/src", "/dest", plan), "problems", 3))
    told = read(log)
    assert [event["event"] for event in told] == ["planned", "progress", "done", "problem", "finished"]
    assert {event["job"] for event in told} == {"www"}
    assert (told[1]["bytes"], told[1]["bytes_to_send"], told[1]["path"]) == (5, 10, "odd\udcff")
    assert (told[3]["path"], told[3]["reason"]) == ("b", "denied")
