"""Runs of one job on several machines at once, each with a state of its own: of ``--lock remote``."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.faults.conftest import TORTURE
from tests.faults.runner import Runner
from tests.support.faults import Fault
from tests.support.processes import wait_for
from tests.support.sshd import Sshd, start_sshd
from tests.support.trees import File, Node, Tree, build_tree, read_tree

Running = subprocess.Popen[str]
ROOT = str(Path(__file__).parents[2])
OK, REFUSED, LOCKED = 0, 4, 5
TIMES = 1000 if TORTURE else 1

# The same program, for which five minutes are a few seconds.
HASTY = """
import sys
from reconcile.core import turns
turns.EXPIRY, turns.COARSE, turns.RENEWAL, turns.LATE = 2, 2, 0.3, 0.7
from reconcile.cli import main
sys.exit(main(sys.argv[1:]))
"""


# As it is, and how long it took once Python had begun.
USUAL = """
import sys, time
from reconcile.cli import main
began = time.monotonic()
code = main(sys.argv[1:])
print(f"took {time.monotonic() - began:.3f} s")
sys.exit(code)
"""


class Machine:
    """One with a folder and a state of its own."""

    def __init__(self, sshd: Sshd, folder: Path, name: str, dest: Path, running: list[Running]) -> None:
        self.source, self.state = folder / name, folder / f"state-{name}"
        self.source.mkdir()
        self._running = running
        place = [sshd.url(dest), *sshd.endpoint.flags()]
        self.job = [str(self.source), *place, "--state", str(self.state), "--lock", "remote"]

    def start(self, *flags: str, code: str = HASTY) -> Running:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "run", *self.job, "--adopt-existing", *flags],
            env=os.environ | {"PYTHONPATH": ROOT, "CI_JOB_URL": f"https://ci/{self.source.name}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._running.append(process)
        return process

    def saved(self) -> bytes:
        """What it believes that DEST holds."""
        (snapshot,) = self.state.glob("*/snapshot")
        return snapshot.read_bytes()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    (tmp_path / "sshd").mkdir()
    with start_sshd(tmp_path / "sshd", with_shim=True) as sshd:
        yield sshd


@pytest.fixture
def machines(sshd: Sshd, tmp_path: Path, dest: Path) -> Iterator[Sequence[Machine]]:
    """Two of them. What they still have at work at the end is ended."""
    running: list[Running] = []
    yield [Machine(sshd, tmp_path, name, dest, running) for name in ("one", "two")]
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


def end(process: Running) -> tuple[int, str]:
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def shown(dest: Path) -> dict[str, Node]:
    """What visitors see."""
    tops = [path for path in dest.iterdir() if path.name != ".reconcile"]
    inner = {
        f"{top.name}/{path}": node for top in tops if top.is_dir() for path, node in read_tree(top).items()
    }
    return inner | {top.name: Node("file", content=top.read_bytes()) for top in tops if top.is_file()}


def is_sending(dest: Path, files: int = 5) -> bool:
    """Whether a run has the lock, and has begun to bring so many files."""
    ours = dest / ".reconcile"
    return any(ours.glob("store/*.lock-*/value")) and len([*ours.glob("*/*/staging/*")]) >= files


def test_started_at_once(
    sshd: Sshd, machines: Sequence[Machine], dest: Path, runner: Runner, tally: Counter[str]
) -> None:
    """One works, and the other says who that is, and has done nothing."""
    for number in range(TIMES):
        content: Tree = {f"f{number}-{n}": File(f"content {n} of {number}") for n in range(5)}
        for machine in machines:
            build_tree(machine.source, content)
        sshd.arm(*(Fault("slow", delay=0.01) for _ in machines))
        ended = [end(process) for process in [machine.start(code=USUAL) for machine in machines]]
        assert sorted(code for code, _ in ended) == [OK, LOCKED], ended
        loser = [code for code, _ in ended].index(LOCKED)
        winner = machines[1 - loser].source.name
        assert f"https://ci/{winner}" in ended[loser][1]
        assert "Nothing was done" in ended[loser][1]
        took = re.search(r"took ([0-9.]+) s", ended[loser][1])
        assert took is not None
        tally[f"of two machines at once the one that may not: within {_bound(float(took[1]))}"] += 1
        ran = runner.run("run", *machines[loser].job, "--adopt-existing")
        assert ran.code == OK, ran
        tally["two machines at once"] += 1
    assert shown(dest).keys() == read_tree(machines[0].source).keys()


def _bound(seconds: float) -> str:
    """Told, and not demanded: machines differ."""
    return next((f"{most} s" for most in (0.5, 1, 2) if seconds < most), "longer")


def test_one_that_was_killed_is_taken_over(
    sshd: Sshd, machines: Sequence[Machine], dest: Path, runner: Runner
) -> None:
    """After its lock has expired; what it had brought is not brought again, nor lost."""
    one, two = machines
    for machine in (one, two):
        build_tree(
            machine.source, {f"f{n}": File(f"content {n}", mtime=1_000_000_000 + n) for n in range(40)}
        )
    sshd.arm(Fault("slow", delay=0.02))
    process = one.start()
    wait_for(lambda: is_sending(dest), "files")
    process.kill()
    assert end(process)[0] == -signal.SIGKILL
    _forget_the_process(dest)
    code, said = end(two.start("--wait", "30"))
    assert code == OK, said
    assert "whose run has died: it is taken over" in said
    assert shown(dest).keys() == read_tree(two.source).keys()
    assert runner.run("run", *one.job).code == OK


def _forget_the_process(dest: Path) -> None:
    """As if it had been on another machine."""
    for lock in (dest / ".reconcile/store").glob("job-default.lock-*/value"):
        lock.write_text(lock.read_text().replace('"id":"', '"id":"elsewhere-'))


def test_one_that_was_halted_while_another_worked_does_nothing_more(
    sshd: Sshd, machines: Sequence[Machine], dest: Path, runner: Runner
) -> None:
    one, two = machines
    build_tree(one.source, {"f0": "old", "gone": "1", "a": {"b": "2"}})
    assert runner.run("run", *one.job, "--mirror").code == OK
    build_tree(one.source, {**{f"f{n}": File(f"of one {n}") for n in range(60)}, "new": {"deep": {}}})
    (one.source / "gone").unlink()
    build_tree(two.source, {f"f{n}": File(f"of two, {n}") for n in range(10)})
    sshd.arm(Fault("slow", delay=0.02))
    process = one.start("--mirror")
    wait_for(lambda: is_sending(dest), "files")
    process.send_signal(signal.SIGSTOP)
    saved = one.saved()
    code, said = end(two.start("--wait", "30"))
    assert code == OK, said
    there = shown(dest)
    process.send_signal(signal.SIGCONT)
    code, said = end(process)
    assert code == LOCKED, said
    assert "no longer ours" in said
    assert shown(dest) == there
    assert one.saved() == saved
    ran = runner.run("run", *one.job, "--mirror")  # its own turn, and all converges
    assert ran.code == OK, ran
    assert (dest / "f5").read_text() == "of one 5"


def test_unlock(sshd: Sshd, machines: Sequence[Machine], dest: Path, runner: Runner) -> None:
    """Who holds it is told, with what takes it away; a run that is alive then stops."""
    one, _ = machines

    def unlock(*arguments: str) -> tuple[int, str]:
        ran = runner.run("unlock", *arguments)
        return ran.code, ran.out + ran.err

    place = [sshd.url(dest), *sshd.endpoint.flags()]
    assert unlock(*place) == (OK, "nobody holds the lock of job 'default' on the server\n")
    build_tree(one.source, {"large": File(bytes(40_000_000))})
    process = one.start("--limit-rate", "1M", code=HASTY.replace("0.7", "60"))  # it takes 40 s
    wait_for(lambda: is_sending(dest, 1), "files")
    code, said = unlock(*place)
    assert code == LOCKED
    assert f"process {process.pid} on {os.uname().nodename}, since 2" in said
    assert "https://ci/one; renewed " in said
    command = said.splitlines()[-1].removeprefix("if that run is dead: ")
    words = shlex.split(command)
    assert words[:2] == ["reconcile", "unlock"]
    code, said = unlock(*words[2:-1], "another")
    assert code == REFUSED
    assert f"held by process {process.pid}" in said
    assert unlock(*place, "--job", "other")[0] == OK
    assert process.poll() is None
    code, said = unlock(*words[2:])
    assert (code, said[:45]) == (OK, "the lock of job 'default' was taken from proc")
    code, said = end(process)
    assert code == LOCKED, said
    assert "'reconcile unlock' was called" in said
    assert shown(dest) == {}
    assert runner.run("run", *one.job).code == OK
    assert shown(dest).keys() == {"large"}
