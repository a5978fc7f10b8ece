"""Which folder holds a job's state: also where SRC is given by another name, or has moved.

A job is the path of SRC as it was given, and DEST. The same folder may be reached by other
paths, through links that are there to turn (``current -> releases/7``), and states of
earlier versions go by the real path. With a name it is that and DEST, wherever SRC is; what SRC
had brought there without a name becomes the named job's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.errors import UsageError
from reconcile.core.job import Job, Target
from reconcile.core.model import DirectorySnapshot
from reconcile.core.turns import NAMELESS
from reconcile.state.lock import hold_lock
from reconcile.state.small import recall, remember
from reconcile.state.store import has_snapshot, job_folder, read_beginning

_WORKDIR = "workdir"


class Place(Struct, frozen=True):
    """Where a job's state is, and the SRC it is of."""

    folder: str
    source: str
    former: str = ""  # folder that is to become ``folder``: made under another name of SRC
    formerly: str = ""  # that name
    likely: tuple[str, str] | None = None  # another state that may be this job's, and the SRC it is of


def find_place(
    base: str,
    source: str,
    target: Target,
    moved_from: str | None = None,
    name: str = "",
    *,
    chosen: bool = False,
) -> Place:
    """The place of the job that sends ``source`` to ``target``, by its name if it has one. Changes nothing.

    ``moved_from``: where SRC was, if it was elsewhere. ``chosen``: the user has named ``base``. Raises
    UsageError if nothing is known of ``moved_from``.
    """
    own = Place(job_folder(base, name or source, target), source)
    if has_snapshot(own.folder):
        return replace(own, formerly=moved_from or "")
    others = list(find_others(base, target))
    by_path = [other for other in others if _is_by_path(other, base, target)]
    if moved_from is not None:
        known = (*by_path, *(() if name else others))
        former = next((other for other in known if _is_same(other.source, moved_from)), None)
        if former is None:
            raise UsageError(
                f"--moved-from: nothing is known of {moved_from!r} being sent to this DEST; look for it in "
                f"{base!r}, or leave the option out"
            )
        if former not in by_path:  # a name that it keeps
            return Place(former.folder, source, formerly=former.source)
        return replace(own, former=former.folder, formerly=former.source)
    real = os.path.realpath(source)
    for other in by_path:
        if other.source in (source, real):
            return replace(own, former=other.folder, formerly=other.source)
    if name:
        return own
    same = [other for other in others if os.path.realpath(other.source) == real]
    plain = [other for other in same if other in by_path]
    if plain:
        return plain[0]
    return same[0] if len(same) == 1 else replace(own, likely=_likely(by_path, base, chosen))


def find_state(base: str, source: str, target: Target, moved_from: str | None, name: str) -> str:
    """The folder with the state of the job, if there is one; "": there is none."""
    try:
        place = find_place(base, source, target, moved_from, name)
    except UsageError:
        return ""
    folder = place.former or place.folder
    return folder if has_snapshot(folder) else ""


def find_copy(base: str, source: str, target: Target, name: str, *, whoever: bool) -> str:
    """The folder with a copy of a state of the job that is at DEST; "": there is none. ``whoever``: of what
    SRC has sent there by another name, too."""
    own = job_folder(base, name or NAMELESS, target)
    if has_snapshot(own):
        return own
    return find_state(base, source, target, None, name) if whoever else ""


def _is_by_path(place: Place, base: str, target: Target) -> bool:
    """Whether the job there is known by the path of its SRC, and not by a name."""
    return place.folder == job_folder(base, place.source, target)


def _likely(others: Sequence[Place], base: str, chosen: bool) -> tuple[str, str] | None:
    """The one state whose SRC is gone, or that alone is where the user says that it is."""
    lost = [other for other in others if not os.path.lexists(other.source)]
    if len(lost) != 1 and chosen and sum(1 for _ in _headers(base)) == 1:
        lost = list(others)
    return (lost[0].folder, lost[0].source) if len(lost) == 1 else None


def find_others(base: str, target: Target) -> Iterator[Place]:
    """All that is known to have been sent to ``target``."""
    for folder, header in _headers(base):
        if header["target"] == str(target):
            yield Place(folder, str(header["source"]))


def _headers(base: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Each job's folder, and what its snapshot says of itself."""
    try:
        names = sorted(os.listdir(base))
    except OSError:
        return
    for name in names:
        folder = os.path.join(base, name)
        header = read_beginning(folder)
        if header is not None:
            yield folder, header


def is_elsewhere(job: Job, old: DirectorySnapshot) -> bool:
    """Whether SRC of a job that is known by its name is not where it was the last time."""
    return bool(job.name) and bool(old.source) and not _is_same(job.source, old.source)


def take_over_state(job: Job) -> Job:
    """Make the state that was found under another name of SRC the job's own, under its lock.

    RACE: a run that is started by the old name at this very moment finds no state, and is
    refused where DEST holds anything.
    """
    if not job.former:
        return job
    with hold_lock(job.former, job.options.wait):
        try:
            os.makedirs(os.path.dirname(job.state), mode=0o700, exist_ok=True)
            os.rename(job.former, job.state)
        except OSError:  # something is there already: it serves where it is
            return replace(job, state=job.former)
    return job


def recall_workdir(folder: str) -> str:
    """Where on the remote our folder was in the last run; "": not known."""
    try:
        path = recall(folder, _WORKDIR)
    except ValueError:
        path = ""
    return path if isinstance(path, str) else ""


def remember_workdir(folder: str, path: str) -> None:
    """Note where it is. Never fails: the usual place is looked at anyway."""
    try:
        if path != recall_workdir(folder):
            remember(folder, _WORKDIR, path)
    except OSError:
        pass


def _is_same(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)
