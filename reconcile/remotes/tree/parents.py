"""No write goes through a link: a directory is looked at, once per run, before anything in it is touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconcile.core.job import OnDrift
from reconcile.core.linked import foreign_link, note_link
from reconcile.core.model import PARKED, Action, Entry, Kind, Op, Outcome, Problem, Reason, Stage
from reconcile.core.order import touched
from reconcile.core.paths import parent
from reconcile.remotes.tree.failure import explain
from reconcile.remotes.tree.link import look, read_link
from reconcile.remotes.tree.site import Site, absent, kind_of, problem
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import Attrs, Status


def look_at_parents(site: Site, actions: Sequence[Action]) -> Iterator[Recipe[object]]:
    """Recipes that fill ``site.memory.parents`` for all that ``actions`` touch.

    RACE: a directory that is replaced by a link afterwards is written through.
    """
    wanted: dict[str, None] = {}
    for action in actions:
        for path in touched(action):
            directory = parent(path)
            while directory and directory not in wanted and directory not in site.memory.parents:
                wanted[directory] = None
                directory = parent(directory)
    site.memory.parents.setdefault("", None)
    site.memory.parents.setdefault(PARKED, None)
    return (look_at(site, path) for path in wanted)


def trouble_above(site: Site, action: Action) -> Problem | None:
    """What is wrong with a directory that the action would work through."""
    for path in touched(action):
        trouble = None
        directory = parent(path)
        while directory:
            trouble = (
                site.memory.parents.get(directory) or trouble
            )  # the topmost: what is below it was seen through it
            directory = parent(directory)
        if trouble is not None:
            return trouble
    return None


def missing(directory: str, why: str = "is gone from the remote") -> Problem:
    """A directory that should be there is not. Dropped from the snapshot, it is made again."""
    return problem(directory, Reason.MISSING, f"the directory {directory!r} {why}")


def look_at(site: Site, path: str) -> Recipe[Problem | None]:
    """What is wrong with one directory, if anything: noted in ``site.memory.parents``."""
    there = yield from look(site, site.layout.at(path))
    trouble = site.memory.parents[path] = yield from _judge(site, path, there)
    return trouble


def _judge(site: Site, path: str, there: Attrs | Status) -> Recipe[Problem | None]:
    if isinstance(there, Status):
        if absent(there):
            return missing(path)
        return (yield from explain(site, path, f"look at the directory {path!r}", there))
    kind = kind_of(there)
    if kind is Kind.DIR:
        site.memory.note_group(path, there)
        return None
    if kind is Kind.SYMLINK:
        return (yield from meet_link(site, path))
    if site.options.on_drift is OnDrift.SKIP:
        text = f"{path!r} is a {kind or 'special file'} on the remote; "
        text += "remove it there, and the directory is made again"
        return problem(path, Reason.DRIFT, text)
    return missing(path, f"has become a {kind or 'special file'} on the remote")


def meet_link(site: Site, path: str) -> Recipe[Problem]:
    """There is a link on the remote, and a directory here: what that means for what would go into it."""
    if site.options.keep_remote_links:
        site.memory.linked[path] = foreign_link((yield from read_link(site, site.layout.at(path))))
    text = (
        f"{path!r} is a symlink on the remote, so nothing is written through it; remove it there, and the "
        "directory is made again, or leave it with --keep-remote-links"
    )
    trouble = site.memory.parents[path] = problem(path, Reason.DRIFT, text)
    return trouble


def blocked(site: Site, action: Action, trouble: Problem) -> Outcome:
    """Not tried, since a directory above, or what is in the place of one, is not what it should be."""
    if (link := site.memory.linked.get(trouble.path)) is not None:
        effects: dict[str, Entry | None] = {trouble.path: link}
        if action.op is Op.MOVE:
            return Outcome(action, effects, problem(action.subject, trouble.reason, trouble.message))
        note = None if trouble.path in site.memory.told_links else note_link(trouble.path, Stage.APPLY)
        site.memory.told_links.add(trouble.path)
        return Outcome(action, effects, note=note, entries=0)
    effects = {trouble.path: None} if trouble.reason is Reason.MISSING else {}
    return Outcome(action, effects, problem(action.subject, trouble.reason, trouble.message))
