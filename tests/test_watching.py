"""``watch``: what changes is brought soon, whatever becomes of folders and commands meanwhile."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.cli import main
from reconcile.core.errors import Exit
from tests.support.processes import wait_for
from tests.support.trees import Tree, build_tree
from tests.support.watching import watching

ROOT = Path(__file__).parents[1]
Build = Callable[[Tree], Path]


@pytest.fixture
def here(source: Path, dest: Path, state: Path) -> tuple[str, ...]:
    """A job on this machine, brought as soon as something has changed."""
    return (str(source), str(dest), "--state", str(state), "--settle", "0s")


def wait_until_there(path: Path) -> None:
    wait_for(path.exists, f"{path.name!r} at DEST", 60)


def test_what_changes_is_brought(
    tree: Build, dest: Path, here: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    source = tree({"a": "a"})
    odd = os.fsdecode(b"\xff")
    with watching(*here, "--mirror"):
        wait_until_there(dest / "a")
        (source / "b").write_text("b")
        wait_until_there(dest / "b")
        (source / odd).write_text("no text")  # which the library can't tell
        wait_until_there(dest / odd)
        (source / "c").write_text("c")
        wait_until_there(dest / "c")
        shutil.rmtree(source)  # as what builds a site does
        build_tree(source, {name: name for name in ("a", "b", "c", "d")})
        wait_until_there(dest / "d")
    out, err = capfd.readouterr()
    assert out.startswith(f"reconcile: watching {source} → {dest}\n")
    assert re.search(r"^── \d\d:\d\d:\d\d ──\nreconcile: 1 created, 1 B sent", out, re.MULTILINE)
    assert "problem" not in err
    assert "a bug" not in err


def test_a_run_is_no_reason_for_another(
    tree: Build, dest: Path, here: tuple[str, ...], tmp_path: Path
) -> None:
    """Not by what it writes itself, nor by what the command before it does, nor what is excluded."""
    source = tree({"a": "a", "cache": {"x": "x"}})
    log = tmp_path / "log"
    log.touch()

    def wait_for_quiet() -> int:
        """How many runs there were by the time that there is no more of them for a second."""
        seen = [(0, time.monotonic())]

        def quiet() -> bool:
            count, now = len(log.read_text()), time.monotonic()
            if count != seen[0][0]:
                seen[0] = (count, now)
            return count > 0 and now - seen[0][1] > 1

        wait_for(quiet, "an end of runs", 60)
        return seen[0][0]

    telling = ("--before", f"date >> {source}/stamp", "--after", f"printf . >> {log}")
    with watching(*here, *telling, "--exclude", "cache/", "--events", str(source / "events")):
        before = wait_for_quiet()
        (source / "cache" / "x").write_text("more")
        assert wait_for_quiet() == before
        (source / "b").write_text("b")
        wait_until_there(dest / "b")
        wait_for_quiet()


def test_several_jobs_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of all of them, and DEST of one, lie in what is watched. One that fails stops none."""
    build_tree(tmp_path, {"a": {"x": "x"}, "b": {"y": "y"}})
    (tmp_path / "reconcile.toml").write_text(
        '[jobs.one]\nsource = "a"\ntarget = "./to-a"\n[jobs.gone]\nsource = "none"\ntarget = "./to-none"\n'
        '[jobs.all]\nsource = "."\ntarget = "../all"\nexclude = ["to-*"]\n'
    )
    (tmp_path / "reconcile.toml").chmod(0o644)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    everything = tmp_path.parent / "all"
    with watching("--settle", "0s"):
        wait_until_there(everything / "b" / "y")
        (tmp_path / "a" / "z").write_text("z")
        wait_until_there(tmp_path / "to-a" / "z")
        wait_until_there(everything / "a" / "z")
        (tmp_path / "none").mkdir()
        (tmp_path / "none" / "late").touch()
        wait_until_there(tmp_path / "to-none" / "late")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--json",), "--json is one document"),
        (("--start-over",), "--start-over is meant for one run"),
        (("--every", "0s"), "--every takes a time from 1s on"),
        (("--settle", "soon"), "--settle takes a time"),
    ],
)
def test_what_it_does_not_take(
    args: tuple[str, ...], said: str, here: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        assert main(["watch", *here, *args]) == Exit.USAGE
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert said in "".join(capfd.readouterr())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(number: signal.Signals, tree: Build, dest: Path, here: tuple[str, ...]) -> None:
    tree({"a": "a"})
    command = [sys.executable, "-m", "reconcile", "watch", *here]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_until_there(dest / "a")
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
