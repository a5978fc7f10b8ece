"""What is remembered beside the snapshot: since when a path fails, and the source's device."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from reconcile.core.job import Since
from reconcile.core.model import Problem, Reason, Stage
from reconcile.state import device, trouble
from reconcile.state.small import recall, remember

ODD = "x\n\udcff"


def problem(path: str, stage: Stage = Stage.APPLY) -> Problem:
    return Problem(path, stage, Reason.DENIED, "no")


def silent(message: str) -> None:
    raise AssertionError(message)


def update(folder: Path, paths: Sequence[str], day: str) -> dict[str, Since]:
    return dict(trouble.update(str(folder), map(problem, paths), silent, day=day))


def test_problems_are_counted_from_run_to_run(tmp_path: Path) -> None:
    assert update(tmp_path, [], "2026-11-19") == {}
    assert os.listdir(tmp_path) == []
    assert update(tmp_path, ["a", ODD], "2026-11-20") == dict.fromkeys(["a", ODD], Since("2026-11-20", 1))
    assert update(tmp_path, [ODD, "b"], "2026-11-21") == {
        ODD: Since("2026-11-20", 2),
        "b": Since("2026-11-21", 1),
    }
    assert update(tmp_path, ["a", ODD], "2026-11-22") == {  # a had been well in between
        "a": Since("2026-11-22", 1),
        ODD: Since("2026-11-20", 3),
    }
    assert update(tmp_path, [], "2026-11-23") == {}
    assert os.listdir(tmp_path) == []


def test_stages_are_counted_apart_and_the_longest_is_told(tmp_path: Path) -> None:
    def run(*stages: Stage) -> Since:
        return trouble.update(str(tmp_path), [problem("a", stage) for stage in stages], silent)["a"]

    assert run(Stage.SCAN).runs == 1
    assert run(Stage.APPLY, Stage.SCAN).runs == 2
    assert run(Stage.APPLY).runs == 2


def test_two_problems_of_one_path_are_one_run(tmp_path: Path) -> None:
    assert update(tmp_path, ["a", "a"], "2026-11-20") == {"a": Since("2026-11-20", 1)}


def test_the_file_is_private(tmp_path: Path) -> None:
    update(tmp_path, ["a"], "2026-11-20")
    assert stat.S_IMODE((tmp_path / trouble.NAME).stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == [trouble.NAME]


def test_what_is_damaged_is_forgotten_with_a_note(tmp_path: Path) -> None:
    update(tmp_path, ["a"], "2026-11-20")
    whole = (tmp_path / trouble.NAME).read_bytes()
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for damaged in [*flipped, *(whole[:length] for length in range(len(whole)))]:
        (tmp_path / trouble.NAME).write_bytes(damaged)
        said: list[str] = []
        assert trouble.update(str(tmp_path), [problem("a")], said.append, day="2026-11-21") == {
            "a": Since("2026-11-21", 1)
        }
        assert said == ["the count of earlier problems was damaged; it begins anew"]


@pytest.mark.parametrize(
    "value", [7, {"a": 1}, ["abcd"], [["a"]], [["a", "b", "c", "d"]], [[b"a", "b", "c", 1]]]
)
def test_what_no_run_has_written_is_damaged_too(tmp_path: Path, value: object) -> None:
    remember(str(tmp_path), trouble.NAME, value)
    said: list[str] = []
    trouble.update(str(tmp_path), [], said.append)
    assert len(said) == 1


def test_a_count_that_can_not_be_saved_ends_no_run(tmp_path: Path) -> None:
    said: list[str] = []
    failing = trouble.update(str(tmp_path / "absent"), [problem("a")], said.append, day="2026-11-20")
    assert failing == {"a": Since("2026-11-20", 1)}
    assert said == ["the count of problems can't be saved: No such file or directory"]


def test_a_source_on_another_device(tmp_path: Path) -> None:
    folder, source = str(tmp_path), "/"
    assert not device.is_other_device(folder, source)  # nothing is known yet
    device.remember_device(folder, source)
    assert not device.is_other_device(folder, source)
    assert device.is_other_device(folder, "/dev")
    device.remember_device(folder, "/dev")
    assert device.is_other_device(folder, source)
    assert recall(folder, device.NAME) == os.stat("/dev").st_dev


def test_a_device_that_is_damaged_or_can_not_be_saved_is_unknown(tmp_path: Path) -> None:
    (tmp_path / device.NAME).write_bytes(b"?")
    assert not device.is_other_device(str(tmp_path), "/")
    device.remember_device(str(tmp_path), "/")
    assert not device.is_other_device(str(tmp_path), "/")
    assert device.is_other_device(str(tmp_path), "/dev")
    device.remember_device(str(tmp_path / "absent"), "/")


def test_a_plan_knows_what_has_been_failing(tmp_path: Path) -> None:
    update(tmp_path, ["a", ODD], "2026-11-20")
    update(tmp_path, [ODD], "2026-11-21")
    failing = trouble.recall_failing(str(tmp_path))
    assert failing == {(ODD, Stage.APPLY): Since("2026-11-20", 2)}
    told = trouble.describe_failing({path: since for (path, _), since in failing.items()})
    assert told == r"tried again: x\n\udcff (failing since 2026-11-20, 2 runs)"
    assert "a, b, c and 2 more" in trouble.describe_failing(dict.fromkeys("abcde", Since("2026-11-20", 1)))
