"""Our own folder on the remote: made before the first write, left nearly empty after the last.

``.reconcile/<lineage>/mark-…`` is the mark of the job (see ``marks``). A run's own
folder is ``.reconcile/<lineage>/<run>``, with ``staging``, ``parked`` and ``trash``;
``trash/kept`` outlives the run, and so does ``left``: what was parked and could go
nowhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from itertools import chain
from typing import Any

from msgspec.structs import replace

from reconcile.core.errors import ReconcileError, Refused, Unreachable
from reconcile.core.job import OnDrift
from reconcile.core.marks import is_mark
from reconcile.core.model import PARKED, Action, Footing, Kind, Op, Problem, Reason, Stage
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.failure import READ_ONLY, explain, not_sent
from reconcile.remotes.tree.kept import Kept, count_kept, is_note, read_notes, settle_kept
from reconcile.remotes.tree.link import look, rename
from reconcile.remotes.tree.listing import TOGETHER, Listing, list_directory, read_names
from reconcile.remotes.tree.mark import (
    find_former,
    job_folder,
    judge,
    judge_others,
    lacks_mark,
    mark_paths,
    remove_mark,
    rename_mark,
    shown,
)
from reconcile.remotes.tree.probe import open_anyhow, try_out
from reconcile.remotes.tree.purge import empty_blindly, empty_trash, purge
from reconcile.remotes.tree.rescue import find_staged, take_staged
from reconcile.remotes.tree.site import PARKING, STAGING, STORE, Discarded, Site, absent, act, inside, kind_of
from reconcile.remotes.tree.steps import Burst, Recipe
from reconcile.remotes.tree.trash import foresee
from reconcile.remotes.tree.verbs import (
    OK,
    Attrs,
    Close,
    Code,
    Handle,
    Lstat,
    Mkdir,
    Opendir,
    Remove,
    Rename,
    Rmdir,
    Stat,
    Status,
    Verb,
    Write,
)

TRASH = b"trash"
PARTS = STAGING, PARKING, TRASH
NO_SUCH_FILE = Status(Code.MISSING, "")
LEFT = b"left"  # what had been parked and found no place: not taken over any more
DEAD = b".dead"  # ends the name of a run's folder that was fenced off


def make_workdir(
    driver: Driver,
    site: Site,
    footing: Footing,
    run: str,
    parts: AbstractSet[bytes],
    *,
    resume: bool,
    before: Iterable[Action] = (),
) -> Kept:
    """Make DEST and our folder in it with those ``parts`` of the run's, and fence off what earlier runs left.
    ``before``: what those were about to do, as far as that is known. Returns what they have kept.

    Raises Refused where something stands in the way or our mark is gone, Stale where it
    is none of ``footing``; Unreachable where the server does not let us write.
    """
    ours = job_folder(site, footing.lineage)
    site.run = ours + b"/" + os.fsencode(run)
    site.parts.clear()
    site.discarded.clear()
    site.marks = ()
    listing = driver.call(_enter(site, ours, footing, parts))
    site.vacant = False
    site.parents[""] = None
    kept = read_notes(ours, listing)
    dead = _fence_leftovers(driver, site, ours, run, listing, kept)
    site.staged.clear()
    if resume:
        _take_parked(driver, site, dead)
        take_staged(driver, site, dead, lambda: _make_run_folder(site, {STAGING}))
    ours_there = foresee([action for action in before if _may_discard(site, action)]) if dead else {}
    cleared = (clear_run(driver, site, folder, PARTS, ours_there) for folder in dead)
    site.stuck = list(chain.from_iterable(cleared))
    counted = driver.run((count_kept(site, folder) for folder in dead), TOGETHER)
    kept.untold += [(folder, count) for folder, count in counted if count is not None]
    return kept


def leave(driver: Driver, site: Site, kept: Kept, mark: str) -> Iterator[Problem]:
    """The end of a run: nothing of ours stays but what is kept, and the ``mark``. Tells what could not go."""
    yield from site.stuck
    if site.parts:
        yield from clear_run(driver, site, site.run, site.parts, {}, rename_mark(site, mark))
    yield from map(_not_removed, settle_kept(driver, site, kept))


def _note_others(site: Site, listing: Listing, lineage: str) -> None:
    folders = [(os.fsencode(name), attrs) for name, attrs in listing.names if kind_of(attrs) is Kind.DIR]
    ours = (os.fsencode(lineage), STORE)
    site.others = [(name, attrs.mtime) for name, attrs in folders if name not in ours]


def _may_discard(site: Site, action: Action) -> bool:
    return action.op is Op.DELETE or site.options.on_drift is OnDrift.OVERWRITE


def _enter(site: Site, ours: bytes, footing: Footing, parts: AbstractSet[bytes]) -> Recipe[Listing]:
    """Make what is missing, down to the parts of this run's folder; returns what is in the job's folder."""
    likely = footing.marks[0]
    made, missing, (inside, around) = yield from _is_made(site, ours, ours + b"/" + os.fsencode(likely))
    listing: Listing
    if all(made):
        site.marks = (likely,)
        listing, beside, *_ = yield [
            read_names(site, ours, inside),
            read_names(site, site.workdir, around),
            _make_and_try(site, parts),
            rename_mark(site, footing.fresh),
        ]
        judge_others(site, footing, likely, listing)
        _note_others(site, beside, footing.lineage)
        return listing
    listing, beside = yield [read_names(site, ours, inside), read_names(site, site.workdir, around)]
    _note_others(site, beside, footing.lineage)
    if lacks_mark(footing, listing) and (former := (yield from find_former(site, footing))) is not None:
        listing = yield from _bring_along(site, ours, footing, *former)
        footing = replace(footing, known=bool(listing.names))
    judge(site, footing, ours, listing)
    steps: list[Recipe[object]] = [_make_and_try(site, parts)]
    if site.marks:
        steps.append(rename_mark(site, footing.fresh))
    else:
        mark = footing.fresh or likely
        folder, file = mark_paths(ours, mark)
        opened = yield from _make_job_folder(site, [ours, *folder], file, missing)
        steps.append(_write_mark(site, file, footing.lineage, opened))
        site.marks = (mark,)
    yield steps
    return listing


def _bring_along(
    site: Site, ours: bytes, footing: Footing, place: bytes, listing: Listing
) -> Recipe[Listing]:
    """Move the job's folder to where --remote-workdir says now; returns what is in it then.

    That is nothing where it can't be moved and nothing in it is needed any more: it begins anew.
    """
    yield from _make_parents(site, _above(site.workdir))
    yield from _make(site, site.workdir)
    old = place + b"/" + os.fsencode(footing.lineage)
    if (yield from act(Rename(old, ours))) is OK:
        yield Rmdir(place)  # if no other job's is in it
        site.say_once(f"our folder on the remote was in {shown(place)}, and is in {shown(site.workdir)} now")
        return listing
    names = {name for name, _ in listing.names}
    ended = {name.rpartition(".kept-")[0] for name in names if is_note(name)}
    if not all(name in ended or is_mark(name) or is_note(name) for name in names):
        raise Refused(
            f"Our folder on the remote is in {shown(place)}, where an earlier run has left something, and "
            f"can't be moved to {shown(site.workdir)}. Nothing was done. Run once with the --remote-workdir "
            f"of before, or move {shown(old)} there with the server's own tools."
        )
    site.say_once(
        f"our folder on the remote begins anew in {shown(site.workdir)}; what earlier runs have kept "
        f"stays in {shown(place)}"
    )
    site.later.append(_leave_behind(place, old, [name for name in names if is_mark(name)]))
    return Listing()


def _leave_behind(place: bytes, old: bytes, marks: Sequence[str]) -> Recipe[None]:
    yield [remove_mark(old + b"/" + os.fsencode(name)) for name in marks]
    yield Rmdir(old)
    yield Rmdir(place)


def find_left(driver: Driver, site: Site, lineage: str) -> None:
    """Note what of this job is parked and staged there now, whichever run's it is."""
    ours = job_folder(site, lineage)
    listing = driver.call(list_directory(site, ours))
    runs = {name: attrs.mtime for name, attrs in listing.names if kind_of(attrs) is Kind.DIR}
    folders = [ours + b"/" + os.fsencode(name) for name in sorted(runs, key=runs.__getitem__, reverse=True)]
    find_staged(driver, site, folders)
    for place, listing in driver.run((_list_parked(site, folder) for folder in folders), TOGETHER):
        for name, _ in listing.names:
            site.left.setdefault(f"{PARKED}/{name}", inside(place, name))


