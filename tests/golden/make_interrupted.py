"""Write jobs that broke off in the middle, by the present code: ``python -m tests.golden.make_interrupted``.

One archive for each place to break off: source, what the server holds, and the state with its journal, all
of the present format. None that is there is ever overwritten: whoever updates in the middle of a run
has such a state.
"""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from reconcile.state.journal import FORMAT, PLAIN, read_journal
from tests.faults.runner import Runner
from tests.faults.scenario import MIRROR, OLD, Scenario, describe
from tests.support.faults import Fault
from tests.support.sshd import start_sshd
from tests.support.trees import File, Link, Tree, build_tree

HERE = Path(__file__).parent
LEFT = sorted(HERE.glob("interrupted-v*.tar.xz"))  # of every format
PARTS = ("source", "dest", "state")
KILLED, UNREACHABLE = -9, 6

PARKS = 8  # what makes way for others
# Where each breaks off. A request that holds ``parked/`` goes to a parking place or comes from there.
BREAKS: Mapping[str, Fault] = {
    "before-all": Fault("kill", 1, kind="RENAME", path="parked/"),
    "aside": Fault("kill", 4, kind="RENAME", path="parked/", when="after"),
    "all-aside": Fault("kill", PARKS, kind="RENAME", path="parked/", when="after"),
    "half-home": Fault("kill", PARKS + PARKS // 2, kind="RENAME", path="parked/", when="after"),
    "nearly-home": Fault("kill", 2 * PARKS, kind="RENAME", path="parked/"),
    "moved": Fault("kill", 1, kind="RENAME", path="moved/w2", when="after"),
    "sending": Fault("kill", 3, kind="WRITE"),
    "replacing": Fault("kill", 2, kind="posix-rename@openssh.com", path="staging", when="after"),
    "deleting": Fault("kill", 2, kind="RENAME", path="trash/", when="after"),
    "deleting-more": Fault("kill", 7, kind="RENAME", path="trash/"),
    "purging": Fault("kill", 1, kind="REMOVE", path="trash/"),
    "cut": Fault("cut", 2, kind="WRITE"),
    "drifted": Fault("kill", 7, kind="RENAME", path="trash/"),
}
# The same of a run that publishes nothing before all is there. What it writes down is of a format of its own.
AT_END: Mapping[str, Fault] = {
    "staging": Fault("kill", 5, kind="WRITE"),
    "let-go": Fault("kill", 2, kind="posix-rename@openssh.com", path="staging", when="after"),
}
FOREIGN = b"somebody else's"  # in the place of a file, in the one that drifted


def before() -> Tree:
    """What is on both sides before the edits."""
    return {
        "same": {"a": File("stays", mtime=OLD), "b": {}},
        "modify": {f"m{n}": File(f"modify {n}", mtime=OLD) for n in range(4)},
        "move": {f"v{n}": File(f"move {n}" * (n + 1), mtime=OLD) for n in range(4)},
        "logs": {"log": File("day 0", mtime=OLD)}
        | {f"log.{n}": File(f"day {n}", mtime=OLD) for n in range(1, 4)},
        "swap": {
            **{f"s{n}": File(f"swap {n}", mtime=OLD) for n in range(4)},
            **{
                f"d{n}": {f"in{n}": File(f"{n}", mtime=OLD), "deep": {f"er{n}": File(f"{n} {n}", mtime=OLD)}}
                for n in (0, 1)
            },
            **{f"l{n}": Link(f"to {n}") for n in (0, 1)},
        },
        "folder": {"in": File("in a folder", mtime=OLD), "sub": {"leaf": File("leaf", mtime=OLD)}},
        "over": {f"o{n}": File(f"over {n}", mtime=OLD) for n in range(2)},
        "delete": {
            **{f"x{n}": File(f"delete {n}", mtime=OLD) for n in range(3)},
            "tree": {"t": File("t", mtime=OLD), "sub": {"u": File("u", mtime=OLD)}},
        },
        "meta": {"mode": File("mode", mtime=OLD), "time": File("time", mtime=OLD), "dir": {}},
        "type": {"was-file": File("a file", mtime=OLD), "was-dir": {"x": File("x", mtime=OLD)}},
        "kept": {"k": File("kept", mtime=OLD)},
        "odd": {b"odd \xff\n": File("odd", mtime=OLD)},
        "link": Link("same/a"),
    }


def edit(root: Path) -> None:
    """From there on: something of every sort of action, and of parking places each sort of use."""
    for n in range(4):
        build_tree(root, {"modify": {f"m{n}": File(f"modified {n}" * 2, mtime=OLD + 100)}})
    (root / "moved").mkdir()
    for n in range(4):
        (root / f"move/v{n}").rename(root / f"moved/w{n}")
    for n in (3, 2, 1):
        (root / (f"logs/log.{n - 1}" if n > 1 else "logs/log")).replace(root / f"logs/log.{n}")
    build_tree(root, {"logs": {"log": File("a new day", mtime=OLD + 100)}})
    for one, two in (("s0", "s1"), ("s2", "s3"), ("d0", "d1"), ("l0", "l1")):
        (root / "swap" / one).rename(root / "aside")
        (root / "swap" / two).rename(root / "swap" / one)
        (root / "aside").rename(root / "swap" / two)
    (root / "folder").rename(root / "moved/folder")
    (root / "over/o0").replace(root / "over/o1")
    for n in range(3):
        (root / f"delete/x{n}").unlink()
    shutil.rmtree(root / "delete/tree")
    (root / "meta/mode").chmod(0o600)
    (root / "meta/dir").chmod(0o700)
    os.utime(root / "meta/time", (OLD + 50, OLD + 50))
    (root / "type/was-file").unlink()
    shutil.rmtree(root / "type/was-dir")
    (root / "link").unlink()
    build_tree(
        root,
        {
            "type": {"was-file": {"in": File("in", mtime=OLD)}, "was-dir": File("no more", mtime=OLD)},
            "new": {f"n{n}": File(f"new {n}" * 99, mtime=OLD + n) for n in range(4)} | {"dir": {"none": {}}},
            "large": File(bytes(range(256)) * 600, mtime=OLD),
            "odd": {b"new \xfe": Link(b"\xfd")},
            "link": Link("same/b"),
        },
    )


def write(scenario: Scenario, version: int, name: str, fault: Fault) -> None:
    """Break a run off, and keep what it leaves."""
    scenario.restore()
    if name == "drifted":
        (scenario.dest / "modify/m3").write_bytes(FOREIGN)
    scenario.sshd.arm(replace(fault, pid_file=str(scenario.runner.pid_file)))
    publish = "end" if name in AT_END else "each"
    ran = scenario.run(*MIRROR, "--retries", "0", "--on-drift", "skip", "--publish", publish)
    assert ran.code == (UNREACHABLE if fault.do == "cut" else KILLED), f"{name}: {describe(ran)}"
    assert not scenario.sshd.armed, name
    scenario.sshd.end_sessions()
    [state] = scenario.state.iterdir()
    leftover = read_journal(str(state))
    assert leftover is not None, name
    done = sum(outcome.done for outcome in leftover.outcomes)
    failed, planned = len(leftover.outcomes) - done, len(leftover.actions)
    sys.stdout.write(
        f"{name}: of {planned} {done} are done, {failed} failed, {len(leftover.open)} are open\n"
    )
    with tarfile.open(HERE / f"interrupted-v{version}-{name}.tar.xz", "x:xz") as archive:
        for part in PARTS:
            archive.add(scenario.folder / part, part, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if member.name.endswith("/lock") or not (member.isfile() or member.isdir() or member.issym()):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def main() -> None:
    """Write all of them, unless there are some."""
    wanted = {PLAIN: BREAKS, FORMAT: AT_END}
    wanted = {version: b for version, b in wanted.items() if not list(HERE.glob(f"interrupted-v{version}-*"))}
    if not wanted:
        sys.exit("there are some of these formats, and they stay: a changed one needs a new version number")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sshd").mkdir()
        (folder / "runner").mkdir()
        with start_sshd(folder / "sshd", with_shim=True) as sshd, Runner(folder / "runner") as runner:
            scenario = Scenario(folder, sshd, runner)
            scenario.build()
            shutil.rmtree(scenario.source)
            build_tree(scenario.source, before())
            scenario.run_well()
            shutil.rmtree(scenario.source / "kept")  # retained, as this one is no mirror
            scenario.run_well()
            for part in PARTS[1:]:
                shutil.copytree(folder / part, scenario.saved / part, symlinks=True)
            edit(scenario.source)
            for version, breaks in wanted.items():
                for each, fault in breaks.items():
                    write(scenario, version, each, fault)


if __name__ == "__main__":
    main()
