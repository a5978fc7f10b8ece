"""Our own folder in the bucket: the mark of the job, and what runs have left there.

What may live here: what is done before the first write and after the last one. A folder is there as soon as
something is in it, so that none is made.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.errors import Refused, Stale, Unreachable
from reconcile.core.marks import explain_marks, is_mark
from reconcile.core.model import OURS, Action, Footing, Problem, Reason, Stage
from reconcile.core.paths import is_ours
from reconcile.remotes import Remains
from reconcile.remotes.retired import Note, find_expired, find_outgrown, read_note, tell_retired
from reconcile.remotes.s3.copying import abort, copy
from reconcile.remotes.s3.delete import clear_away
from reconcile.remotes.s3.failure import Refusal
from reconcile.remotes.s3.keys import KEPT, OLD, STORE
from reconcile.remotes.s3.listing import dated_in, head, holds, names_in, objects
from reconcile.remotes.s3.site import Site
from reconcile.remotes.s3.tags import Shown


class KeptRun(Struct, frozen=True):
    """What an ended run has left: in the kept part of the trash, or in the one that has an age."""

    run: str
    count: int  # things
    size: int  # bytes of content, where that is told
    since: int  # when it ended, in seconds of the server's clock
    name: str


class Left(Struct, frozen=True):
    """What is in a run's folder in the end."""

    run: str
    kept: int
    old: int = 0
    size: int = 0  # bytes of content in the old ones


class Found(Struct, frozen=True):
    """What is in the job's folder."""

    marks: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()  # runs that did not come to their end
    kept: tuple[KeptRun, ...] = ()  # what runs have kept that did
    old: tuple[KeptRun, ...] = ()  # and what they have retired


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
    files, folders = dated_in(site.service, keys.job)
    kept, old = read_notes(files)
    ended = {note.run for note in (*kept, *old)}
    dead = tuple(run for run in sorted(folders) if run not in ended)
    return Found(tuple(filter(is_mark, files)), dead, kept, old)


def read_notes(files: Mapping[str, int]) -> tuple[tuple[KeptRun, ...], tuple[KeptRun, ...]]:
    """Of what is kept, and of what has an age, by the names in a job's folder and when each was written."""
    kept: list[KeptRun] = []
    old: list[KeptRun] = []
    for name, since in files.items():
        if (note := read_note(name)) is not None:
            (kept if note.is_kept else old).append(KeptRun(note.run, note.count, note.size, since, name))
    return tuple(kept), tuple(old)


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
    if set(folders) - {note.run for note in map(read_note, files) if note is not None}:
        raise Refused(
            f"Our folder on the remote is in {place}, where a run that broke off has left something. Nothing "
            "was done. Run once with the --remote-workdir of before."
        )
    if not moves:
        return replace(found, marks=tuple(marks))
    for mark in marks:
        write_mark(site, mark)
    clear_away(site, [place + mark for mark in marks])
    site.say(f"our folder on the remote was in {place}, and begins anew in {site.keys.job}")
    return replace(found, marks=tuple(marks))


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


def clear_dead(
    site: Site, found: Found, run: str, before: Iterable[Action], *, resume: bool
) -> Iterator[Left]:
    """What dead runs have left: staged is purged, kept stays, parked is taken over, if it is nowhere else.
    Tells what they kept. ``before``: what those runs were about to do.

    RACE: what a dead client has still asked for may yet be done: a PUT that was sent whole, a delete.
    """
    keys = site.keys
    places: dict[str, set[str]] = {}  # where what is parked was, and where it is to be
    for action in before:
        if action.source is not None and (is_ours(action.path) or is_ours(action.source)):
            places.setdefault(action.path, set()).add(action.source)
            places.setdefault(action.source, set()).add(action.path)
    for dead in found.dead:
        if dead == run:
            continue
        folder = f"{keys.job}{dead}/"
        gone: list[str] = []
        retired: list[int] = []
        kept = left = 0
        for key, shown in objects(site.service, folder):
            part, _, name = key[len(folder) :].partition("/")
            if part == "parked" and _is_there(site, places.get(f"{OURS}parked/{name}", ()), key, shown):
                gone.append(key)
            elif part == "parked":
                place = f"{keys.run}parked/{name}" if resume else f"{folder}left/{name}"
                copy(site, key, shown, place, {**site.headers.of_ours, "MetadataDirective": "COPY"})
                site.is_used |= resume
                left += not resume
                gone.append(key)
            elif key[len(folder) :].startswith(OLD):
                retired.append(shown.size)
            elif part == "trash":
                kept += 1
            elif part == "left":
                left += 1
            else:
                gone.append(key)
        clear_away(site, gone)
        if kept or left or retired:
            yield Left(dead, kept, len(retired), sum(retired))