def _list_parked(site: Site, folder: bytes) -> Recipe[tuple[bytes, Listing]]:
    place = folder + b"/" + PARKING
    return place, (yield from list_directory(site, place))


def _take_parked(driver: Driver, site: Site, dead: Sequence[bytes]) -> None:
    """Bring what dead runs had parked to this run's parking places."""
    taken: set[str] = set()
    for folder in dead:
        place, listing = driver.call(_list_parked(site, folder))
        if listing.names:
            driver.call(_make_run_folder(site, {PARKING}))
        for name, _ in listing.names:
            if name not in taken:  # a server may rename over what is there
                new = site.at(f"{PARKED}/{name}")
                if driver.call(rename(site, inside(place, name), new)) is OK:
                    taken.add(name)


def make_parts(site: Site, actions: Iterable[Action]) -> Recipe[None]:
    """Make the run's folder, and those in it that ``actions`` need and that are not there yet."""
    return _make_run_folder(site, parts_for(actions))


def parts_for(actions: Iterable[Action]) -> set[bytes]:
    """The folders in the run's that ``actions`` need."""
    kinds = {(action.op, action.keep, action.parks) for action in actions}
    return {part for op, keep, parks in kinds for part in _parts_for(op, keep=keep, parks=parks)}


def try_to_make(site: Site, parts: AbstractSet[bytes]) -> Recipe[None]:
    """Early, as it takes no round trip more. If it fails, that is told once they are needed."""
    with suppress(ReconcileError):
        yield from _make_run_folder(site, parts)


