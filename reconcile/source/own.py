"""What of ours may lie in SRC: it is never sent, whatever the filters say.

What may live here: where our own things are, and what is said of them. A key that is sent to
the server, or the state that changes with each run, would be there for others to read, and to send again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from stat import S_ISFIFO
from types import MappingProxyType

from reconcile.core.errors import Refused, UsageError
from reconcile.core.filters import Filter
from reconcile.core.job import Own
from reconcile.core.model import Action, DirectorySnapshot, Kind, Op, Plan, Problem, Reason, Stage
from reconcile.core.paths import lookup
from reconcile.core.units import show_some
from reconcile.source.files import Source
from reconcile.source.scan import Identity, identify
from reconcile.state.lock import is_job_folder

_STATE = "is where reconcile keeps its state"
_BRING = Op.CREATE, Op.MODIFY
_SETTINGS = ".env"  # and what begins with it: the variables of a program, passwords among them


def find_own(
    source: str,
    base: str,
    state: str,
    files: Iterable[Own] = (),
    dest: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Own, ...]:
    """Our own things that are within SRC, if they are there.

    ``files``: those that flags name, wherever they are, by their paths in full. ``dest``: folders that
    belong to DEST, and what each is. Raises UsageError if SRC is within one.
    """
    source = os.path.realpath(source)
    found: dict[str, str] = {}
    for folder, what in dest.items():
        if way_within(folder, source) is not None:
            raise UsageError(
                f"SRC is {what}, or lies in it: it would be brought into itself. Choose another DEST"
            )
        if (inside := way_within(source, folder)) is not None:
            found[inside] = f"is {what}"

    def add(name: str, what: str) -> None:
        directory, last = os.path.split(os.path.abspath(name))
        for path in (os.path.realpath(name), os.path.join(os.path.realpath(directory), last)):
            inside = os.path.relpath(path, source)
            if inside.split(os.sep)[0] not in (os.pardir, os.curdir):
                found.setdefault(inside, what)

    for own in files:
        add(own.path, own.what)
    if os.path.realpath(base) == source:  # all that lies beside it is SRC's
        for name in (os.path.basename(state), *_job_folders(source)):
            add(os.path.join(source, name), _STATE)
    else:
        add(base, _STATE)
    return tuple(Own(path, what) for path, what in sorted(found.items()))


def identify_own(state: str, files: Iterable[Own]) -> dict[Identity, str]:
    """What is ours, and what it is: followed links, mounts and hard links give it any name."""
    base = os.path.dirname(state)
    folders = ((os.path.join(base, name), _STATE) for name in (os.path.basename(state), *_job_folders(base)))
    found: dict[Identity, str] = {}
    for name, what in (*((own.path, own.what) for own in files), *folders):
        with suppress(OSError):
            info = os.stat(name)
            if not S_ISFIFO(info.st_mode):
                found[identify(info)] = what
    return found


def way_within(top: str, path: str) -> str | None:
    """How a path goes on from ``top``, "" if it is that; None: it is not in it.

    By whatever names the two are reached: through links, mounts, in other letters where case is nothing.
    """
    top, path = os.path.realpath(top), os.path.realpath(path)
    above = path
    while not _is_same(top, above):
        if above == "/":
            return None
        above = os.path.dirname(above)
    return path[len(above) :].lstrip("/")


def _is_same(one: str, other: str) -> bool:
    with suppress(OSError):
        return one == other or os.path.samefile(one, other)
    return False


def _job_folders(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if is_job_folder(entry.path))
    except OSError:
        return  # the scan says so


def work_in_dest(dest: str, workdir: str | None) -> tuple[Own, ...]:
    """The folder of --remote-workdir, if it is within DEST."""
    top = f"{dest.rstrip('/')}/"
    if workdir is None or not workdir.startswith(top):
        return ()
    return (Own(workdir.removeprefix(top), "is, on the server, the folder of --remote-workdir"),)


def line_for(own: Own) -> str:
    """The gitignore line that matches it, and nothing else."""
    return "/" + re.sub(r"([*?\[\\ ])", r"\\\1", own.path)


def note_own(own: Iterable[Own], source: Source) -> list[Problem]:
    """That they are left out, if they are there."""
    return [
        Problem(each.path, Stage.SCAN, Reason.RESERVED, f"{each.what}; it is never sent")
        for each in own
        if source.look(each.path) is not None
    ]


def tell_sent_before(own: Iterable[Own], old: DirectorySnapshot) -> Iterator[str]:
    """What an earlier version sent all the same."""
    for each in own:
        entry = lookup(old.dirs, each.path)
        if entry is not None and entry.kind is not Kind.DIR:
            yield (
                f"{each.path!r} was sent by an earlier run, and DEST holds it still. It {each.what}: "
                "remove it there, and if it is a secret, use another"
            )


def tell_secrets(plan: Plan) -> Iterator[str]:
    """New files that mostly hold passwords, by their names."""
    for action in plan.actions:
        path = action.path
        if _SETTINGS in path and path.rpartition("/")[2].startswith(_SETTINGS) and action.op is Op.CREATE:
            yield (
                f"{path!r} is new to DEST. Files of that name mostly hold passwords; "
                "exclude it if they have no business there"
            )


def tell_keys(done: Iterable[Action], keys: Collection[str]) -> Iterator[str]:
    """Files that were sent and turned out to be private keys: all in one message, if there are any."""
    sent = [action.path for action in done if action.path in keys and action.op in _BRING] if keys else []
    if len(sent) == 1:
        yield (
            f"{sent[0]!r} is a private key, and was sent to DEST. If it has no business there, "
            "remove it there, exclude it here, and use another"
        )
    elif sent:
        yield (
            f"{len(sent):,} files are private keys, and were sent to DEST: {show_some(sent)}. "
            "Those that have no business there: remove them there, exclude them here, and use others"
        )


def refuse_shared(work: tuple[Own, ...], source: Source, chosen: Filter) -> None:
    """Raises Refused if a folder that is to be sent would share one with what we keep on the server."""
    for own in work:
        if source.names(own.path) and not chosen.excludes(own.path, True):
            raise Refused(
                f"--remote-workdir is {own.path!r} in DEST, and SRC has a folder of that name. "
                "Nothing was done. Choose one outside DEST, or one that SRC does not have, or exclude it."
            )
