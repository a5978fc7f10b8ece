"""DEST is looked at, and compared with what it is known to hold. Changes nothing, here or there."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress

from msgspec.structs import replace

from reconcile.apply.adopt import look_at_all, read_digests
from reconcile.apply.connection import Connect
from reconcile.core.compare import Checked, Fault, Finding, Reading, compare
from reconcile.core.errors import Refused, Stale
from reconcile.core.job import Job, Reporter, Result, Stop
from reconcile.core.model import Action, DirectorySnapshot, Entry, Kind, Op, Outcome, Plan, Tally
from reconcile.phases.held import Held, hold
from reconcile.phases.recall import footing_of, left_open, recall, where_it_lies
from reconcile.state import small
from reconcile.state.journal import Leftover
from reconcile.state.lock import find_run
from reconcile.state.private import check_folder

VERIFIED = "verified"  # in the state folder: the file that was read back last, where not all are


def verify(
    job: Job,
    reporter: Reporter,
    reading: Reading | None = None,
    connect: Connect | None = None,
    stop: Stop | None = None,
    *,
    strict: bool = False,
) -> Result:
    """What of DEST is not as this job has left it. ``reading``: content is compared, too.

    ``strict``: what is not ours counts as wrong. Takes no lock. Raises Refused where no run has ended yet,
    and where DEST is not the one that we know; Unreachable, ConnectionLost.
    """
    job = where_it_lies(job)
    with hold(job, reporter, connect, stop or Stop(), keeps=False) as this:
        old, leftover = _recall(this)
        this.old = old
        with this.phase("connect"):
            this.remote.open()
        with this.phase("survey"):
            try:
                this.remote.check(footing_of(job, old, leftover))
            except Stale as stale:
                reporter.warn(str(stale).partition(" Nothing was done.")[0])
            there = look_at_all(old, this.remote)
            findings = list(compare(old, there, this.remote, this.job.options.keeps_mode))
        checked = Checked(tuple(findings), sum(1 for _ in old.walk()), strict=strict)
        if reading is not None:
            checked = _read_back(this, old, checked, reading, job.state)
        return replace(this.result("verify", Plan(), ()), checked=checked)


def _recall(run: Held) -> tuple[DirectorySnapshot, Leftover | None]:
    """What DEST is known to hold, and what a run left that broke off: it may have renamed the mark.

    Raises Refused if nothing is known.
    """
    job, leftover = run.job, None
    if run.shared is not None:
        run.remote.open()
        run.shared.fetch(repair=False)
    with run.phase("load"):
        check_folder(job.state)
        old = recall(job)
        if old is None or not old.serial:
            raise Refused(
                "Nothing is known of DEST: no run of this job has come to its end yet, or its state is "
                "elsewhere (--state). Nothing was done. 'reconcile run' brings DEST up to SRC."
            )
        if (at_work := find_run(job.state)) is not None:
            run.reporter.warn(f"a run of this job is at work{at_work}: what it changes shows as wrong here")
        elif (leftover := left_open(job.state, old)) is not None:
            run.reporter.warn("the last run was interrupted: what it left open may show as wrong here")
        return old, leftover


def _read_back(run: Held, old: DirectorySnapshot, checked: Checked, reading: Reading, memory: str) -> Checked:
    """Compare content, too; what is another is added to the findings. ``memory``: where it is noted which
    file was the last."""
    findings = list(checked.findings)
    wrong = {each.path for each in findings if each.fault is not Fault.MODE}
    files = [(path, entry) for path, entry in old.walk() if _can_be_read(entry) and path not in wrong]
    files.sort(key=lambda each: each[0])
    turn = _take_turn(memory, files, reading)
    with run.phase("verify"):
        read = read_bytes = 0
        for path, entry, digest in _read(run, turn, reading.seconds):
            read, read_bytes = read + 1, read_bytes + entry.size
            if digest != entry.digest:
                fault = Fault.UNSEEN if digest is None else Fault.CONTENT
                findings.append(Finding(path, fault, entry))
    if reading != Reading():
        with suppress(OSError):  # then the same ones are read the next time
            small.remember(memory, VERIFIED, turn[read - 1][0] if read else None)
    findings.sort(key=lambda each: each.path)
    return replace(
        checked, findings=tuple(findings), read=read, read_bytes=read_bytes, unread=len(files) - read
    )


def _can_be_read(entry: Entry) -> bool:
    return entry.kind is Kind.FILE and entry.digest is not None and not entry.foreign and not entry.retained


def _take_turn(
    memory: str, files: Sequence[tuple[str, Entry]], reading: Reading
) -> Sequence[tuple[str, Entry]]:
    """Those that are next: after the one that was the last the time before, and round from the first."""
    if reading == Reading():
        return files
    last = ""
    with suppress(ValueError):
        last = small.recall(memory, VERIFIED) or ""
    begin = next((place for place, (path, _) in enumerate(files) if path > last), 0)
    return [*files[begin:], *files[:begin]][: math.ceil(len(files) * reading.share)]


def _read(
    run: Held, files: Sequence[tuple[str, Entry]], seconds: float | None
) -> Iterator[tuple[str, Entry, bytes | None]]:
    """The digests of what is there, as far as the time allows; the first file in any case."""
    tally, reporter = Tally(), run.reporter
    reads = {path: Action(Op.CREATE, path, entry) for path, entry in files}
    reporter.planned(Plan(levels=(tuple(reads.values()),)), tally)
    began = time.monotonic()
    with closing(
        read_digests(run.remote, [(path, entry.size) for path, entry in files], reporter.sent)
    ) as digests:
        for (path, entry), (_, digest) in zip(files, digests, strict=True):
            run.stop.check()
            tally.add(Outcome(reads[path]))
            yield path, entry, digest
            if seconds is not None and time.monotonic() - began >= seconds:
                return
