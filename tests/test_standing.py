"""``history`` and ``status``: what became of runs, and how jobs stand. And ``past``, in words."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from reconcile.cli import main
from reconcile.core.errors import Exit
from reconcile.report.past import Standing, list_standings, show_age, show_time, sum_up_run
from reconcile.state.history import Run
from reconcile.state.lock import hold_lock
from reconcile.state.unfinished import NAME as JOURNAL

NOW = time.mktime((2026, 11, 26, 12, 0, 0, 0, 0, -1))
DAY = 86_400.0
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Call]:
    """The command line, in a folder with SRC and DEST in it: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_text("a")
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def call(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(args)
        out, err = capsys.readouterr()
        return code, out, err

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


JOB = ("src", "./dest", "--state", "st")


def document(call: Call, *args: str) -> Mapping[str, Any]:
    code, out, _ = call(*args, "--json")
    body: dict[str, Any] = json.loads(out)
    assert body["exit_code"] == code
    return body


# history


def test_where_the_state_is_at_dest_the_runs_of_all_machines_are_known(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = ("src", "./dest", "--state", "remote")
    page = "https://ci.example.org/jobs/7"

    def be_at(name: str, url: str = "") -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setenv("HOME", str(tmp_path / name))
        monkeypatch.setenv("CI_JOB_URL", url)

    def told(*args: str) -> list[tuple[object, object, object]]:
        (job,) = document(call, "history", *shared, *args)["jobs"]
        return [(run["run"], run["by"], run["counts"].get("create", 0)) for run in job["runs"]]

    be_at("laptop")
    call("run", *shared)
    be_at("ci", page)
    (tmp_path / "src" / "b").write_text("b")
    call("run", *shared)
    here = os.uname().nodename
    assert told() == [(None, here, 1), (1, None, 1)]
    be_at("laptop")
    assert told() == [(1, None, 1)]
    assert f"1 created, 1 B sent (by {page})" in call("status", *shared, "--remote")[1]
    assert told() == [(1, None, 1)]  # which only looked
    call("run", *shared)  # there is nothing to do, but for fetching what is there
    assert told() == [(1, None, 1), (None, page, 1), (2, None, 0)]
    assert f"1 created, 1 B sent (by {page})\n" in call("history", *shared)[1]
    copy = next((tmp_path / "laptop/.local/state/reconcile/remote").iterdir())
    (line, *_) = (line for line in (copy / "there").read_bytes().splitlines() if page.encode() in line)
    began = json.loads(line)["began"]
    for key, value in (("began", "NaN"), ("began", "-1e300"), ("began", "1e300"), ("seconds", "Infinity"),
                       ("status", '"\\u001b[31m"'), ("exit_code", "-1"), ("sent", "-5")):  # fmt: skip
        said = {**json.loads(line), key: "?"}
        (copy / "there").write_text(json.dumps(said).replace('"?"', value) + "\n")
        assert told() == [(1, None, 1), (2, None, 0)], key
        assert call("status", *shared)[0] == Exit.OK
    ahead = time.time() + 100 * DAY  # by a clock that is wrong
    (copy / "there").write_text(json.dumps({**json.loads(line), "began": ahead}) + "\n")
    (tmp_path / "src").rename(tmp_path / "moved")
    assert call("run", *shared)[0] == Exit.REFUSED
    (job,) = document(call, "status", *shared)["jobs"]
    assert (job["last"]["exit_code"], job["failed_runs"]) == (Exit.REFUSED, 1)
    assert began < job["success"]["began"] <= time.time()
    (tmp_path / "moved").rename(tmp_path / "src")
    (copy / "there").write_bytes(b'{"n":[[[[\n\xff\n' + b"[" * 100_000)
    assert told() == [(1, None, 1), (2, None, 0), (3, None, 0)]


def test_runs_and_what_one_did(call: Call, tmp_path: Path) -> None:
    call("run", *JOB)
    (tmp_path / "src" / "a").rename(tmp_path / "src" / "b")
    call("run", *JOB)
    call("run", *JOB)
    code, out, err = call("history", *JOB)
    assert (code, err) == (Exit.OK, "")
    title, third, second, first = [line.split() for line in out.splitlines()]
    assert title == ["RUN", "WHEN", "TOOK", "EXIT", "WHAT"]
    assert third[0] == "#3"
    assert third[-3:] == ["nothing", "to", "do"]
    assert " ".join(second).endswith(" 1 moved, 1 B need not be sent")
    assert " ".join(first).endswith(" 1 created, 1 B sent")
    code, out, err = call("history", *JOB, "2")
    assert out.splitlines()[-1] == "  → a → b"
    assert call("history", *JOB, "-n", "1")[1].count("\n") == 2
    code, out, err = call("history", *JOB, "7")
    assert (code, out) == (Exit.USAGE, "")
    assert "no run #7 is known" in err


def test_runs_for_machines(call: Call) -> None:
    call("run", *JOB)
    call("run", *JOB)
    (job,) = document(call, "history", *JOB)["jobs"]
    assert [(run["run"], run["exit_code"], run["counts"]) for run in job["runs"]] == [
        (1, 0, {"create": 1}),
        (2, 0, {}),
    ]
    (job,) = document(call, "history", *JOB, "1")["jobs"]
    assert job["runs"][0]["actions"] == [
        {"op": "create", "path": "a", "from": None, "bytes": 1, "entries": 1}
    ]


def test_a_run_that_was_refused_is_in_it(call: Call, tmp_path: Path) -> None:
    call("run", *JOB)
    (tmp_path / "src" / "a").unlink()
    assert call("run", *JOB, "--mirror")[0] == Exit.REFUSED
    out = call("history", *JOB)[1]
    assert "  4  refused: " in out


def test_jobs_of_the_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "reconcile.toml").write_text(
        '[jobs.one]\nsource = "src"\ntarget = "./one"\n[jobs.two]\nsource = "src"\ntarget = "./two"\n'
    )
    call("run")
    call("run", "two")
    assert call("history", "one")[1].count("#") == 1
    assert call("history", "two", "2")[1].startswith("#2  today ")
    code, _, err = call("history", "1")
    assert code == Exit.USAGE
    assert "name that, too" in err
    code, out, _ = call("status")
    assert code == Exit.OK
    assert [line.split()[0] for line in out.splitlines()] == ["JOB", "one", "two"]
    assert call("status", "two")[1].startswith("two   ")


# status


def test_never_run(call: Call) -> None:
    code, out, _ = call("status", *JOB)
    assert code == Exit.OK
    assert "  last run   never\n  went well  never\n" in out
    assert call("status", "--state", "st") == (
        Exit.OK,
        "no job is known: reconcile run SRC DEST is the first\n",
        "",
    )


def test_all_that_is_known_without_a_file(call: Call) -> None:
    call("run", *JOB)
    call("run", "src", "./other", "--state", "st", "--job", "named")
    code, out, _ = call("status", "--state", "st")
    assert code == Exit.OK
    assert out.count("ok, 1 created, 1 B sent") == 2


def test_a_job_that_has_not_gone_well_for_long(call: Call, tmp_path: Path) -> None:
    assert call("status", *JOB, "--max-age", "26h", "-q")[::2] == (
        Exit.PROBLEMS,
        f"reconcile: problem: {tmp_path}/src → {tmp_path}/dest has never gone well\n",
    )
    call("run", *JOB)
    assert call("status", *JOB, "--max-age", "26h", "-q") == (Exit.OK, "", "")
    (history,) = (tmp_path / "st").glob("*/history")
    told = json.loads(history.read_text()) | {"began": time.time() - 3.5 * DAY}
    history.write_text(json.dumps(told, separators=(",", ":")) + "\n")
    code, out, err = call("status", *JOB, "--max-age", "26h")
    assert code == Exit.PROBLEMS
    assert "3 days ago" in out
    assert err.endswith("has not gone well for 3 days\n")
    assert document(call, "status", *JOB, "--max-age", "26h")["jobs"][0]["too_old"] is True
    assert document(call, "status", *JOB, "--max-age", "4d")["jobs"][0]["too_old"] is False
    assert call("status", *JOB, "--max-age", "soon")[0] == Exit.USAGE


def test_what_fails_and_since_when(call: Call, tmp_path: Path) -> None:
    call("run", *JOB)
    (tmp_path / "src" / "a").unlink()
    for _ in range(2):
        call("run", *JOB, "--mirror")
    out = call("status", *JOB)[1]
    assert ", exit code 4: refused: " in out
    assert ", 2 runs\n" in out
    (job,) = document(call, "status", *JOB)["jobs"]
    assert (job["failed_runs"], job["last"]["exit_code"], job["success"]["run"]) == (2, 4, 1)


def test_who_is_at_work_and_what_broke_off(call: Call, tmp_path: Path) -> None:
    call("run", *JOB)
    (folder,) = (tmp_path / "st").iterdir()
    (folder / JOURNAL).touch()
    with hold_lock(str(folder)):
        out = call("status", *JOB)[1]
    assert f"at work     process {os.getpid()} on " in out
    assert "unfinished  a run broke off" in out


def test_a_look_at_dest(call: Call, tmp_path: Path) -> None:
    call("run", *JOB)
    assert "there      as it was left" in call("status", *JOB, "--remote")[1]
    (tmp_path / "dest").rename(tmp_path / "gone")
    (tmp_path / "dest").mkdir()
    assert "its mark is missing" in call("status", *JOB, "--remote")[1]


def test_a_look_at_a_state_that_lies_at_dest(call: Call, tmp_path: Path) -> None:
    """Also from where there is no copy of it, an older one, or another SRC."""
    shared = ("src", "./dest", "--state", "remote")
    copy = tmp_path / "home/.local/state/reconcile/remote"
    assert call("run", *shared)[0] == Exit.OK
    assert "there      as it was left" in call("status", *shared, "--remote")[1]
    older = copy.rename(tmp_path / "older")
    (tmp_path / "src").rename(tmp_path / "source")
    moved = ("source", *shared[1:])
    assert "there      as it was left" in call("status", *moved, "--remote")[1]
    assert not copy.exists()
    (tmp_path / "source/b").write_text("b")
    assert call("run", *moved)[0] == Exit.OK
    shutil.rmtree(copy)
    older.rename(copy)
    assert "there      as it was left" in call("status", *moved, "--remote")[1]


def test_no_connection_is_made_unless_it_is_asked_for(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        url = f"sftp://me@127.0.0.1:{server.getsockname()[1]}/dest"
        assert call("status", "src", url, "--state", "st")[0] == Exit.OK
        assert call("history", "src", url, "--state", "st")[0] == Exit.OK
        with pytest.raises(BlockingIOError):
            server.accept()
        port = server.getsockname()[1]
    _, out, _ = call(
        "status", "src", f"sftp://me@127.0.0.1:{port}/dest", "--state", "st", "--remote", "--retries", "0"
    )
    assert "there      " in out


# words


def run(n: int, began: float, code: int = 0, status: str = "ok", **more: Any) -> Run:
    return Run(n, began, 9.0, status, code, **more)


def test_times_as_people_say_them() -> None:
    assert show_time(NOW, NOW) == "today 12:00"
    assert show_time(NOW - DAY, NOW) == "yesterday 12:00"
    assert show_time(NOW + DAY, NOW) == "tomorrow 12:00"
    assert show_time(NOW - 5 * DAY, NOW) == "2026-11-21 12:00"
    ages = {0: "0 s", 59: "59 s", 60: "1 min", 7199: "1 h", 7200: "2 h", 26 * 3600: "26 h", 3 * DAY: "3 days"}
    assert {seconds: show_age(seconds) for seconds in ages} == ages


def test_a_run_in_words() -> None:
    counts, entries = {"create": 2, "mkdir": 1, "move": 1}, {"create": 2, "mkdir": 1, "move": 61}
    whole = run(1, NOW, counts=counts, entries=entries, sent=48_000_000, problems=1)
    assert sum_up_run(whole) == "3 created, 1 moved (61 entries), 48.0 MB sent, 1 problem"
    broke = run(1, NOW, 6, "unreachable", counts={"create": 2}, message="the server \x1b[31m is gone\nreally")
    assert sum_up_run(broke) == "unreachable after 2 created: the server \\x1b[31m is gone"


def test_many_jobs_in_a_table() -> None:
    failing = [
        run(1, NOW - 3 * DAY),
        run(2, NOW - 2 * DAY, 3, "problems", problems=1),
        run(3, NOW - DAY, 3, problems=2),
    ]
    table = [
        Standing("photos", "/p", "/q", "/s", [run(7, NOW - 3600)], due=NOW + DAY),
        Standing("www", "/p", "/q", "/s", failing),
        Standing("docs", "/p", "/q", "/s"),
    ]
    assert list(list_standings(table, NOW)) == [
        "JOB     LAST RUN         RESULT                                       NEXT",
        "photos  today 11:00      ok, nothing to do                            tomorrow 12:00",
        "www     yesterday 12:00  2 problems (2 runs, since 2026-11-24 12:00)  -",
        "docs    never            -                                            -",
    ]
