"""A third hand puts a link where we hold a directory: nothing is ever written where it leads."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import TORTURE
from tests.faults.failures import Failures
from tests.faults.scenario import MIRROR, Scenario, describe
from tests.support.trees import read_tree

POSITIONS = [
    *("modify", "move", "folders", "folders/d1", "folders/d2", "folders/d2/inner", "logs", "swap", "swap/D0"),
    *("type", "type/dir-file", "type/dir-file/deep", "type/dir-link", "delete", "delete/tree0"),
    *("delete/tree1/sub", "over", "keep", "keep/folder", "meta", "meta/dir", "links", "empty", "empty/e0"),
    *("empty/e1", "odd", ".reconcile", ".reconcile/LINEAGE"),
]


@pytest.fixture(scope="module")
def ready(scenario: Scenario) -> Scenario:
    scenario.prepare()
    return scenario


@pytest.mark.parametrize("part", range(4))
def test_in_every_parent_position(ready: Scenario, tally: Counter[str], part: int) -> None:
    failures = Failures(tally)
    for position in POSITIONS[part :: 4 if TORTURE else 12]:
        failures.attempt(position, lambda position=position: attempt(ready, position))  # type: ignore[misc]
        tally["planted links"] += 1
    failures.demand_none()


def attempt(scenario: Scenario, position: str) -> None:
    scenario.restore()
    shutil.rmtree(scenario.outside)
    scenario.outside.mkdir()
    (lineage,) = os.listdir(scenario.dest / ".reconcile")
    planted = scenario.dest / position.replace("LINEAGE", lineage)
    elsewhere = scenario.outside / "elsewhere"
    planted.rename(elsewhere)
    planted.symlink_to(elsewhere)
    before = look(scenario.outside)
    for _ in range(2):
        ran = scenario.run(*MIRROR)
        assert look(scenario.outside) == before, "WRITTEN outside of DEST"
        assert ran.code in (0, 3, 4), describe(ran)
        assert "bug in reconcile" not in ran.out, describe(ran)


def look(folder: Path) -> object:
    """All there is, with its times: a file that was touched counts as written."""
    times = {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*") if not path.is_symlink()}
    return read_tree(folder), times