def _make_and_try(site: Site, parts: AbstractSet[bytes]) -> Recipe[None]:
    """The same, and learn the server's ways where nobody did: in one burst if they may be OpenSSH's."""
    if not site.quirks.untried:
        yield from try_to_make(site, parts)
        return
    making = try_to_make(site, parts | {STAGING})
    if site.claims_openssh:
        yield [making, try_out(site, together=True)]
        if site.quirks.ordered:
            return
    else:
        yield from making
    if STAGING in site.parts:
        yield from try_out(site, together=False)


def _make_run_folder(site: Site, parts: AbstractSet[bytes]) -> Recipe[None]:
    """Where the disk is full the folders are missing: nothing is sent then, but deletes go on."""
    missing = sorted(parts - site.parts)
    if not missing or not_sent(site, "") is not None:
        return
    made = [] if site.parts else [site.run]
    try:
        *_, part = yield from _make(site, *made, *(site.run + b"/" + part for part in missing))
    except Unreachable:
        if site.full is None or READ_ONLY in site.full.message:
            raise
    else:
        site.parts.update(missing)
        site.now = part.mtime
        if site.owner is not None and site.owner != part.uid:
            site.say_once(
                f"{shown(site.workdir)}, our folder on the remote, is user {site.owner}'s, and we are user "
                f"{part.uid} there: who owns it can change what is in it. Give a place of your own with "
                "--remote-workdir if that is not meant to be"
            )
        site.user = part.uid
        site.group, site.hands_down = part.gid, bool(part.mode & stat.S_ISGID)


def _parts_for(op: Op, *, keep: bool, parks: bool) -> Iterator[bytes]:
    if op in (Op.CREATE, Op.MODIFY):
        yield STAGING
    if parks:
        yield PARKING
    if op is Op.DELETE or keep:
        yield TRASH


