"""No more bytes a second than was asked for, on a clock that is told what time it is."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.apply import paced
from reconcile.config import Flags, make_job
from reconcile.core.errors import UsageError
from reconcile.core.job import Options, Stop
from reconcile.pipeline import run
from reconcile.report import Recorder
from tests.support.jobs import JobTo


class Clock:
    """Time goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(paced, "time", clock)
    return clock


class Heard(Recorder):
    """Counts what was sent."""

    total = largest = 0

    def sent(self, count: int, path: str) -> None:  # noqa: ARG002 - as of any reporter
        self.total += count
        self.largest = max(self.largest, count)


def test_what_is_sent_takes_the_time_it_may(clock: Clock) -> None:
    heard = Heard("run")
    slow = paced.pace(heard, 1_000_000.0, Stop())
    for _ in range(100):
        slow.sent(32_768, "film")
    assert heard.total == 3_276_800
    assert clock.now - 1000 == pytest.approx(3.28, abs=0.3)
    clock.now += 3600  # time that was not used is not made up for
    before = clock.now
    for _ in range(100):
        slow.sent(32_768, "film")
    assert clock.now - before == pytest.approx(3.28, abs=0.3)


def test_who_is_asked_to_end_is_not_held_up(clock: Clock) -> None:
    stop = Stop()
    slow = paced.pace(Heard("run"), 10_000.0, stop)
    stop.requested = signal.SIGTERM
    slow.sent(10**9, "film")
    assert clock.now == 1000.0


def test_without_a_limit_nobody_is_between() -> None:
    heard = Heard("run")
    assert paced.pace(heard, None, Stop()) is heard


def test_a_run_is_held_up(source: Path, dest: Path, state: Path, clock: Clock) -> None:
    (source / "film").write_bytes(b"x" * 1_000_000)
    for number in range(20):
        (source / f"f{number}").write_bytes(b"x" * 50_000)
    flags = Flags(str(source), str(dest), state=str(state), limit_rate="500k")
    run(make_job(flags), Recorder("run"))
    assert clock.now - 1000 == pytest.approx(4.0, abs=0.6)
    assert (dest / "film").stat().st_size == 1_000_000


@pytest.mark.parametrize("rate", [40_000, 100_000])
def test_nothing_holds_up_all_else_for_long(
    rate: float, source: Path, job_to: JobTo, clock: Clock, dest: Path, state: Path
) -> None:
    """A lock on the server has to be renewed meanwhile, and answers have to be taken."""
    (source / "film").write_bytes(b"x" * 1_000_000)
    options = Options(limit_rate=rate)
    for job in (job_to(options=options), make_job(Flags(str(source), str(dest), state=str(state)))):
        heard = Heard("run")
        run(replace(job, options=options), heard)
        assert heard.total == 1_000_000
        assert heard.largest == rate / 4
    assert clock.now - 1000 == pytest.approx(2 * 1_000_000 / rate, rel=0.1)


@pytest.mark.parametrize(
    ("typed", "rate"), [("500k", 500_000), ("2M", 2e6), ("1.5m", 1.5e6), ("10000", 10_000)]
)
def test_how_a_rate_is_typed(typed: str, rate: float) -> None:
    assert make_job(Flags("/src", "/a/dest", limit_rate=typed)).options.limit_rate == rate


@pytest.mark.parametrize("typed", ["", "0", "9k", "2 M", "2MB", "-1M", "1e9", "inf", "08:00,2M"])
def test_what_is_no_rate_is_wrong_usage(typed: str) -> None:
    with pytest.raises(UsageError, match="--limit-rate takes"):
        make_job(Flags("/src", "/a/dest", limit_rate=typed))
