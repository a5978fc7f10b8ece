"""Run commands in turns, time them from start of the process to its end, and check what they did."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from tests.benchmarks.stage import Stage
from tests.support.processes import descendants, end_tree

ROOT = Path(__file__).parents[2]
SLOW = 60.0  # seconds; who would need more does a tenth of the work, and no more than that
SLOW_QUICK = 15.0  # the same for the quick works, and a fortieth
GIVE_UP = 1800  # seconds; something hangs
SAMPLING = 0.01  # seconds between two looks at memory


class Failed(Exception):
    """A command ended badly."""


@dataclass(frozen=True)
class Sample:
    """One run. ``cpu`` is of the command and all it waited for, ``server_cpu`` of sshd's sessions."""

    seconds: float
    cpu: float
    server_cpu: float | None = None
    largest: int = 0  # bytes, peak resident size of the largest process


@dataclass(frozen=True)
class Timing:
    """What a contender took. ``scaled``: it did shares of the work; this is what the whole would take."""

    samples: tuple[Sample, ...]
    scaled: bool = False

    @property
    def median(self) -> float:
        """Seconds for the whole work."""
        return statistics.median(sample.seconds for sample in self.samples)

    @property
    def cpu(self) -> float:
        """Seconds of CPU on our side."""
        return statistics.median(sample.cpu for sample in self.samples)

    @property
    def server_cpu(self) -> float | None:
        """Seconds of CPU on the server's side."""
        known = [sample.server_cpu for sample in self.samples if sample.server_cpu is not None]
        return statistics.median(known) if known else None

    @property
    def largest(self) -> int:
        """Bytes, the most that one process held."""
        return max(sample.largest for sample in self.samples)


def _nothing() -> None:
    """Nothing to check or to clear away."""


@dataclass(frozen=True)
class Attempt:
    """One command; what it did is checked, and cleared away, outside the timed section."""

    command: Sequence[str]
    check: Callable[[], None] = _nothing
    clean: Callable[[], None] = _nothing
    scale: float = 1.0  # how many times as much the whole work is


@dataclass(frozen=True)
class Contender:
    """Somebody who does the work. ``prepare`` gets a share: 1 is all of the work, 10 a tenth of it.

    ``slow``: may take longer than a minute, so a share is tried first.
    """

    name: str
    prepare: Callable[[int], Attempt]
    slow: bool = False
    once: bool = False


@dataclass
class Report:
    """Where progress is told; one line that is overwritten, if somebody looks."""

    live: bool = field(default_factory=sys.stderr.isatty)

    def say(self, text: str) -> None:
        """What is being done now."""
        if self.live:
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Make room for output."""
        self.say("")


def compete(stage: Stage, work: str, contenders: Sequence[Contender], runs: int = 0) -> dict[str, Timing]:
    """Let each do the work ``runs`` times (default: the stage's), in turns, so that noise hits all alike."""
    report = Report()
    share, patience = (10, SLOW) if stage.full else (40, SLOW_QUICK)
    samples: dict[str, list[Sample]] = {}
    scaled: dict[str, Timing] = {}
    for turn in range(runs or stage.runs):
        for one in contenders:
            if one.name in scaled or (one.once and turn):
                continue
            report.say(f"{work}: {one.name}, run {turn + 1}")
            if one.slow and not turn:
                whole = _scale_up(_attempt(stage, one, share * 10), _attempt(stage, one, share))
                if whole.seconds > patience:
                    scaled[one.name] = Timing((whole,), scaled=True)
                    continue
            samples.setdefault(one.name, []).append(_attempt(stage, one, 1)[0])
    report.clear()
    timings = {name: Timing(tuple(taken)) for name, taken in samples.items()} | scaled
    return {one.name: timings[one.name] for one in contenders}


def _scale_up(little: tuple[Sample, float], more: tuple[Sample, float]) -> Sample:
    """What all of the work would take, by two shares of it: so what it takes to begin is not multiplied."""
    (a, a_scale), (b, b_scale) = little, more
    factor = (1 - 1 / a_scale) / (1 / b_scale - 1 / a_scale)

    def straight(low: float, high: float) -> float:
        return low + (high - low) * factor

    known = a.server_cpu is not None and b.server_cpu is not None
    return Sample(
        straight(a.seconds, b.seconds),
        straight(a.cpu, b.cpu),
        straight(a.server_cpu or 0, b.server_cpu or 0) if known else None,
        b.largest,
    )


def _attempt(stage: Stage, contender: Contender, share: int) -> tuple[Sample, float]:
    attempt = contender.prepare(share)
    try:
        before = stage.server_cpu()
        sample = time_command(attempt.command, stage.environment)
        after = stage.server_cpu()
        attempt.check()
    finally:
        attempt.clean()
    if before is not None and after is not None:
        sample = replace(sample, server_cpu=after - before)
    return sample, attempt.scale


def time_command(command: Sequence[str], environment: dict[str, str]) -> Sample:
    """Run a command to its end. Raises Failed with what it said if that end is a bad one."""
    began = time.perf_counter()
    with _started(command, environment) as (process, errors):
        _, status, usage = os.wait4(process.pid, 0)
        ended = time.perf_counter()
        process.returncode = os.waitstatus_to_exitcode(status)
        _judge(command, process.returncode, errors)
    unit = 1 if sys.platform == "darwin" else 1024
    return Sample(ended - began, usage.ru_utime + usage.ru_stime, largest=usage.ru_maxrss * unit)


def peak_memory(command: Sequence[str], environment: dict[str, str]) -> int | None:
    """Run a command, untimed; the most that it and all it started held at one moment, in bytes.

    The sum of their proportional set sizes (PSS: what is shared counts in parts),
    looked at every 10 ms. None where the system does not tell it.
    """
    if not Path("/proc/self/smaps_rollup").exists():
        return None
    most = 0
    with _started(command, environment) as (process, errors):
        while process.poll() is None:
            most = max(most, sum(map(_held, [process.pid, *descendants(process.pid)])))
            time.sleep(SAMPLING)
        _judge(command, process.returncode, errors)
    return most


def _held(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass  # it has just ended
    return 0


@contextmanager
def _started(
    command: Sequence[str], environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A running command; ended with all it started if we are interrupted, or if it never ends."""
    errors = Path(environment["HOME"]) / "stderr"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(GIVE_UP)
    try:
        yield process, errors
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        end_tree(process)


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise Failed(f"no end after {GIVE_UP} s")


def _judge(command: Sequence[str], code: int, errors: Path) -> None:
    if code != 0:
        said = errors.read_text(errors="backslashreplace").strip()[-2000:]
        raise Failed(f"exit code {code} of {' '.join(command)}\n{said}")