def _is_there(site: Site, places: Iterable[str], key: str, parked: Shown) -> bool:
    """Whether what was copied is still where it was, or is where it was to be: a run died between the two."""
    found = (head(site.service, site.keys.of(path)) for path in places if not is_ours(path))
    there = [each for each in found if each is not None and each.size == parked.size]
    if parked.is_md5 and any(each.etag == parked.etag for each in there):
        return True
    # Of what is encrypted, or came in parts, a copy has another ETag; what is noted with it goes along.
    noted = head(site.service, key) if there else None
    if noted is None or noted.digest is None:
        return False
    return any((each.digest, each.mtime_ns) == (noted.digest, noted.mtime_ns) for each in there)


def leave(site: Site, found: Found, run: str, untold: Sequence[Left]) -> Iterator[Problem]:
    """The end of a run: nothing of it stays but what is kept. Tells what could not go."""
    keys = site.keys
    for upload in site.uploads.left:
        abort(site, upload)
    stuck: list[tuple[str, Refusal]] = []
    if site.is_used:
        gone = [key for part in ("parked/", "staging/") for key, _ in objects(site.service, keys.run + part)]
        stuck += clear_away(site, gone)
    ended = [*untold, Left(run, len(site.kept), len(site.retired), sum(site.retired.values()))]
    for left in ended:
        if left.kept or (not left.old and left in untold):
            _write_note(site, Note(left.run, left.kept, 0, is_kept=True))
        if left.old:
            _write_note(site, Note(left.run, left.old, left.size, is_kept=False))
    _tell_kept(site, found, ended)
    _tell_old(site, found, ended)
    for key, refusal in stuck:
        yield Problem("", Stage.CLEANUP, Reason.FAILED, f"{key} could not be removed: {refusal}")


def _write_note(site: Site, note: Note) -> None:
    site.service.ask("put_object", Key=site.keys.job + note.name, Body=b"", **site.headers.of_ours)


def let_go(site: Site, note: KeptRun, part: str) -> bool:
    """Remove one part of a run's trash, and its note. False: something could not be removed."""
    return not clear_away(
        site, (key for key, _ in objects(site.service, f"{site.keys.job}{note.run}/{part}"))
    ) and not clear_away(site, [site.keys.job + note.name])


def find_remains(site: Site, lineage: str) -> list[Remains]:
    """Runs of the job that have something moved aside."""
    job = f"{site.keys.work}{lineage}/"
    counts: dict[str, dict[str, int]] = {}
    for key, _ in objects(site.service, job):
        run, _, rest = key[len(job) :].partition("/")
        what = {"parked": "parked", "trash": "kept", "left": "kept"}.get(rest.partition("/")[0])
        if what is not None:
            what = "old" if rest.startswith(OLD) else what
            counts.setdefault(run, {"parked": 0, "kept": 0, "old": 0})[what] += 1
    return [Remains(f"/{job}{run}", **found) for run, found in counts.items()]


def forget(site: Site, lineage: str) -> list[str]:
    """Remove all of the job that is not moved aside, the mark last; returns what could not be removed."""
    job = f"{site.keys.work}{lineage}/"
    keys = [key for key, _ in objects(site.service, job)]
    staged = [key for key in keys if key[len(job) :].partition("/")[2].startswith("staging/")]
    plain = [key for key in keys if "/" not in key[len(job) :]]
    marks = [key for key in plain if is_mark(key[len(job) :])]
    for upload in site.uploads.left:
        abort(site, upload)
    stuck = [key for key in keys if key not in {*staged, *plain}]
    stuck += [key for key, _ in clear_away(site, [*staged, *(key for key in plain if key not in marks)])]
    return stuck or [key for key, _ in clear_away(site, marks)]


def _tell_kept(site: Site, found: Found, ended: Sequence[Left]) -> None:
    """What was kept, once what is too old of that is purged. Of what found no place the note stays."""
    known = [note for note in found.kept if note.since]
    expired = find_expired(known, site.options.keep, _now(site))
    for note in expired:
        kept = [key for key, _ in objects(site.service, f"{site.keys.job}{note.run}/{KEPT}")]
        if not clear_away(site, kept) and not holds(site.service, f"{site.keys.job}{note.run}/"):
            clear_away(site, [site.keys.job + note.name])
    if added := [left for left in ended if left.kept]:
        before = [note.count for note in found.kept if note not in expired and note.count]
        site.warn(_tell(site, added, before))


def _tell_old(site: Site, found: Found, ended: Sequence[Left]) -> None:
    """The same of what has an age."""
    size, limits = sum(left.size for left in ended), site.options.trash
    known = [note for note in found.old if note.since]
    outgrown = [] if limits is None else [*find_outgrown(known, limits, int(_now(site)), size)]
    for note in outgrown:
        let_go(site, note, OLD)
    if count := sum(left.old for left in ended):
        site.say(tell_retired(count, size, [note for note in known if note not in outgrown]))


def _now(site: Site) -> float:
    return site.service.now() or time.time()


def _tell(site: Site, added: Sequence[Left], before: Sequence[int]) -> str:
    count = sum(left.kept for left in added)
    things = "1 thing" if count == 1 else f"{count:,} things"
    where = f"{site.keys.job}{added[-1].run}/{KEPT}".rstrip("/")
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
            if lineage != STORE and holds(site.service, f"{work}{lineage}/{run}/parked/"):
                return True
    return False
