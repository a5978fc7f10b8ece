"""What others get: the name to install it by, the versions it says to work with, and the sdist."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_distribution_has_a_name_of_its_own_and_the_command_its_short_one() -> None:
    assert PROJECT["project"]["name"] == "reconcile-sftp"
    assert PROJECT["project"]["scripts"].keys() == {"reconcile"}


def test_a_paramiko_to_come_is_not_taken_unseen() -> None:
    (paramiko,) = (line for line in PROJECT["project"]["dependencies"] if line.startswith("paramiko"))
    assert re.fullmatch(r"paramiko>=[\d.]+,<6", paramiko)


def test_the_lowest_versions_are_those_declared() -> None:
    lowest = subprocess.run(
        [sys.executable, ROOT / ".ci" / "lowest"], capture_output=True, text=True, check=True
    )
    declared = PROJECT["project"]["dependencies"]
    assert [line.replace("==", ">=") for line in lowest.stdout.split()] == [
        line.partition(",")[0] for line in declared
    ]


@pytest.mark.parametrize("file", ["Makefile", ".ci/run", ".ci/legs"])
def test_what_the_workflow_calls_is_in_the_sdist(file: str) -> None:
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for name in [file, *re.findall(r"(?<![\w/$}])(?:\.ci|tests)/[\w./-]+", (ROOT / file).read_text())]:
        assert (ROOT / name).exists(), name
        assert any(f"/{name}".startswith(each) for each in included), name
