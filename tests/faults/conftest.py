"""Fixtures of the fault tests, and their tally at the end of the report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.faults.runner import Runner
from tests.faults.scenario import Scenario
from tests.support.sshd import start_sshd

TORTURE = os.environ.get("TORTURE") == "1"  # every request, not a sample: see `make torture`
_KEY = "tally"

Tally = Callable[..., None]


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Iterator[Counter[str]]:
    """Count what was tried and what came of it; the sums stand at the end of the report."""
    counts: Counter[str] = Counter()
    yield counts
    record_property(_KEY, dict(counts))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The sums over all tests, whichever worker ran them."""
    total: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") != "teardown":  # earlier ones have not got it yet
                continue
            for key, counts in getattr(report, "user_properties", []):
                if key == _KEY:
                    total.update(counts)
    if total:
        terminalreporter.section("faults")
        for name, count in total.items():
            terminalreporter.write_line(f"{count:7,} {name}")


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Runs that begin at once."""
    with Runner(tmp_path_factory.mktemp("runner")) as runner:
        yield runner


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory, runner: Runner) -> Iterator[Scenario]:
    """The scenario with a server of its own, not yet prepared."""
    folder = tmp_path_factory.mktemp("scenario")
    (folder / "sshd").mkdir()
    with start_sshd(folder / "sshd", with_shim=True) as sshd:
        yield Scenario(folder, sshd, runner)
