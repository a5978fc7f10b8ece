"""What became of each run of a job: a line for each, which later ones never change.

Two files of lines of JSON, each with the version of its form. ``history`` has a line for every run, and
``actions`` one for each that did something, with all it did up to a limit. Once a file is long it becomes
``NAME.1``, in the place of the one before, and a new one is begun. Like all small things here it is nothing
that a run relies on: what can't be written is lost, what can't be read is passed over.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType

from msgspec import Struct, ValidationError, convert, to_builtins
from msgspec.json import encode
from msgspec.structs import replace

from reconcile.core.job import Ending, Result
from reconcile.core.model import Action, Kind, Op
from reconcile.state.private import open_ours

VERSION = 1
RUNS, ACTIONS = "history", "actions"
LIMITS = {RUNS: 1_000_000, ACTIONS: 4_000_000}  # bytes: a longer file is put aside
MOST = 10_000  # actions of one run that are kept
PROBLEMS = 20  # of one run
_BEFORE = ".1"  # what was put aside
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT
_PATIENCE = 1.0  # seconds for another run that writes just now
_PAUSE = 0.01  # seconds between two looks whether it has done so
_ENOUGH = 16_384  # bytes, from the end, in which a line begins: hardly one is longer
_NONE: Mapping[str, int] = MappingProxyType({})


class Run(Struct, frozen=True, omit_defaults=True):
    """One of them. Bytes are of contents."""

    n: int  # they are counted from 1
    began: float  # seconds since the epoch
    seconds: float
    status: str
    exit_code: int
    v: int = 0
    counts: Mapping[str, int] = _NONE  # by Op, if not 0
    entries: Mapping[str, int] = _NONE  # the same, with all that is in directories
    sent: int = 0
    avoided: int = 0
    found: int = 0  # entries in SRC; 0: it was not looked at
    kept: int = 0  # gone here, and kept there
    problems: int = 0
    paths: Sequence[tuple[str, str]] = ()  # of the first problems: path, message
    message: str = ""  # why it broke off
    source: str = ""
    target: str = ""
    undid: bool = False  # it took back what another had done
    of: str = ""  # lineage of the state that it went on from
    serials: tuple[int, int] = (0, 0)  # of that, and of what it has left
    by: str = ""  # the machine that made it, or where a CI shows it; "": this one


class Deed(Struct, frozen=True, omit_defaults=True):
    """One action, for people."""

    op: Op
    path: str
    origin: str = ""  # where it moved from
    is_dir: bool = False
    size: int = 0  # bytes that were sent
    entries: int = 1


def note_run(folder: str, ending: Ending) -> None:
    """Add a run, unless its job has left no folder: then there is nothing yet to have a history. Never fails.

    May be called out of a signal's handler.
    """
    with suppress(OSError), _alone(folder):
        runs = os.path.join(folder, RUNS)
        run = replace(describe(ending.result, ending.status, ending.exit_code), message=ending.message)
        run = replace(run, n=_last_number(runs) + 1)
        _append(runs, run)
        if done := ending.result.done:
            deeds = [_deed(action) for action in done[:MOST]]
            left = len(done) - len(deeds)
            _append(os.path.join(folder, ACTIONS), {"n": run.n, "v": VERSION, "left": left, "done": deeds})


def read_runs(folder: str) -> list[Run]:
    """All that are known, the oldest first. What is damaged, or of a later version, is passed over."""
    import json  # late, as elsewhere here: no run reads any, and most have something better to do

    runs = []
    for line in _read_lines(folder, RUNS):
        with suppress(ValueError, ValidationError):
            run = convert(json.loads(line), Run)
            if run.v == VERSION:
                runs.append(run)
    return runs


def read_deeds(folder: str, number: int) -> tuple[list[Deed], int] | None:
    """What one run did, and how many more it did than were noted; None: not kept (any more)."""
    import json

    start = f'{{"n":{number},'.encode()
    for line in _read_lines(folder, ACTIONS):
        if line.startswith(start):
            with suppress(ValueError, ValidationError, LookupError, TypeError):
                body = json.loads(line)
                if body["v"] == VERSION:
                    return convert(body["done"], list[Deed]), int(body["left"])
    return None


def describe(result: Result, status: str, exit_code: int) -> Run:
    """What became of a run, as yet without a number."""
    done = result.done
    counts: dict[Op, int] = dict.fromkeys(Op, 0)
    entries = dict(counts)
    made: set[str] = set()
    sent = 0
    for action in done:
        op = action.op
        if op is Op.SETMETA and action.path in made:  # once a directory is filled: it counts as made
            continue
        if op is Op.MKDIR:
            made.add(action.path)
        counts[op] += 1
        entries[op] += action.entries
        sent += action.bytes
    return Run(
        n=0,
        v=VERSION,
        began=round(time.time() - result.duration_s, 3),
        seconds=round(result.duration_s, 3),
        status=status,
        exit_code=exit_code,
        counts=_by_name(counts),
        entries=_by_name(entries) if entries != counts else _NONE,
        sent=sent,
        avoided=result.plan.bytes_avoided,
        found=result.entries,
        kept=result.kept,
        problems=len(result.problems),
        paths=[(problem.path, problem.message) for problem in result.problems[:PROBLEMS]],
        source=result.source,
        target=result.target,
        undid=result.undoes,
        of=result.footing[0],
        serials=(result.footing[1], result.saved),
    )


def _by_name(counts: Mapping[Op, int]) -> Mapping[str, int]:
    return {op.value: count for op, count in counts.items() if count}


def _deed(action: Action) -> Deed:
    return Deed(
        action.op, action.path, action.origin or "", action.kind is Kind.DIR, action.bytes, action.entries
    )


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """While no other run writes here, but for one that is halted. Raises OSError if there is no folder."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        give_up = time.monotonic() + _PATIENCE
        while time.monotonic() < give_up:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_PAUSE)
            except OSError:  # there are none on this file system
                break
            else:
                break
        yield
    finally:
        os.close(fd)


def _last_number(path: str) -> int:
    """Of the last run; 0 if there is none."""
    for name in (path, path + _BEFORE):
        with suppress(OSError), open(open_ours(name), "rb") as file:
            end = file.seek(0, os.SEEK_END)
            for size in (_ENOUGH, end):
                file.seek(max(end - size, 0))
                if numbers := re.findall(rb'^{"n":([0-9]{1,15}),', file.read(), re.MULTILINE):
                    return int(numbers[-1])
    return 0


def _append(path: str, body: object) -> None:
    """A line more; if a full disk has torn the last one, after its end. Raises OSError."""
    line = _encode(body) + b"\n"
    fd = open_ours(path, _APPEND)
    try:
        if (size := os.fstat(fd).st_size) > LIMITS[os.path.basename(path)]:
            os.replace(path, path + _BEFORE)
            os.close(fd)
            fd, size = open_ours(path, _APPEND), 0
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        os.write(fd, b"\n" + line if torn else line)
    finally:
        os.close(fd)


def _encode(body: object) -> bytes:
    """As JSON, in which names that are no text are escaped: so that takes ten times as long."""
    try:
        return encode(body)
    except UnicodeEncodeError:
        import json

        return json.dumps(to_builtins(body), separators=(",", ":")).encode()


def _read_lines(folder: str, name: str) -> Iterator[bytes]:
    for each in (name + _BEFORE, name):
        with suppress(OSError), open(open_ours(os.path.join(folder, each)), "rb") as file:
            yield from file
