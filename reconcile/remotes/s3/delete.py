"""Deletes, up to 1,000 in a request: of objects, and of all that is ours below a prefix.

What may live here: what may go, and what stays. Nothing is moved to a trash first, as a delete is one
request; but what is to be kept is copied there before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.job import OnDrift, Stop
from reconcile.core.model import Action, Entry, Kind, Outcome, Problem, Reason
from reconcile.core.paths import ancestors, join, parent
from reconcile.core.units import show_some
from reconcile.remotes.s3.drift import is_left, is_unequal, keep, look_closer, retire, stays
from reconcile.remotes.s3.failure import Refusal, explain, problem
from reconcile.remotes.s3.keys import is_plain
from reconcile.remotes.s3.listing import Unlisted, head, objects
from reconcile.remotes.s3.site import Site
from reconcile.remotes.s3.tags import Shown, unpack
from reconcile.remotes.words import one_line

T = TypeVar("T")

BATCH = 1000  # keys of a DeleteObjects (S3 API reference)
LEAST = 100  # keys that are worth a request of their own
_WHAT = "delete it"


class Doomed(Struct, frozen=True):
    """An object that is to go, as long as it is as it was seen."""

    key: str
    shown: Shown
    path: str = ""  # if it is ours, and goes by way of the trash, should there be one


def batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """So many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def spread(site: Site, items: Sequence[T]) -> Iterator[Sequence[T]]:
    """So many at a time that all threads have some: a server deletes one after the other of a request."""
    least = LEAST if site.ability.deletes_many else 1
    return batches(items, max(least, min(BATCH, -(-len(items) // site.pool.size))))


def remove(site: Site, doomed: Sequence[Doomed]) -> dict[str, Refusal]:
    """Delete objects, 1,000 at most; returns those that stand, and why. What is gone already is gone.

    RACE: but where the server heeds an ETag, what comes there since it was seen goes with it.
    """
    failed = _retire(site, doomed)
    doomed = [each for each in doomed if each.key not in failed]
    plain = [each for each in doomed if is_plain(each.key)]
    if len(plain) == 1 or not site.ability.deletes_many:
        plain = []
    at_once = {each.key for each in plain}
    for each in doomed:
        if each.key not in at_once:
            failed.update(_remove_one(site, each))
    if not plain:
        return failed
    heeds = site.ability.deletes_all_same
    wanted = [
        {"Key": each.key, "ETag": each.shown.condition}
        if heeds and each.shown.condition
        else {"Key": each.key}
        for each in plain
    ]
    try:
        reply = site.service.ask("delete_objects", Delete={"Quiet": True, "Objects": wanted})
    except Refusal as refusal:
        return failed | {each.key: refusal for each in plain}
    for error in reply.get("Errors", ()):
        code = str(error.get("Code", ""))
        if code not in ("NoSuchKey", "404"):
            status = {"PreconditionFailed": 412, "AccessDenied": 403}.get(code, 400)
            why = Refusal(code, status, one_line(str(error.get("Message") or "")))
            key = str(error.get("Key"))
            # By a name that none of them has, or none at all: it may be about any.
            failed.update(dict.fromkeys([key] if key in at_once else at_once - failed.keys(), why))
    for each in plain:
        if (unmet := failed.get(each.key)) is not None and unmet.is_unmet:
            del failed[each.key]
            failed.update(_remove_one(site, each))
    return failed


def _retire(site: Site, doomed: Sequence[Doomed]) -> dict[str, Refusal]:
    """Copy to the trash what is to go by way of it; returns those of which that is refused, and why."""
    failed: dict[str, Refusal] = {}
    for each in doomed if site.options.trash is not None else ():
        try:
            if each.path:
                retire(site, each.path, each.shown, replaced=False)
        except Refusal as refusal:
            if not refusal.is_absent:
                failed[each.key] = refusal
    return failed


def _remove_one(site: Site, each: Doomed) -> dict[str, Refusal]:
    is_heeded = site.ability.deletes_same and each.key not in site.unequal
    wanted = {"IfMatch": each.shown.condition} if is_heeded and each.shown.condition else {}
    try:
        site.service.ask("delete_object", Key=each.key, **wanted)
    except Refusal as refusal:
        if wanted and refusal.is_unmet:
            there = _head(site, each.key)
            if is_unequal(site, each.key, refusal, each.shown, there):
                return _remove_one(site, each)
        if not refusal.is_absent:
            return {each.key: refusal}
    return {}


def _head(site: Site, key: str) -> Shown | None:
    try:
        return head(site.service, key)
    except Refusal:
        return None


def clear_away(site: Site, keys: Iterable[str]) -> list[tuple[str, Refusal]]:
    """What is ours, and nobody else's, whatever it is by now."""
    doomed = [Doomed(key, Shown(0, "?")) for key in keys]
    tasks = (_removal(site, some) for some in spread(site, doomed))
    return [pair for _, failed in site.pool.run(tasks) for pair in failed.items()]


def delete_files(
    site: Site, actions: Sequence[Action], looked: Mapping[str, Shown | None] | None
) -> list[Outcome]:
    """Delete objects by their paths. ``looked``: what is there; None: the server compares by itself."""
    ended: list[Outcome] = []
    going: dict[str, Action] = {}
    doomed: list[Doomed] = []
    for action in actions:
        if looked is None and not action.keep:
            there: Shown | None = (
                unpack(action.old.tag) if action.old is not None and action.old.tag else None
            )
        else:
            try:
                there = (
                    head(site.service, site.keys.of(action.path)) if looked is None else looked[action.path]
                )
                there, trouble = _let_go(site, action, there)
            except Refusal as refusal:
                there, trouble = None, explain(action.path, _WHAT, refusal)
            if trouble is not None:
                ended.append(Outcome(action, problem=trouble))
                continue
        if there is None:
            ended.append(Outcome(action, {action.path: None}))
            continue
        key = site.keys.of(action.path)
        going[key] = action
        is_ours = is_left(there, action.old) and not action.keep
        doomed.append(Doomed(key, there, action.path if is_ours else ""))
    failed = remove(site, doomed) if doomed else {}
    again: list[Action] = []
    for key, action in going.items():
        if (why := failed.get(key)) is None:
            ended.append(Outcome(action, {action.path: None}))
        elif why.is_unmet and looked is None:
            again.append(action)
        else:
            ended.append(Outcome(action, problem=explain(action.path, _WHAT, why)))
    for action in again:  # it is not as we left it: looked at, and decided
        try:
            seen = {action.path: head(site.service, site.keys.of(action.path))}
        except Refusal as refusal:
            ended.append(Outcome(action, problem=explain(action.path, _WHAT, refusal)))
        else:
            ended += delete_files(site, [action], seen)
    return ended


def _let_go(site: Site, action: Action, there: Shown | None) -> tuple[Shown | None, Problem | None]:
    """Whether what is at a path may go. What is to be kept is copied first. Raises Refusal."""
    there = look_closer(site, action.path, there, action.old)
    if there is None:
        return None, None
    if is_left(there, action.old):
        if action.keep:
            keep(site, action.path, there)
        return there, None
    if site.options.on_drift is OnDrift.SKIP:
        return there, stays(action.path, action.old)
    if site.options.on_drift is OnDrift.BACKUP:
        keep(site, action.path, there)
    return there, None


class Tree(Struct, frozen=True):
    """A directory that is to go, and what of it does: the rest is not ours."""

    action: Action
    top: str  # its key, without a slash
    going: list[Doomed]
    staying: list[str]  # names in it


def survey_tree(site: Site, action: Action) -> Tree | Outcome:
    """What is ours below a path. What is not stays, unless all has to make room: then it is kept."""
    top = site.keys.of(action.path)
    members = dict(action.members)
    ours: list[tuple[str, Shown]] = []
    others: list[tuple[str, Shown]] = []
    there: list[tuple[str, Shown]] = []
    try:
        for key, shown in objects(site.service, f"{top}/"):
            name = key[len(top) + 1 :]
            entry = members.get(name)
            closer = look_closer(site, f"{action.path}/{name}", shown, entry) if entry is not None else shown
            there.append((name, closer or shown))
    except Refusal as refusal:
        return Outcome(action, problem=explain(action.path, "look at what is in it", refusal))
    except Unlisted as unlisted:
        if not unlisted.refusal.is_unsigned:
            raise
        return Outcome(action, problem=explain(action.path, "look into it", unlisted.refusal))
    for name, shown in there:
        entry = members.get(name)
        if site.keys.hides(f"{top}/{name}"):
            continue
        is_ours = _is_marker(name, shown) or (
            entry is not None and entry.kind is Kind.FILE and is_left(shown, entry)
        )
        (ours if is_ours and not (entry is not None and entry.excluded) else others).append((name, shown))
    takes_all = action.whole or action.keep
    if others and not takes_all:
        names = {name.rstrip("/") for name, _ in others}
        above = {top for name in names for top in ancestors(name)}
        ours = [(name, shown) for name, shown in ours if name.rstrip("/") not in above and name]
    going = ours + (others if takes_all else [])
    retired: set[str] = set()
    if action.keep or (others and takes_all):
        try:
            for name, shown in going:
                if not _is_marker(name, shown):
                    keep(site, f"{action.path}/{name}", shown)
        except Refusal as refusal:
            return Outcome(action, problem=explain(action.path, "keep what is in it", refusal))
    else:
        retired = {name for name, shown in ours if not _is_marker(name, shown)}
    staying = [] if takes_all else [name for name, _ in others]
    doomed = [
        Doomed(f"{top}/{name}", shown, f"{action.path}/{name}" if name in retired else "")
        for name, shown in going
    ]
    return Tree(action, top, doomed, staying)


def delete_trees(site: Site, trees: Sequence[Tree], stop: Stop | None) -> Iterator[Outcome]:
    """Delete what goes of them, of all together. One of which not all was asked for has no outcome yet."""
    doomed = [each for tree in trees for each in tree.going]
    failed: dict[str, Refusal] = {}
    asked: set[str] = set()
    for some, stand in site.pool.run((_removal(site, some) for some in spread(site, doomed)), stop):
        asked.update(each.key for each in some)
        failed.update(stand)
    for tree in trees:
        if all(each.key in asked for each in tree.going):
            yield _ended(tree, failed)


def _removal(site: Site, some: Sequence[Doomed]) -> Callable[[], tuple[Sequence[Doomed], dict[str, Refusal]]]:
    return lambda: (some, remove(site, some))


def _is_marker(name: str, shown: Shown) -> bool:
    """Whether it only says that there is a directory. What others put there may hold something as well."""
    return not shown.size and (not name or name.endswith("/"))


def _ended(tree: Tree, failed: Mapping[str, Refusal]) -> Outcome:
    """What went, and why not all of it did."""
    action, start = tree.action, len(tree.top) + 1
    gone: dict[str, Entry | None] = {}
    standing = [each.key for each in tree.going if each.key in failed]
    if standing or tree.staying:
        names = (each.key[start:].rstrip("/") for each in tree.going if each.key not in failed)
        gone = {join(action.path, name): None for name in names if name}
    if standing:
        trouble = explain(f"{action.path}/{standing[0][start:]}", _WHAT, failed[standing[0]])
        if others := len(standing) - 1:
            more = f"{others:,} more of that directory {'stays' if others == 1 else 'stay'}, too"
            trouble = replace(trouble, message=f"{trouble.message}; {more}")
        return Outcome(action, gone, trouble)
    if tree.staying:
        return _around(action, gone, tree.staying)
    return Outcome(action, {action.path: None})


def _around(action: Action, gone: dict[str, Entry | None], staying: Sequence[str]) -> Outcome:
    """The directory stays, for what is not ours. Directories of ours in which nothing is left are gone."""
    left = {top for name in staying for top in ancestors(parent(name))}
    for name, entry in action.members:
        path = join(action.path, name)
        if entry.kind is Kind.DIR and name not in left and not entry.excluded:
            gone[path] = None
    shown = show_some(sorted(staying))
    text = f"the directory stays on the remote: it holds what is not ours to delete ({shown})"
    note = problem(action.path, Reason.DRIFT, text)
    return Outcome(action, {action.path: None}, note=note, entries=len(gone))