def _is_made(
    site: Site, ours: bytes, mark: bytes
) -> Recipe[tuple[Sequence[bool], list[bytes], tuple[Handle | Status, Handle | Status]]]:
    """Whether our folder, the job's folder and its mark are there; what is missing of DEST; the job's
    folder, and ours, opened.

    Asked first, as mostly all are there.
    """
    if site.vacant and _above(site.workdir) == site.base:
        return [False], [site.base], (NO_SUCH_FILE, NO_SUCH_FILE)
    *folders, file, base, above, inside, around = yield [
        *(look(site, path) for path in (site.workdir, ours, mark)),
        *(Stat(path) for path in (site.base, _above(site.base))),
        Opendir(ours),
        Opendir(site.workdir),
    ]
    if isinstance(base, Attrs):
        site.note_group("", base)
    for path, there in zip((site.workdir, ours), folders, strict=True):
        if isinstance(there, Attrs) and kind_of(there) is not Kind.DIR:
            raise _in_the_way(path, there)
    if isinstance(folders[1], Attrs):
        site.user = folders[1].uid
    made = [isinstance(there, Attrs) for there in (*folders, file)]
    site.owner = folders[0].uid if isinstance(folders[0], Attrs) else None
    missing = [] if all(made) else (yield from _missing(site.base, [base, above]))
    return made, missing, (inside, around)


def _above(path: bytes) -> bytes:
    return path.rpartition(b"/")[0] or b"/"


def _missing(path: bytes, known: Sequence[Attrs | Status]) -> Recipe[list[bytes]]:
    """What is to be made so that DEST is there, the topmost first. ``known``: what it and its parent are."""
    missing: list[bytes] = []
    there = known[0]
    while absent(there) and path not in (b"", b"/"):
        missing.insert(0, path)
        path = _above(path)
        there = known[len(missing)] if len(missing) < len(known) else (yield Stat(path))
    if isinstance(there, Attrs) and not stat.S_ISDIR(there.mode):
        raise Refused(
            f"{shown(path)} on the remote is not a directory, so DEST can't be made below it. "
            "Nothing was done. Choose another DEST, or move what is in its way."
        )
    return missing


def _make_job_folder(
    site: Site, ours: Sequence[bytes], mark: bytes, missing: Sequence[bytes]
) -> Recipe[Handle | Status]:
    """DEST with the modes the server gives, ``.reconcile``, ``ours``, and the mark's file, which is opened.

    RACE: where somebody puts a link in the place of a folder within a round trip, an empty folder
    and file are made behind it; then it is refused.
    """
    base = [Mkdir(path, 0o777) for path in missing]
    folders = (site.workdir, *ours)
    above = _above(site.workdir)
    if above not in (site.base, b"/"):
        yield from _check_base(site, missing, (yield base))
        yield from _make_parents(site, above)
        base, missing = [], []
    replies = yield from _in_turn(site, [*base, *_making(folders), site.open_new(mark, 0o600)])
    opened: Handle | Status = replies.pop()
    yield from _check_base(site, missing, replies[: len(missing)])
    yield from _check_made(site, folders, replies[len(missing) :])
    return opened


def make_shared(site: Site, folder: bytes) -> Recipe[None]:
    """DEST as far as it is missing, our folder, and one in it that is no job's."""
    base: Attrs | Status = yield Stat(site.base)
    missing = yield from _missing(site.base, [base])
    yield from _check_base(site, missing, (yield [Mkdir(path, 0o777) for path in missing]))
    above = _above(site.workdir)
    if above not in (site.base, b"/"):
        yield from _make_parents(site, above)
    yield from _make(site, site.workdir, folder)
    site.vacant = False


def _check_base(site: Site, paths: Sequence[bytes], statuses: Sequence[Status]) -> Recipe[None]:
    for path, status in zip(paths, statuses, strict=True):
        if status is not OK:
            there = yield from look(site, path)
            if isinstance(there, Attrs) and kind_of(there) is Kind.DIR:
                continue  # made by somebody else since we looked
            if isinstance(there, Attrs) and kind_of(there) is Kind.SYMLINK:
                raise Refused(
                    f"{shown(path)} on the remote is a link that leads to no directory. "
                    "Nothing was done. Choose another DEST, or correct the link."
                )
            raise (yield from _refusal(site, path, status))


def _make_parents(site: Site, parent: bytes) -> Recipe[None]:
    """Where our folder is not in DEST."""
    missing = []
    while absent(there := (yield Stat(parent))) and parent != b"/":
        missing.append(parent)
        parent = _above(parent)
    if isinstance(there, Attrs) and kind_of(there) is not Kind.DIR:
        raise _in_the_way(parent, there)
    yield from _make(site, *reversed(missing))


