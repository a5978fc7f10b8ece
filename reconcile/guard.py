"""Looks at a whole plan before its first operation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from reconcile.arrivals import lost
from reconcile.errors import Refused
from reconcile.model import Action, Directory, DirectorySnapshot, Entry, Op, Options, Plan, Scan

SMALL_SNAPSHOT = 20  # entries; below this the default of --max-delete guards nothing
DEFAULT_MAX_DELETE = "50%"
NOTHING_OVERDUE: Mapping[str, int] = MappingProxyType({})


def guard(
    plan: Plan,
    old: DirectorySnapshot,
    scan: Scan,
    options: Options,
    *,
    other_device: bool = False,
    overdue: Mapping[str, int] = NOTHING_OVERDUE,
    spent: int | None = None,
) -> None:
    """Look at the whole plan before its first operation. Raises ``Refused``.

    A mirror of a folder that became empty is refused: it may not be mounted. So is
    another disk in its place: ``other_device``, and more than half of the names at
    the top are gone; also without a mirror, where all that would be retained.
    Else counts files, links and directories that would go, subtrees whole; moves
    don't count, nor does what comes to another place. Per cent are of the entries that are not retained.

    ``overdue``: deletes that were let through before and could not be made, with their entries; they
    don't count again, or what the server denies would some night hold up all else.
    ``spent``: how many entries this run has deleted by now, if it is at its second pass; ``old`` is
    then what it began with.
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
    if not doomed:
        return
    limit = options.max_delete or DEFAULT_MAX_DELETE
    if not limit.endswith("%"):
        if doomed > int(limit):
            raise Refused(_guard_message(doomed, f"more than --max-delete {limit}", spent))
        return
    total = _count(old.dirs.values())
    if options.max_delete is None and total <= SMALL_SNAPSHOT:
        return
    if doomed * 100 > float(limit[:-1]) * total:
        what = f"--max-delete {limit}" if options.max_delete else f"the default --max-delete {limit}"
        raise Refused(_guard_message(doomed, f"of {total:,} known, more than {what}", spent))


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


def _guard_message(doomed: int, why: str, spent: int | None) -> str:
    done = "Nothing was done." if spent is None else "What had failed was not tried once more."
    return (
        f"the plan would delete {doomed:,} entries on the remote, {why}. {done} "
        "Look at it with 'reconcile plan'; if it is what you want, "
        "run again with --allow-mass-delete or a higher --max-delete."
    )


def _count(directories: Iterable[Directory]) -> int:
    return sum(not entry.retained for directory in directories for entry in directory.entries().values())
