"""An update between a run that broke off and the next: what an earlier version left is brought to its end."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from reconcile.state.store import job_folder
from tests.faults.scenario import MIRROR, Scenario
from tests.golden.make_interrupted import FOREIGN, LEFT
from tests.golden.make_snapshot import sealed, unsealed


@pytest.fixture(params=LEFT, ids=[path.name.partition(".")[0] for path in LEFT])
def interrupted(scenario: Scenario, request: pytest.FixtureRequest) -> Scenario:
    """The job as it was left, as if it had always been between these two folders."""
    scenario.build()
    shutil.rmtree(scenario.source)
    with tarfile.open(request.param) as archive:
        archive.extractall(scenario.folder, filter="tar")
    [state] = scenario.state.iterdir()
    _move(state / "snapshot", scenario)
    target = scenario.sshd.endpoint.target(scenario.dest)
    state.rename(job_folder(str(scenario.state), str(scenario.source), target))
    return scenario


def _move(snapshot: Path, scenario: Scenario) -> None:
    """Give a snapshot other ends, and leave all else in it as it is, its format too."""
    version, (header, directories) = unsealed(snapshot.read_bytes())
    header |= {"source": str(scenario.source), "target": str(scenario.sshd.endpoint.target(scenario.dest))}
    snapshot.write_bytes(sealed([header, directories], version))


def test_the_next_run_goes_on_as_its_plan_foresees(
    interrupted: Scenario, request: pytest.FixtureRequest
) -> None:
    planned = interrupted.runner.run(*interrupted.arguments("plan", *MIRROR))
    assert any("interrupted" in note["message"] for note in planned.document["notes"])
    ran = interrupted.run_well(*MIRROR)
    assert planned.counts == ran.counts
    foreign = frozenset([FOREIGN] if "drifted" in request.node.name else [])
    interrupted.check(foreign)
    assert interrupted.run_well(*MIRROR).counts == {}
    interrupted.check(foreign)