def _make(site: Site, *paths: bytes) -> Recipe[list[Attrs]]:
    """Directories of ours, each inside the one before or beside it, for nobody else to read."""
    return (yield from _check_made(site, paths, (yield from _in_turn(site, _making(paths)))))


def _in_turn(site: Site, requests: Sequence[Verb]) -> Recipe[list[Any]]:
    """Requests that need one another: sent together, as most servers keep to the order.

    What one that does not has refused for it is asked once more, one by one.
    """
    replies: list[Any] = yield requests
    if not site.quirks.ordered and any(map(absent, replies)):
        for index, request in enumerate(requests):
            if isinstance(replies[index], Status) and replies[index] is not OK:
                replies[index] = yield request
    return replies


def _making(paths: Sequence[bytes]) -> list[Verb]:
    return [request for path in paths for request in (Mkdir(path, 0o700), Lstat(path))]


def _check_made(site: Site, paths: Sequence[bytes], replies: Sequence[Attrs | Status]) -> Recipe[list[Attrs]]:
    """What they are: through a link we would write elsewhere."""
    made: list[Attrs] = []
    for path, status, there in zip(paths, replies[::2], replies[1::2], strict=True):
        if isinstance(there, Status):
            refused = status if isinstance(status, Status) and status is not OK else there
            raise (yield from _refusal(site, path, refused))
        if kind_of(there) is not Kind.DIR:
            raise _in_the_way(path, there)
        made.append(there)
    return made


def _in_the_way(path: bytes, there: Attrs) -> Refused:
    return Refused(
        f"{shown(path)} on the remote is a {kind_of(there) or 'special file'}, where our working folder "
        "belongs. Nothing was done. Remove it, or give another place with --remote-workdir."
    )


def _refusal(site: Site, path: bytes, status: Status) -> Recipe[ReconcileError]:
    """Why the first write failed."""
    failed = yield from explain(site, "", f"make {shown(path)}", status)
    out = " Make DEST writable for this user, or give a writable place with --remote-workdir."
    if failed.reason is Reason.NO_SPACE:
        out = ""
    return Unreachable(f"The remote can't be written to: {failed.message}. Nothing was done.{out}")


def _write_mark(site: Site, path: bytes, lineage: str, opened: Handle | Status) -> Recipe[None]:
    if isinstance(opened, Status):
        there = yield from look(site, path)
        if isinstance(there, Attrs):
            return  # written by an earlier run
        opened = yield from open_anyhow(site, path, opened)
        if isinstance(opened, Status):
            raise (yield from _refusal(site, path, opened))
    content: list[Verb] = [Write(opened.handle, 0, lineage.encode() + b"\n"), Close(opened.handle)]
    failed: list[tuple[type, Status]] = yield Burst(iter(content))
    if failed:
        yield Remove(path)
        raise (yield from _refusal(site, path, failed[0][1]))


