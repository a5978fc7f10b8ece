"""Anything that may happen to a job, in any order: edits, runs, failures, crashes, a third hand.

After each good run the server holds the folder, plus what is retained, excluded or
drifted away; and nothing that a third hand wrote was ever lost.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.faults.conftest import TORTURE
from tests.faults.scenario import Scenario, describe
from tests.support.faults import Fault
from tests.support.trees import Node, read_tree

OLD = 1_600_000_000
GOOD, PROBLEMS, KILLED, UNREACHABLE = 0, 3, -9, 6
EXAMPLES, STEPS = (400, 40) if TORTURE else (6, 18)

NAMES = st.sampled_from(["a", "b", "c", "A", "x.log"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CONTENTS = st.sampled_from(["", "one", "two", "six", "three"])
PATTERNS = st.sampled_from(["", "*.log", "/a", "b/c"])


class Job(RuleBasedStateMachine):
    """One job from its first run on."""

    tally: Counter[str]
    scenario: Scenario  # shared by all examples, as it takes a while to start

    def __init__(self) -> None:
        super().__init__()
        self.clock = OLD
        self.theirs: set[bytes] = set()  # contents that a third hand wrote
        self.mirror = False
        self.pattern = ""

    @initialize()
    def begin(self) -> None:
        scenario = self.scenario
        for path in (scenario.source, scenario.dest, scenario.state):
            shutil.rmtree(path, ignore_errors=True)
        scenario.source.mkdir()
        scenario.outside.mkdir(exist_ok=True)
        scenario.sshd.arm()
        self.run()

    # What the user does to the folder.

    @rule(path=PATHS, content=CONTENTS)
    def write(self, path: str, content: str) -> None:
        if (place := self.room(self.scenario.source, path)) is not None:
            place.write_text(content)
            self.tick(place)

    @rule(path=PATHS)
    def make_folder(self, path: str) -> None:
        if (place := self.room(self.scenario.source, path)) is not None:
            place.mkdir()

    @rule(path=PATHS, content=CONTENTS)
    def make_link(self, path: str, content: str) -> None:
        if (place := self.room(self.scenario.source, path)) is not None:
            place.symlink_to(content or "target")

    @rule(path=PATHS)
    def remove(self, path: str) -> None:
        _remove(self.scenario.source / path)

    @rule(path=PATHS, other=PATHS)
    def rename(self, path: str, other: str) -> None:
        source = self.scenario.source / path
        inside = other.startswith(f"{path}/") or path.startswith(f"{other}/") or other == path
        if inside or not os.path.lexists(source):
            return
        if (place := self.room(self.scenario.source, other)) is not None and os.path.lexists(source):
            source.rename(place)

    @rule(path=PATHS, other=PATHS)
    def swap(self, path: str, other: str) -> None:
        one, two = self.scenario.source / path, self.scenario.source / other
        related = other.startswith(f"{path}/") or path.startswith(f"{other}/") or other == path
        if not related and os.path.lexists(one) and os.path.lexists(two):
            aside = self.scenario.source / "aside"
            one.rename(aside)
            two.rename(one)
            aside.rename(two)

    @rule(path=PATHS)
    def change_mode(self, path: str) -> None:
        place = self.scenario.source / path
        if place.exists() and not place.is_symlink():
            place.chmod(0o700 if place.stat().st_mode & 0o077 else 0o755)

    @rule(mirror=st.booleans())
    def set_mirror(self, mirror: bool) -> None:
        self.mirror = mirror

    @rule(pattern=PATTERNS)
    def exclude(self, pattern: str) -> None:
        self.pattern = pattern

    # What a third hand does on the server.

    @rule(path=PATHS)
    def drift(self, path: str) -> None:
        if not self.scenario.dest.is_dir():
            return
        place = self.scenario.dest / path
        if place.is_symlink() or (place.is_dir() and os.listdir(place)):
            return
        for top in place.relative_to(self.scenario.dest).parents:
            if not (self.scenario.dest / top).is_dir() or (self.scenario.dest / top).is_symlink():
                return
        if place.is_dir():
            place = place / "theirs"
        if place.is_file() and place.read_bytes() in self.theirs:
            return  # that would be the third hand's own loss
        content = f"a third hand's {len(self.theirs)}".encode()
        place.write_bytes(content)
        self.tick(place)
        self.theirs.add(content)

    # Runs.

    @rule()
    def run(self) -> None:
        ran = self.scenario.run(*self.flags)
        assert ran.code == GOOD, describe(ran)
        self.check()
        again = self.scenario.run(*self.flags)
        assert again.code == GOOD, describe(again)
        assert again.counts == {}, describe(again)
        self.tally["runs of the state machine"] += 1

    @rule(at=st.integers(1, 30), when=st.sampled_from(["before", "after"]))
    def crash(self, at: int, when: str) -> None:
        pid_file = str(self.scenario.runner.pid_file)
        self.break_off(Fault("kill", at, when=when, pid_file=pid_file), {KILLED})  # type: ignore[arg-type]

    @rule(at=st.integers(1, 30), when=st.sampled_from(["before", "after"]))
    def lose_the_line(self, at: int, when: str) -> None:
        self.break_off(Fault("cut", at, when=when), {UNREACHABLE})  # type: ignore[arg-type]

    @rule(
        at=st.integers(1, 12),
        kind=st.sampled_from(["RENAME", "OPEN", "WRITE", "MKDIR", "REMOVE", "SYMLINK", "FSETSTAT", "RMDIR"]),
        status=st.sampled_from([3, 4]),
    )
    def fail(self, at: int, kind: str, status: int) -> None:
        self.break_off(Fault("answer", at, kind=kind, status=status), {GOOD, PROBLEMS, UNREACHABLE})

    def break_off(self, fault: Fault, ends: set[int]) -> None:
        """A run that has something to do and meets a fault, or takes too few requests to."""
        self.write("busy", f"at {self.clock}")
        self.scenario.sshd.arm(fault)
        ran = self.scenario.run(*self.flags, "--retries", "0")
        missed = self.scenario.sshd.armed
        self.scenario.sshd.arm()
        assert ran.code in ({GOOD} if missed else ends), describe(ran)
        self.tally["faults of the state machine"] += not missed
        self.scenario.sshd.end_sessions()

    @invariant()
    def nothing_is_lost(self) -> None:
        if self.scenario.dest.is_dir():
            there = {node.content for node in read_tree(self.scenario.dest).values()}
            assert self.theirs <= there, f"LOST of a third hand: {self.theirs - there}"

    # What must hold.

    @property
    def flags(self) -> list[str]:
        flags = ["--mirror", "--allow-mass-delete"] if self.mirror else []
        return [*flags, *(["--exclude", self.pattern] if self.pattern else [])]

    def check(self) -> None:
        """The server holds what the folder does, but where a third hand wrote and nobody looked since."""
        here = {path: node for path, node in read_tree(self.scenario.source).items() if not self.hidden(path)}
        there = read_tree(self.scenario.dest)
        for path, node in here.items():
            found = there.get(path)
            assert found is not None, f"{path} is missing"
            if found.content is None or found.content not in self.theirs:
                assert found == node, f"{path}: here {node}, there {found}"
        if self.mirror:
            left = {path for path in there.keys() - here.keys() if not self.may_stay(path, there)}
            assert not left, f"not deleted: {left}"

    def hidden(self, path: str) -> bool:
        """What the pattern excludes, worked out anew for the few that there are."""
        parts = path.split("/")
        match self.pattern:
            case "*.log":
                return any(part.endswith(".log") for part in parts)
            case "/a":
                return parts[0] == "a"
            case "b/c":
                return parts[:2] == ["b", "c"]
        return False

    def may_stay(self, path: str, there: dict[str, Node]) -> bool:
        """Ours, excluded, a third hand's, or a folder that holds such."""
        if Path(path).parts[0] == ".reconcile" or self.hidden(path) or there[path].content in self.theirs:
            return True
        below = [other for other in there if other.startswith(f"{path}/")]
        return there[path].kind == "dir" and any(self.may_stay(other, there) for other in below)

    def room(self, root: Path, path: str) -> Path | None:
        """Make way for something new at ``path``."""
        place = root / path
        for top in reversed(place.relative_to(root).parents):
            folder = root / top
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                _remove(folder)
            folder.mkdir(exist_ok=True)
        _remove(place)
        return place

    def tick(self, place: Path) -> None:
        """Each write has a time of its own, as people's have."""
        self.clock += 1
        os.utime(place, (self.clock, self.clock))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def test_anything_in_any_order(scenario: Scenario, tally: Counter[str]) -> None:
    class OurJob(Job):
        pass

    OurJob.scenario, OurJob.tally = scenario, tally
    run_state_machine_as_test(
        OurJob,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not TORTURE,
            suppress_health_check=list(HealthCheck),
        ),
    )
