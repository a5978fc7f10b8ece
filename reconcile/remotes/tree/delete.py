"""What goes from the remote: into the run's trash first, and from there for good.

What may live here: deleting files and trees.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from reconcile.core.linked import note_left
from reconcile.core.model import Action, Entry, Kind, Op, Outcome, Problem, Reason
from reconcile.core.paths import parent
from reconcile.core.twins import fold_name
from reconcile.core.units import show_some
from reconcile.remotes.tree.drift import Way, clear, meet, ours_to_go, retire, size_of
from reconcile.remotes.tree.failure import explain
from reconcile.remotes.tree.layout import inside
from reconcile.remotes.tree.link import look, matches
from reconcile.remotes.tree.listing import BATCH, TOGETHER, Listing, batches, list_for_sure
from reconcile.remotes.tree.purge import is_gone
from reconcile.remotes.tree.site import Site, absent, act, kind_of, problem
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.trash import ITSELF, discard
from reconcile.remotes.tree.verbs import OK, UNCLEAR, Attrs, Code, Rmdir, Status

Found = dict[str, Attrs]


def width(action: Action) -> int:
    """How many directories are listed at a time to delete or look through a tree: no more than we know of."""
    return TOGETHER if action.op is not Op.DELETE else min(TOGETHER, 1 + len(_folders(action)))


def _folders(action: Action) -> list[str]:
    return [path for path, entry in action.members if entry.kind is Kind.DIR]


def list_tree(site: Site, top: bytes, known: Sequence[str]) -> Recipe[Found | Status | str]:
    """Everything below a directory, relative to it, parents first. Else the failure, or a bad name.

    The directories in it that are ``known`` are listed at once. What is seen in them counts if
    they are directories still: a link in their place would have led us elsewhere.
    """
    found: Found = {}
    listed: dict[str, Listing] = {}
    level, ahead = [""], known
    while level:
        unlisted = [*(path for path in level if path not in listed), *ahead]
        for some in batches(unlisted, site.at_most(TOGETHER)):
            listings: list[Listing] = yield [list_for_sure(site, inside(top, path)) for path in some]
            listed.update(zip(some, listings, strict=True))
        deeper: list[str] = []
        for path in level:
            listing = listed.pop(path)
            if listing.failed is not None and not absent(listing.failed):
                return listing.failed
            if listing.bad:
                return listing.bad[0]
            for name, attrs in listing.names:
                child = f"{path}/{name}" if path else name
                found[child] = attrs
                if kind_of(attrs) is Kind.DIR:
                    deeper.append(child)
        level, ahead = deeper, ()
    return found


def delete(site: Site, action: Action) -> Recipe[Outcome]:
    """Move a file, link or directory to the trash, if it is what we believe."""
    old = action.old
    assert old is not None
    path = site.layout.at(action.path)
    listing = [list_tree(site, path, _folders(action))] if old.kind is Kind.DIR and not action.keep else []
    there, *found = yield [look(site, path), *listing]
    gone: dict[str, Entry | None] = {action.path: None}
    gone.update((f"{action.path}/{member}", None) for member, _ in action.members)
    if isinstance(there, Status):
        if absent(there):
            return Outcome(action, gone)
        return Outcome(action, problem=(yield from explain(site, action.path, "delete", there)))
    is_ours = yield from matches(site, path, there, old)
    if old.kind is Kind.DIR and kind_of(there) is Kind.SYMLINK and site.options.keep_remote_links:
        site.memory.forget_parents(action.path)
        return Outcome(action, gone, note=note_left(action.path), entries=0)
    if action.keep or not is_ours:
        way = Way.KEEP if is_ours else (yield from meet(site, action, there, old))
        if isinstance(way, Outcome):
            return way
        failed = yield from clear(site, action, way)
        site.memory.forget_parents(action.path)
        return Outcome(action, {} if failed else gone, failed)
    if old.kind is not Kind.DIR:
        status = yield from _let_go(site, action.path, size_of(old))
        if status is not OK:
            return Outcome(action, problem=(yield from explain(site, action.path, "delete", status)))
        return Outcome(action, gone)
    return (yield from _delete_directory(site, action, path, found[0], gone))


def _let_go(site: Site, path: str, size: int, holds: Sequence[tuple[str, bool]] = ITSELF) -> Recipe[Status]:
    """Of something of ours: to the part of the trash that has an age, if it is to have one.

    RACE: what somebody writes into a directory after it was listed goes along, and ages with it.
    """
    if ours_to_go(site, replaced=False) is Way.RETIRE:
        way = yield from retire(site, path, size)
        if isinstance(way, Problem):
            return Status(Code.FAILED, way.message)
        if way is Way.FREE:
            return OK
    return (yield from discard(site, path, holds))


def _delete_directory(
    site: Site,
    action: Action,
    path: bytes,
    found: Found | Status | str,
    gone: Mapping[str, Entry | None],
) -> Recipe[Outcome]:
    """Whole, if all in it is ours; else what is ours, and what is not stays with its parents."""
    if isinstance(found, str):
        text = f"{site.who} lists a name that can't be one: {found!r}; nothing in the directory was touched"
        return Outcome(action, problem=problem(action.path, Reason.BAD_NAME, text))
    if isinstance(found, Status):
        return Outcome(action, problem=(yield from explain(site, action.path, "list the directory", found)))
    staying = yield from _not_ours(site, path, found, dict(action.members))
    if not staying:
        # What comes into the directory from now on is found when the trash is purged, and kept.
        # RACE: what is written into a file that was listed goes with it.
        status = Status(Code.FAILED, "")
        if site.layout.has_trash:
            members = ((name, kind_of(attrs) is Kind.DIR) for name, attrs in found.items())
            size = sum(attrs.size for attrs in found.values() if kind_of(attrs) is Kind.FILE)
            status = yield from _let_go(site, action.path, size, [("", True), *members])
        effects: dict[str, Entry | None] = {}
        if status.code in UNCLEAR:  # as across file systems: then piece by piece
            effects, failed = yield from _delete_around(site, action, path, found, staying)
            if failed is not None:
                return Outcome(action, effects, failed)
            status = yield from act(Rmdir(path))
        if status is not OK:
            return Outcome(action, effects, (yield from explain(site, action.path, "delete", status)))
        site.memory.forget_parents(action.path)
        return Outcome(action, gone)
    if action.whole:
        failed = yield from clear(site, action, Way.KEEP)
        site.memory.forget_parents(action.path)
        return Outcome(action, {} if failed else gone, failed)
    effects, failed = yield from _delete_around(site, action, path, found, staying)
    site.memory.forget_parents(action.path)
    if failed is not None:
        return Outcome(action, effects, failed)
    shown = show_some(sorted(staying))
    text = f"the directory stays on the remote: it holds what is not ours to delete ({shown})"
    note = problem(action.path, Reason.DRIFT, text)
    return Outcome(action, gone, note=note, entries=len(effects))


def _is_debris(site: Site, name: str, attrs: Attrs) -> bool:
    """Whether it is what a dead run of this job had staged beside its target."""
    last = os.fsencode(name.rpartition("/")[2])
    return last.startswith(site.layout.prefixes[0]) and kind_of(attrs) is not Kind.DIR


def _not_ours(site: Site, path: bytes, found: Found, members: Mapping[str, Entry]) -> Recipe[set[str]]:
    """What has to stay: unknown to us, excluded, or changed by somebody else."""
    staying: set[str] = set()
    links: list[tuple[str, Entry]] = []
    # A server may spell names in its own way: all small, or with its accents apart.
    missing = members.keys() - found.keys() if found.keys() - members.keys() else ()
    spelled = {fold_name(name): name for name in missing}
    for name, attrs in found.items():
        entry = members.get(name) or members.get(spelled.get(fold_name(name), name) if spelled else name)
        if entry is None and _is_debris(site, name, attrs):
            continue
        if entry is None or entry.excluded:
            staying.add(name)
        elif entry.kind is Kind.SYMLINK:
            links.append((name, entry))
        elif not (yield from matches(site, inside(path, name), attrs, entry)):
            staying.add(name)
    for some in batches(links, BATCH):
        same: list[bool] = yield [
            matches(site, inside(path, name), found[name], entry) for name, entry in some
        ]
        staying.update(name for (name, _), is_same in zip(some, same, strict=True) if not is_same)
    return staying


def _delete_around(
    site: Site, action: Action, path: bytes, found: Found, staying: set[str]
) -> Recipe[tuple[dict[str, Entry | None], Problem | None]]:
    """Delete what is ours piece by piece, and directories that are empty then. The effects say what went."""
    needed = set(staying)
    for name in staying:
        while name := parent(name):
            needed.add(name)
    effects: dict[str, Entry | None] = {}
    going = [name for name in found if name not in needed]
    leaves = [name for name in going if kind_of(found[name]) is not Kind.DIR]
    by_depth: dict[int, list[str]] = {}
    for name in going:
        if kind_of(found[name]) is Kind.DIR:
            by_depth.setdefault(name.count("/"), []).append(name)
    for group in [leaves, *(by_depth[depth] for depth in sorted(by_depth, reverse=True))]:
        for some in batches(group, BATCH):
            steps = [
                act(Rmdir(inside(path, name)))
                if group is not leaves
                else _let_go(site, f"{action.path}/{name}", found[name].size)
                for name in some
            ]
            statuses: list[Status] = yield steps
            for name, status in zip(some, statuses, strict=True):
                whole = f"{action.path}/{name}"
                if is_gone(status):
                    effects[whole] = None
                else:
                    return effects, (yield from explain(site, whole, "delete", status))
    return effects, None