def _fence_leftovers(
    driver: Driver, site: Site, ours: bytes, run: str, listing: Listing, kept: Kept
) -> list[bytes]:
    """Rename the folders of earlier runs; returns those that are to be cleared, the last run's first.
    Those that have ended are noted in ``kept``.

    Requests of a dead client that still wait in the server then fail, and publish
    nothing. RACE: those for mkdir, setstat and moves of whole directories don't.
    """
    known = {each.folder for each in kept.runs}
    folders = {
        ours + b"/" + os.fsencode(name): attrs.mtime
        for name, attrs in listing.names
        if name != run and not is_mark(name) and not is_note(name) and kind_of(attrs) is Kind.DIR
    }
    unknown = folders.keys() - known
    looked_at = driver.run((_ended_well(site, folder) for folder in unknown), TOGETHER // 4)
    kept.untold += [(folder, count) for folder, count in looked_at if count is not None]
    ended = known | {folder for folder, _ in kept.untold}
    fenced: list[bytes] = []
    before: list[bytes] = []
    for folder in folders.keys() - ended:
        if folder.endswith(DEAD):
            before.append(folder)
            continue
        status = driver.call(act(Rename(folder, folder + DEAD)))
        if status is OK:
            fenced.append(folder + DEAD)
        elif not absent(status):
            fenced.append(folder)
            site.say_once(
                "the server can't rename a directory: what a dead connection asked for may yet come"
            )
    dead = fenced + sorted(before, key=lambda folder: folders[folder], reverse=True)
    return [
        folder
        for folder, sound in driver.run((_is_as_made(site, folder) for folder in dead), TOGETHER)
        if sound
    ]


def _is_as_made(site: Site, folder: bytes) -> Recipe[tuple[bytes, bool]]:
    """Whether a run's folder holds directories only. Else somebody was there: a link would lead us out."""
    listing = yield from list_directory(site, folder)
    return folder, all(kind_of(attrs) is Kind.DIR for _, attrs in listing.names)


def _ended_well(site: Site, folder: bytes) -> Recipe[tuple[bytes, int | None]]:
    """How many things a run's folder keeps, if it holds nothing else than what is left on purpose."""
    inside = (folder, folder + b"/" + TRASH)
    parts, trash, (_, count) = yield [
        *(list_directory(site, path) for path in inside),
        count_kept(site, folder),
    ]
    nothing_more = _names(parts) <= {"trash", "left"} and _names(trash) <= {"kept"}
    has_kept = count or "trash" not in _names(parts)
    return folder, count if nothing_more and has_kept else None


def _names(listing: Listing) -> set[str]:
    return {name for name, _ in listing.names}


def clear_run(
    driver: Driver,
    site: Site,
    folder: bytes,
    parts: Collection[bytes],
    known: Mapping[bytes, Discarded],
    *beside: Recipe[None],
) -> list[Problem]:
    """Remove a run's folder but for what is kept in its trash, and what is parked and found no place.

    What is to be done ``beside`` travels with the removal of this run's folder. ``known``: what
    may be in the trash of a dead run, by the names of its places.
    """
    if folder == site.run:
        removed, *_ = driver.call(_together(_is_removed_empty(folder, parts, site.discarded), *beside))
        if removed:
            return []
        known = {one.place: one for one in site.discarded}
    stuck = purge(driver, site, [folder + b"/" + STAGING]) if STAGING in parts else []
    if stuck and folder != site.run:  # nothing of anybody's is at stake
        site.say_once(
            f"what a dead run had staged in {shown(folder)} can't be removed yet; a later run will try"
        )
        stuck = []
    if TRASH in parts:
        remaining, strangers = empty_trash(driver, site, folder + b"/" + TRASH, known)
        stuck += remaining
        if strangers:
            site.say(f"what somebody else put into what was being deleted is kept: {_some(strangers)}")
    inner = len(folder) + 1
    # Made in vain where what was to be kept could not come to our file system: they would count as kept.
    vain = [made[inner:] for made in site.kept if made.startswith(folder + b"/")] if site.elsewhere else []
    driver.call(_is_removed_empty(folder, {*vain, b"trash/kept", TRASH}, []))
    if PARKING in parts:
        parked = folder + b"/" + PARKING
        status = driver.call(act(Rmdir(parked)))
        if status is not OK and not absent(status):
            left = folder + b"/" + LEFT
            place = left if driver.call(act(Rename(parked, left))) is OK else parked
            site.say_once(f"files that a run had moved aside are still on the remote in {shown(place)}")
        driver.call(act(Rmdir(folder)))  # not if anything is kept
    return [_not_removed(path) for path in stuck]


def _not_removed(path: bytes) -> Problem:
    text = "could not be removed from the remote; the next run tries again"
    return Problem(os.fsdecode(path), Stage.CLEANUP, Reason.FAILED, text)


def _is_removed_empty(folder: bytes, parts: Collection[bytes], known: Sequence[Discarded]) -> Recipe[bool]:
    """Try to remove a folder without looking into it first: mostly nothing is left in it but what we know."""
    paths = [*(folder + b"/" + part for part in sorted(parts, reverse=True)), folder]
    return (yield from empty_blindly(known, paths))


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 3:,} more" if len(paths) > 3 else ""
    return ", ".join(map(repr, paths[:3])) + more


def _together(*recipes: Recipe[Any]) -> Recipe[list[Any]]:
    results: list[Any] = yield recipes
    return results
