"""The power fails, or the disk does, while we write what we know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from reconcile.core.errors import Refused
from reconcile.core.model import Action, DirectorySnapshot, Entry, Kind, Op, Outcome, Stamp
from reconcile.remotes.ssh.target import SshTarget
from reconcile.state import journal as journals
from reconcile.state import private, store
from reconcile.state.journal import begin_journal, read_journal
from reconcile.state.rows import pack_directory
from reconcile.state.store import read_snapshot, save_snapshot
from reconcile.state.unfinished import discard_journal
from tests.faults.disk import Recorder, power_cuts

TARGET = SshTarget("host", "/dest", "user", 22)
NS = 10**9


def make_entry(number: int) -> Entry:
    stamp = Stamp(number + 1, number, number * NS, number * NS, 0o100644)
    return Entry(Kind.FILE, 0o644, number, number * NS, bytes([number % 256]) * 16, None, stamp=stamp)


def make_snapshot(serial: int, count: int) -> DirectorySnapshot:
    entries = {f"f{n:03}": make_entry(n) for n in range(count)}
    dirs = {"": pack_directory(entries)}
    return DirectorySnapshot(dirs, "lineage", serial, "/source", str(TARGET), serial * NS)


def make_actions(count: int) -> list[Action]:
    return [Action(Op.CREATE, f"new{n}", make_entry(n), reason="new") for n in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state folder with a snapshot in it."""
    folder = tmp_path / "job"
    save_snapshot(str(folder), make_snapshot(1, 5))
    return folder


def load(folder: Path) -> tuple[int, dict[str, Entry]]:
    snapshot = read_snapshot(str(folder), "/source", TARGET)
    assert snapshot is not None
    return snapshot.serial, dict(snapshot.walk())


def test_at_every_step(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Counter[str]
) -> None:
    actions = make_actions(7)
    outcomes = [Outcome(action, {action.path: action.new}) for action in actions[:5]]
    recorder = Recorder(str(folder))
    with monkeypatch.context() as patch:
        recorder.watch(patch, store, journals, private)
        journal = begin_journal(str(folder), "lineage", 1, 0, [actions[:2], actions[2:]])
        recorder.mark("journaled")
        for outcome in outcomes:
            journal.record(outcome)
        journal.close()
        recorder.mark("applied")
        save_snapshot(str(folder), make_snapshot(2, 9))
        recorder.mark("saved")
        discard_journal(str(folder))
        recorder.mark("end")

    before, after = ((n, dict(make_snapshot(n, count).walk())) for n, count in ((1, 5), (2, 9)))
    replayed: dict[frozenset[tuple[str, bytes]], int] = {}
    for count, files in power_cuts(recorder.steps):
        if count < recorder.index("begin"):
            continue
        tally["power cuts"] += 1
        state = frozenset(files.items())
        place = tmp_path / f"cut{len(replayed)}"
        if state not in replayed:
            replayed[state] = len(replayed)
            place.mkdir()
            for name, data in files.items():
                (place / name).write_bytes(data)
        place = tmp_path / f"cut{replayed[state]}"
        found = load(place)
        assert found in (before, after)
        assert found == before or count > recorder.index("applied")
        assert found == after or count < recorder.index("saved")
        leftover = read_journal(str(place))
        if leftover is not None:
            assert leftover.actions == actions
            assert list(leftover.outcomes) == outcomes[: len(leftover.outcomes)]
        elif recorder.index("journaled") <= count:
            assert found == after, "neither the intent nor the result is known"
    assert len(replayed) > 10


def test_the_first_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    recorder = Recorder(str(folder))
    with monkeypatch.context() as patch:
        recorder.watch(patch, store, private)
        save_snapshot(str(folder), make_snapshot(1, 5))
        recorder.mark("saved")
    for number, (count, files) in enumerate(power_cuts(recorder.steps)):
        place = tmp_path / str(number)
        place.mkdir()
        for name, data in files.items():
            (place / name).write_bytes(data)
        found = read_snapshot(str(place), "/source", TARGET)
        assert found is None or found.serial == 1
        assert found is not None or count < recorder.index("saved")


def damages(data: bytes) -> Sequence[bytes]:
    """Every byte wrong, and every length too short."""
    flipped = [
        data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
        for at in range(len(data))
        for bit in (1, 0x80, 0xFF)
    ]
    return [*flipped, *(data[:length] for length in range(len(data)))]


def test_every_damage_to_the_snapshot_is_refused(folder: Path, tally: Counter[str]) -> None:
    path = folder / "snapshot"
    for damaged in damages(path.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(Refused, match="Nothing was done"):
            load(folder)
        tally["damages to snapshot and journal"] += 1


def test_every_damage_to_the_journal_is_refused_or_cuts_its_tail(folder: Path, tally: Counter[str]) -> None:
    actions = make_actions(3)
    outcomes = [Outcome(action, {action.path: action.new}) for action in actions]
    journal = begin_journal(str(folder), "lineage", 1, 0, [actions[:2], actions[2:]])
    path = folder / "journal"
    intent = path.stat().st_size
    for outcome in outcomes:
        journal.record(outcome)
    journal.close()
    whole = path.read_bytes()
    assert intent < len(whole)
    for damaged in damages(whole):
        path.write_bytes(damaged)
        tally["damages to snapshot and journal"] += 1
        if damaged[:intent] != whole[:intent]:
            with pytest.raises(Refused, match="Nothing was done"):
                read_journal(str(folder))
        else:
            leftover = read_journal(str(folder))
            assert leftover is not None
            assert leftover.actions == actions
            assert list(leftover.outcomes) == outcomes[: len(leftover.outcomes)]
            assert len(leftover.outcomes) < 3
