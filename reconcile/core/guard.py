"""Looks at a whole plan before its first operation. Pure."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from reconcile.core.arrivals import lost
from reconcile.core.errors import Refused
from reconcile.core.job import Job, Options
from reconcile.core.model import Action, Change, Directory, DirectorySnapshot, Entry, Kind, Op, Plan, Scan

SMALL_SNAPSHOT = 20  # entries; below this the default of --max-delete guards nothing
DEFAULT_MAX_DELETE = "50%"
NOTHING_OVERDUE: Mapping[str, int] = MappingProxyType({})
MANY_GONE = 1000  # entries that are gone at once, which are told of however many there are

# What a build puts into the name of a file to tell its content: the run alone differs from one to the next.
_RUN = r"(?<=[-._])[0-9A-Za-z]{4,}(?![0-9A-Za-z])"
_COUNTER = r"[A-Za-z]*[0-9]*|[0-9]+[A-Za-z]+"  # and no hash: IMG_0001, IMG-WA0001, clip-1080p


def guard(
    plan: Plan,
    old: DirectorySnapshot,
    scan: Scan,
    options: Options,
    *,
    other_device: bool = False,
    overdue: Mapping[str, int] = NOTHING_OVERDUE,
    spent: int | None = None,
    preview: str = "reconcile plan",
) -> None:
    """Look at the whole plan before its first operation. Raises ``Refused``.

    A mirror of a folder that became empty is refused: it may not be mounted. So is
    another disk in its place: ``other_device``, and more than half of the names at
    the top are gone; also without a mirror, where all that would be retained.
    Else counts files, links and directories that would go, subtrees whole; moves
    don't count, nor does what comes to another place, nor do files that come again with another
    hash in their name. Per cent are of all that a delete could touch, retained entries among them.

    ``overdue``: deletes that were let through before and could not be made, with their entries; they
    don't count again, or what the server denies would some night hold up all else.
    ``spent``: how many entries this run has deleted by now, if it is at its second pass; ``old`` is
    then what it began with. ``preview``: the command that shows such a plan.
    """
    if options.allow_mass_delete:
        return
    doomed = sum(action.entries for action in plan.actions if action.op is Op.DELETE)
    if doomed and is_empty(scan):
        raise Refused(
            f"SRC is empty, and with --mirror all {doomed:,} entries on the remote would be deleted. "
            "Nothing was done. Is it mounted? If it is empty on purpose, run again with --allow-mass-delete."
        )
    if other_device:
        _guard_device(plan, old, scan)
    doomed = sum(_counted(action, overdue) for action in plan.actions) + (spent or 0)
    if (why := _is_too_much(doomed, plan, old, options)) is None:
        return
    renamed = count_rehashed(plan.actions)
    if renamed and (why := _is_too_much(doomed - renamed, plan, old, options)) is None:
        return
    raise Refused(_guard_message(doomed, renamed, why, spent, preview))


def _is_too_much(doomed: int, plan: Plan, old: DirectorySnapshot, options: Options) -> str | None:
    """Why so many deletions are too many; None if they are not."""
    limit = options.max_delete or DEFAULT_MAX_DELETE
    if not limit.endswith("%"):
        return f"more than --max-delete {limit}" if doomed > int(limit) else None
    percent = float(limit[:-1])
    enough = math.ceil(doomed * 100 / percent) if percent else math.inf  # so many known entries allow it
    if not doomed or (options.max_delete is None and enough <= SMALL_SNAPSHOT):
        return None
    total = _count(plan, old, enough)
    if doomed * 100 <= percent * total or (options.max_delete is None and total <= SMALL_SNAPSHOT):
        return None
    what = f"--max-delete {limit}" if options.max_delete else f"the default --max-delete {limit}"
    return f"of {total:,} known, more than {what}"


def _count(plan: Plan, old: DirectorySnapshot, enough: float) -> int:
    """What a delete could touch, counted until it is enough: a directory that is looked into is decoded."""
    hidden = sum(entry is not None and entry.excluded for entry in plan.restamped.values())
    total = -hidden
    for directory in old.dirs.values():
        if total >= enough:
            break
        total += sum(not entry.excluded for entry in directory.entries().values())
        directory.forget()
    return total


def guard_name(plan: Plan, old: DirectorySnapshot, job: Job, changes: Iterable[Change]) -> None:
    """Of a job that is known by its name, and goes on from another SRC: whether that is the same one.

    Raises ``Refused`` where less than half of what is known is there. What moved is, and what comes again
    with another hash in its name. Content is no matter: a site with a new footer on each page is the same.
    """
    if job.formerly == old.source:
        return
    gone = [each for each in changes if each.new is None and each.old is not None and not each.old.retained]
    moved = sum(action.entries for action in plan.actions if action.op is Op.MOVE and not action.parks)
    come = (action.path for action in plan.actions if action.op is Op.CREATE and action.kind is Kind.FILE)
    vanished = (each.path for each in gone if each.old is not None and each.old.kind is Kind.FILE)
    missing = len(gone) - moved - _count_rehashed(vanished, come)
    if missing <= 0:
        return
    total = _count(plan, old, math.inf) - count_kept(old)
    if 2 * missing > total:
        raise Refused(
            f"The last time the job {job.name!r} has sent {old.source!r}, and of the {total:,} entries that "
            f"it knows {missing:,} are not in {job.source!r}. Nothing was done. If that is another folder, "
            f"give it another --job; if it is the same, run once with --moved-from {old.source!r}."
        )


def count_rehashed(actions: Iterable[Action]) -> int:
    """``_count_rehashed`` of what is deleted, and comes."""
    paths: dict[Op, list[str]] = {Op.DELETE: [], Op.CREATE: []}
    for action in actions:
        if action.op in paths and action.kind is Kind.FILE:
            paths[action.op].append(action.path)
    return _count_rehashed(paths[Op.DELETE], paths[Op.CREATE])


def _count_rehashed(vanished: Iterable[str], new: Iterable[str]) -> int:
    """Files that vanish where another comes under the same name but for one run of letters and digits.

    Each is paired with one other. Where several could be meant, as with the pictures of
    a camera, only what looks like a hash is taken for one: digits among letters.
    """
    gone: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    come: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for paths, some in ((vanished, gone), (new, come)):
        for path in paths:
            for around, run in _split_name(path):
                some[around].append((path, run))
    paired: set[str] = set()
    count = 0
    for around, olds in gone.items():
        news = come.get(around, [])
        if len(olds) > 1 or len(news) > 1:
            olds, news = (
                [each for each in some if not re.fullmatch(_COUNTER, each[1])] for some in (olds, news)
            )
        left = [path for path, _ in news if path not in paired]
        for path, _ in olds:
            if left and path not in paired:
                paired |= {path, left.pop()}
                count += 1
    return count


def _split_name(path: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Each run in a name that may be a hash, and what is around it, the directory with it."""
    for run in re.compile(_RUN).finditer(path, path.rfind("/") + 1):
        yield (path[: run.start()], path[run.end() :]), run[0]


