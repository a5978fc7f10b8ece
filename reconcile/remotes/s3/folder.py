"""Our own folder in the bucket: the mark of the job, and what runs have left there.

What may live here: what is done before the first write and after the last one. A folder is there as soon as
something is in it, so that none is made.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence

from msgspec import Struct

from reconcile.core.errors import Refused, Stale, Unreachable
from reconcile.core.marks import explain_marks, is_mark
from reconcile.core.model import Footing, Problem, Reason, Stage
from reconcile.remotes import Remains
from reconcile.remotes.s3.copying import abort, copy
from reconcile.remotes.s3.delete import clear_away
from reconcile.remotes.s3.failure import Refusal
from reconcile.remotes.s3.listing import holds, names_in, objects
from reconcile.remotes.s3.site import Site

_NOTE = re.compile(r"(.+)\.kept-([0-9]+)")


class Found(Struct, frozen=True):
    """What is in the job's folder."""

    marks: tuple[str, ...]
    dead: tuple[str, ...]  # runs that did not come to their end
    notes: tuple[tuple[str, int], ...]  # runs that have, and how many things each has kept


def find(site: Site, footing: Footing) -> Found:
    """Look whether the mark is one of ours. Raises Refused, Stale, or Unreachable where we may not look."""
    keys = site.keys
    keys.enter(footing.lineage, "")
    if footing.filled and not keys.work.startswith(keys.base) and not holds(site.service, keys.base):
        raise Refused(
            f"DEST, {site.service.where}, is empty, where this job has left something. Was it wiped? Nothing "
            f"was done. What it held is known from {footing.state!r}. If DEST is to be filled anew, run once "
            "with --start-over, which forgets that, and adopts what is there."
        )
    files, folders = names_in(site.service, keys.job)
    notes = tuple((match[1], int(match[2])) for name in files if (match := _NOTE.fullmatch(name)))
    ended = {run for run, _ in notes}
    return Found(
        tuple(filter(is_mark, files)), tuple(run for run in sorted(folders) if run not in ended), notes
    )


def judge(site: Site, footing: Footing, found: Found) -> None:
    """Whether what is there fits what we believe. Raises Refused, or Stale."""
    if set(found.marks) - {*footing.marks, footing.fresh}:
        raise Stale(explain_marks(footing.marks[0], found.marks), found.marks)
    if footing.known and not found.marks:
        raise Refused(
            f"DEST is not as this job left it: its mark is missing in {site.keys.job}, {site.service.where}. "
            "Was it wiped, or restored from elsewhere? Nothing was done. What it held is known from "
            f"{footing.state!r}. If DEST is to be filled anew, run once with --start-over, which forgets "
            "that, and adopts what is there."
        )


def find_former(site: Site, footing: Footing, found: Found, *, moves: bool = True) -> Found:
    """Where the job's folder was before --remote-workdir was changed: its mark comes along, and no more.

    Unless it ``moves``, it is only seen there.
    """
    if not footing.known or found.marks or not footing.workdir:
        return found
    place = f"{footing.workdir.strip('/')}/{footing.lineage}/"
    if place == site.keys.job:
        return found
    files, folders = names_in(site.service, place)
    marks = [name for name in files if name in (*footing.marks, footing.fresh)]
    if not marks:
        return found
    if set(folders) - {match[1] for name in files if (match := _NOTE.fullmatch(name))}:
        raise Refused(
            f"Our folder on the remote is in {place}, where a run that broke off has left something. Nothing "
            "was done. Run once with the --remote-workdir of before."
        )
    if not moves:
        return Found(tuple(marks), found.dead, found.notes)
    for mark in marks:
        write_mark(site, mark)
    clear_away(site, [place + mark for mark in marks])
    site.say(f"our folder on the remote was in {place}, and begins anew in {site.keys.job}")
    return Found(tuple(marks), found.dead, found.notes)


def rename_mark(site: Site, marks: Sequence[str], name: str) -> tuple[str, ...]:
    """Give the mark a new name: the new one is written before others go. Returns those that are there."""
    if name not in marks:
        write_mark(site, name)
    others = [mark for mark in marks if mark != name]
    stuck = (
        {key for key, _ in clear_away(site, [site.keys.job + mark for mark in others])} if others else set()
    )
    return (name, *(mark for mark in others if site.keys.job + mark in stuck))


def write_mark(site: Site, name: str) -> None:
    """Raises Unreachable where we may not."""
    try:
        site.service.ask("put_object", Key=site.keys.job + name, Body=b"", **site.headers.of_ours)
    except Refusal as refusal:
        what = "it denies that" if refusal.is_denied else "it refuses"
        raise Unreachable(
            f"{site.service.where} can't be written to: {what} ({refusal}). Nothing was done. The policy of "
            "these credentials needs s3:PutObject and s3:DeleteObject on what is in DEST."
        ) from None


