"""Our own folder on the remote: made before the first write, left nearly empty after the last.

``.reconcile/<lineage>/mark-…`` is the mark of the job (see ``marks``). A run's own
folder is ``.reconcile/<lineage>/<run>``, with ``staging``, ``parked`` and ``trash``;
``trash/kept`` outlives the run, and so does ``left``: what was parked and could go
nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain

from msgspec.structs import replace

from reconcile.core.errors import Refused
from reconcile.core.job import OnDrift
from reconcile.core.marks import is_mark
from reconcile.core.model import Action, Footing, Kind, Op, Problem
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.folders import (
    check_base,
    check_made,
    directory_of,
    find_missing,
    in_the_way,
    in_turn,
    make,
    make_parents,
    making,
    refusal,
)
from reconcile.remotes.tree.kept import Kept, count_kept, is_note, read_notes, settle_kept
from reconcile.remotes.tree.layout import STAGING, STORE
from reconcile.remotes.tree.leftovers import PARTS, clear_run, fence, not_removed, take_parked
from reconcile.remotes.tree.link import look
from reconcile.remotes.tree.listing import TOGETHER, Listing, read_names
from reconcile.remotes.tree.mark import (
    expect_filled,
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
from reconcile.remotes.tree.probe import open_anyhow
from reconcile.remotes.tree.rescue import take_staged
from reconcile.remotes.tree.run_folder import make_and_try, make_run_folder
from reconcile.remotes.tree.site import Site, act, kind_of
from reconcile.remotes.tree.steps import Burst, Recipe
from reconcile.remotes.tree.trash import foresee
from reconcile.remotes.tree.verbs import (
    OK,
    Attrs,
    Close,
    Code,
    Handle,
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

NO_SUCH_FILE = Status(Code.MISSING, "")


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
    ours = site.layout.job = job_folder(site, footing.lineage)
    site.layout.run = ours + b"/" + os.fsencode(run)
    site.layout.parts.clear()
    site.memory.forget_trash()
    site.memory.marks = ()
    driver.call(expect_filled(site, footing))
    listing = driver.call(_enter(site, ours, footing, parts))
    site.layout.vacant = False
    site.memory.parents[""] = None
    kept = read_notes(ours, listing)
    dead = fence(driver, site, ours, run, listing, kept)
    site.memory.staged.clear()
    if resume:
        take_parked(driver, site, dead)
        take_staged(driver, site, dead, lambda: make_run_folder(site, {STAGING}))
    ours_there = foresee([action for action in before if _may_discard(site, action)]) if dead else {}
    cleared = (clear_run(driver, site, folder, PARTS, ours_there) for folder in dead)
    site.memory.stuck = list(chain.from_iterable(cleared))
    counted = driver.run((count_kept(site, folder) for folder in dead), TOGETHER)
    kept.untold += [left for left in counted if left is not None]
    return kept


def leave(driver: Driver, site: Site, kept: Kept, mark: str) -> Iterator[Problem]:
    """The end of a run: nothing of ours stays but what is kept, and the ``mark``. Tells what could not go."""
    yield from site.memory.stuck
    if site.layout.parts:
        yield from clear_run(driver, site, site.layout.run, site.layout.parts, {}, rename_mark(site, mark))
    yield from map(not_removed, settle_kept(driver, site, kept))


def _note_others(site: Site, listing: Listing, lineage: str) -> None:
    folders = [(os.fsencode(name), attrs) for name, attrs in listing.names if kind_of(attrs) is Kind.DIR]
    ours = (os.fsencode(lineage), STORE)
    site.memory.others = [(name, attrs.mtime) for name, attrs in folders if name not in ours]


def _may_discard(site: Site, action: Action) -> bool:
    return action.op is Op.DELETE or site.options.on_drift is OnDrift.OVERWRITE


def _enter(site: Site, ours: bytes, footing: Footing, parts: AbstractSet[bytes]) -> Recipe[Listing]:
    """Make what is missing, down to the parts of this run's folder; returns what is in the job's folder."""
    likely = footing.marks[0]
    made, missing, (inside, around) = yield from _is_made(site, ours, ours + b"/" + os.fsencode(likely))
    listing: Listing
    if all(made):
        site.memory.marks = (likely,)
        listing, beside, *_ = yield [
            read_names(site, ours, inside),
            read_names(site, site.layout.workdir, around),
            make_and_try(site, parts),
            rename_mark(site, footing.fresh),
        ]
        judge_others(site, footing, likely, listing)
        _note_others(site, beside, footing.lineage)
        return listing
    listing, beside = yield [read_names(site, ours, inside), read_names(site, site.layout.workdir, around)]
    _note_others(site, beside, footing.lineage)
    if lacks_mark(footing, listing) and (former := (yield from find_former(site, footing))) is not None:
        listing = yield from _bring_along(site, ours, footing, *former)
        footing = replace(footing, known=bool(listing.names))
    judge(site, footing, ours, listing)
    steps: list[Recipe[object]] = [make_and_try(site, parts)]
    if site.memory.marks:
        steps.append(rename_mark(site, footing.fresh))
    else:
        mark = footing.fresh or likely
        folder, file = mark_paths(ours, mark)
        opened = yield from _make_job_folder(site, [ours, *folder], file, missing)
        steps.append(_write_mark(site, file, footing.lineage, opened))
        site.memory.marks = (mark,)
    yield steps
    return listing


def _bring_along(
    site: Site, ours: bytes, footing: Footing, place: bytes, listing: Listing
) -> Recipe[Listing]:
    """Move the job's folder to where --remote-workdir says now; returns what is in it then.

    That is nothing where it can't be moved and nothing in it is needed any more: it begins anew.
    """
    yield from make_parents(site, directory_of(site.layout.workdir))
    yield from make(site, site.layout.workdir)
    old = place + b"/" + os.fsencode(footing.lineage)
    if (yield from act(Rename(old, ours))) is OK:
        yield Rmdir(place)  # if no other job's is in it
        site.say_once(
            f"our folder on the remote was in {shown(place)}, and is in {shown(site.layout.workdir)} now"
        )
        return listing
    names = {name for name, _ in listing.names}
    ended = {name.rpartition(".")[0] for name in names if is_note(name)}
    if not all(name in ended or is_mark(name) or is_note(name) for name in names):
        raise Refused(
            f"Our folder on the remote is in {shown(place)}, where an earlier run has left something, and "
            f"can't be moved to {shown(site.layout.workdir)}. Nothing was done. Run once with the "
            f"--remote-workdir of before, or move {shown(old)} there by other means."
        )
    site.say_once(
        f"our folder on the remote begins anew in {shown(site.layout.workdir)}; what earlier runs have kept "
        f"stays in {shown(place)}"
    )
    site.later.append(_leave_behind(place, old, [name for name in names if is_mark(name)]))
    return Listing()


def _leave_behind(place: bytes, old: bytes, marks: Sequence[str]) -> Recipe[None]:
    yield [remove_mark(old + b"/" + os.fsencode(name)) for name in marks]
    yield Rmdir(old)
    yield Rmdir(place)


def _is_made(
    site: Site, ours: bytes, mark: bytes
) -> Recipe[tuple[Sequence[bool], list[bytes], tuple[Handle | Status, Handle | Status]]]:
    """Whether our folder, the job's folder and its mark are there; what is missing of DEST; the job's
    folder, and ours, opened.

    Asked first, as mostly all are there.
    """
    if site.layout.vacant and directory_of(site.layout.workdir) == site.layout.base:
        return [False], [site.layout.base], (NO_SUCH_FILE, NO_SUCH_FILE)
    *folders, file, base, above, inside, around = yield [
        *(look(site, path) for path in (site.layout.workdir, ours, mark)),
        *(Stat(path) for path in (site.layout.base, directory_of(site.layout.base))),
        Opendir(ours),
        Opendir(site.layout.workdir),
    ]
    if isinstance(base, Attrs):
        site.memory.note_group("", base)
    for path, there in zip((site.layout.workdir, ours), folders, strict=True):
        if isinstance(there, Attrs) and kind_of(there) is not Kind.DIR:
            raise in_the_way(path, there)
    if isinstance(folders[1], Attrs):
        site.memory.user = folders[1].uid
    made = [isinstance(there, Attrs) for there in (*folders, file)]
    site.memory.owner = folders[0].uid if isinstance(folders[0], Attrs) else None
    missing = [] if all(made) else (yield from find_missing(site.layout.base, [base, above]))
    return made, missing, (inside, around)


def _make_job_folder(
    site: Site, ours: Sequence[bytes], mark: bytes, missing: Sequence[bytes]
) -> Recipe[Handle | Status]:
    """DEST with the modes the server gives, ``.reconcile``, ``ours``, and the mark's file, which is opened.

    RACE: where somebody puts a link in the place of a folder within a round trip, an empty folder
    and file are made behind it; then it is refused.
    """
    base = [Mkdir(path, 0o777) for path in missing]
    folders = (site.layout.workdir, *ours)
    above = directory_of(site.layout.workdir)
    if above not in (site.layout.base, b"/"):
        yield from check_base(site, missing, (yield base))
        yield from make_parents(site, above)
        base, missing = [], []
    replies = yield from in_turn(site, [*base, *making(folders), site.open_new(mark, 0o600)])
    opened: Handle | Status = replies.pop()
    yield from check_base(site, missing, replies[: len(missing)])
    yield from check_made(site, folders, replies[len(missing) :])
    return opened


def _write_mark(site: Site, path: bytes, lineage: str, opened: Handle | Status) -> Recipe[None]:
    if isinstance(opened, Status):
        there = yield from look(site, path)
        if isinstance(there, Attrs):
            return  # written by an earlier run
        opened = yield from open_anyhow(site, path, opened)
        if isinstance(opened, Status):
            raise (yield from refusal(site, path, opened))
    content: list[Verb] = [Write(opened.handle, 0, lineage.encode() + b"\n"), Close(opened.handle)]
    failed: list[tuple[type, Status]] = yield Burst(iter(content))
    if failed:
        yield Remove(path)
        raise (yield from refusal(site, path, failed[0][1]))