def tell_gone(plan: Plan, old: DirectorySnapshot, scan: Scan) -> str | None:
    """What is to be said, once, of what is newly gone here and stays there, if it is much."""
    if not plan.gone:
        return None
    if is_empty(scan):
        return f"SRC is empty; the {plan.gone:,} entries it had stay on the remote. Is it mounted?"
    much = plan.gone > SMALL_SNAPSHOT and _count(plan, old, 10 * plan.gone + 1) <= 10 * plan.gone
    if not much and plan.gone < MANY_GONE:
        return None
    return (
        f"{plan.gone:,} entries are gone here since the last run; they stay on the remote. "
        "Is all of SRC there? To delete there what is gone here, run with --mirror."
    )


def count_kept(old: DirectorySnapshot) -> int:
    """Entries that are gone here and stay there. Only directories that hide something are looked into."""
    return sum(directory.retained for directory in old.dirs.values() if directory.hidden)


def _guard_device(plan: Plan, old: DirectorySnapshot, scan: Scan) -> None:
    """Device numbers change over reboots too: only together with what is missing do they mean something."""
    hidden = {path for path, entry in plan.restamped.items() if entry is not None and entry.excluded}
    known = {
        name
        for name, entry in _entries(old.dirs, "").items()
        if not entry.retained and not entry.excluded and name not in hidden
    }
    gone = known - _entries(scan.dirs, "").keys() - scan.unknown
    if 2 * len(gone) > len(known):
        raise Refused(
            f"SRC is on another device than before, and of the {len(known):,} names at its top {len(gone):,} "
            "are gone. Nothing was done. Is the right disk mounted? If it is, run again with "
            "--allow-mass-delete."
        )


def is_empty(scan: Scan) -> bool:
    """Whether there is nothing in the source, as far as it could be looked at."""
    return not scan.unknown and not any(directory.entries() for directory in scan.dirs.values())


def _entries(dirs: Mapping[str, Directory], path: str) -> Mapping[str, Entry]:
    directory = dirs.get(path)
    return {} if directory is None else directory.entries()


def _counted(action: Action, overdue: Mapping[str, int]) -> int:
    """How many entries of an action count as deleted."""
    return max(lost(action) - overdue.get(action.path, 0), 0) if action.op is Op.DELETE else 0


def _guard_message(doomed: int, renamed: int, why: str, spent: int | None, preview: str) -> str:
    done = "Nothing was done." if spent is None else "What had failed was not tried once more."
    offset = ""
    if renamed:
        left = doomed - renamed
        offset = f" ({left:,} without the {renamed:,} that come again with another hash in their name)"
    return (
        f"the plan would delete {doomed:,} entries on the remote{offset}, {why}. {done} "
        f"Look at it with '{preview}'; if it is what you want, "
        "run again with --allow-mass-delete or a higher --max-delete."
    )