def clear_dead(site: Site, found: Found, run: str, *, resume: bool) -> Iterator[tuple[str, int]]:
    """What dead runs have left: staged is purged, kept stays, parked is taken over. Tells what they kept.

    RACE: what a dead client has still asked for may yet be done: a PUT that was sent whole, a delete.
    """
    keys = site.keys
    for dead in found.dead:
        if dead == run:
            continue
        folder = f"{keys.job}{dead}/"
        gone: list[str] = []
        kept = left = 0
        for key, shown in objects(site.service, folder):
            part, _, name = key[len(folder) :].partition("/")
            if part == "parked":
                place = f"{keys.run}parked/{name}" if resume else f"{folder}left/{name}"
                copy(site, key, shown, place, {**site.headers.of_ours, "MetadataDirective": "COPY"})
                site.is_used |= resume
                left += not resume
                gone.append(key)
            elif part == "trash":
                kept += 1
            elif part == "left":
                left += 1
            else:
                gone.append(key)
        clear_away(site, gone)
        if kept or left:
            yield dead, kept


def leave(site: Site, found: Found, run: str, untold: Sequence[tuple[str, int]]) -> Iterator[Problem]:
    """The end of a run: nothing of it stays but what is kept. Tells what could not go."""
    keys = site.keys
    for upload in site.uploads.left:
        abort(site, upload.key, upload.id)
    stuck: list[tuple[str, Refusal]] = []
    if site.is_used:
        gone = [key for part in ("parked/", "staging/") for key, _ in objects(site.service, keys.run + part)]
        stuck += clear_away(site, gone)
    notes = [*untold, *([(run, len(site.kept))] if site.kept else [])]
    for name, count in notes:
        site.service.ask("put_object", Key=f"{keys.job}{name}.kept-{count}", Body=b"", **site.headers.of_ours)
    expired = list(_expire(site, found)) if site.options.keep is not None else []
    if added := [(name, count) for name, count in notes if count]:
        site.warn(_tell(site, added, [count for name, count in found.notes if name not in expired and count]))
    for key, refusal in stuck:
        yield Problem("", Stage.CLEANUP, Reason.FAILED, f"{key} could not be removed: {refusal}")


def find_remains(site: Site, lineage: str) -> list[Remains]:
    """Runs of the job that have something moved aside."""
    job = f"{site.keys.work}{lineage}/"
    counts: dict[str, dict[str, int]] = {}
    for key, _ in objects(site.service, job):
        run, _, rest = key[len(job) :].partition("/")
        what = {"parked": "parked", "trash": "kept", "left": "kept"}.get(rest.partition("/")[0])
        if what is not None:
            counts.setdefault(run, {"parked": 0, "kept": 0})[what] += 1
    return [Remains(f"/{job}{run}", **found) for run, found in counts.items()]


def forget(site: Site, lineage: str) -> list[str]:
    """Remove all of the job that is not moved aside, the mark last; returns what could not be removed."""
    job = f"{site.keys.work}{lineage}/"
    keys = [key for key, _ in objects(site.service, job)]
    staged = [key for key in keys if key[len(job) :].partition("/")[2].startswith("staging/")]
    plain = [key for key in keys if "/" not in key[len(job) :]]
    marks = [key for key in plain if is_mark(key[len(job) :])]
    for upload in site.uploads.left:
        abort(site, upload.key, upload.id)
    stuck = [key for key in keys if key not in {*staged, *plain}]
    stuck += [key for key, _ in clear_away(site, [*staged, *(key for key in plain if key not in marks)])]
    return stuck or [key for key, _ in clear_away(site, marks)]


def _expire(site: Site, found: Found) -> Iterator[str]:
    """Purge what ended runs have kept for longer than is wished."""
    assert site.options.keep is not None
    oldest = (site.service.now() or time.time()) - site.options.keep
    for run, count in found.notes:
        note = f"{site.keys.job}{run}.kept-{count}"
        try:
            written = site.service.ask("head_object", Key=note)["LastModified"].timestamp()
        except Refusal:
            continue  # the next run looks again
        if written < oldest:
            kept = [key for key, _ in objects(site.service, f"{site.keys.job}{run}/trash/")]
            if not clear_away(site, kept) and not holds(site.service, f"{site.keys.job}{run}/"):
                clear_away(site, [note])
            yield run


def _tell(site: Site, added: Sequence[tuple[str, int]], before: Sequence[int]) -> str:
    count = sum(number for _, number in added)
    things = "1 thing" if count == 1 else f"{count:,} things"
    where = f"{site.keys.job}{added[-1][0]}/trash/kept"
    text = f"{things} that made room on the remote, and may be the only copy, went to {where!r}"
    if before:
        text += f"; with what was kept there before that makes {count + sum(before):,}"
    if site.options.keep is None:
        return f"{text}. All that stays until somebody removes it, or --keep AGE is given"
    return f"{text}. All that stays until it is as old as --keep says"


def is_torn(site: Site) -> bool:
    """Whether a run of any job has moved something aside and not brought it home."""
    work = site.keys.work
    for lineage in names_in(site.service, work)[1]:
        for run in names_in(site.service, f"{work}{lineage}/")[1]:
            if lineage != "store" and holds(site.service, f"{work}{lineage}/{run}/parked/"):
                return True
    return False
