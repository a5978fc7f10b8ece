"""New directories, and new ones inside them.

What may live here: what sends MKDIR for an action.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconcile.core.model import PERMISSIONS, Action, Entry, Kind, Op, Outcome, Reason
from reconcile.core.paths import parent
from reconcile.remotes.tree.drift import clear, meet
from reconcile.remotes.tree.failure import explain
from reconcile.remotes.tree.link import look
from reconcile.remotes.tree.parents import blocked, meet_link
from reconcile.remotes.tree.site import SPECIAL_BITS, Site, absent, act, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Attrs, Mkdir, Set, Status


def set_nested_apart(actions: Sequence[Action]) -> tuple[list[Action], list[Action]]:
    """The actions of a level, and those that make a directory inside one that the level makes too."""
    made = {action.path for action in actions if action.op is Op.MKDIR}
    apart: list[Action] = []
    nested: list[Action] = []
    for action in actions:
        (nested if action.op is Op.MKDIR and parent(action.path) in made else apart).append(action)
    return apart, nested


def next_to_make(site: Site, nested: Sequence[Action]) -> tuple[list[Action], list[Action]]:
    """Which of ``nested`` can be made now, and which have to wait for these.

    What is below a new directory is new, but for one whose name may be another's. Where the
    server keeps to the order of the requests all of it can be made at once; elsewhere, and where
    the directory was there before, step by step: nothing is made behind a link.
    """
    waiting = {action.path for action in nested}
    new = set(site.memory.empty) if site.quirks.ordered else set()
    now: list[Action] = []
    later: list[Action] = []
    for action in nested:
        above = parent(action.path)
        if above in new and action.path not in site.memory.twins:
            new.add(action.path)
        (later if above in waiting and above not in new else now).append(action)
    return now, later


def missed(site: Site, now: Sequence[Action], broken: Sequence[Outcome]) -> list[Action]:
    """Of what was made all at once what failed only because the server kept to no order: to be made again."""
    made = {action.path for action in now} - {outcome.action.path for outcome in broken}
    again: dict[str, Action] = {}
    for outcome in broken:  # the outer ones first
        action, failed = outcome.action, outcome.problem
        above = parent(action.path)
        if failed is not None and failed.reason is Reason.MISSING and (above in made or above in again):
            again[action.path] = action
    if again:
        site.saw_disorder()
    return list(again.values())


def make_directory(site: Site, action: Action) -> Recipe[Outcome]:
    """Make a directory we can work in; its final mode, if narrower, comes with a later setmeta."""
    outcome = yield from _make_directory(site, action)
    if action.path not in site.memory.linked:
        site.memory.parents[action.path] = outcome.problem
    return outcome


def _make_directory(site: Site, action: Action) -> Recipe[Outcome]:
    new = action.new
    assert new is not None
    mode = site.mode_for(new, is_new=True)
    wanted = 0o777 if mode is None else mode | 0o700
    path = site.layout.at(action.path)
    status, there = yield [Mkdir(path, wanted), look(site, path)]
    if isinstance(there, Attrs) and kind_of(there) is Kind.SYMLINK:
        return blocked(site, action, (yield from meet_link(site, action.path)))
    if isinstance(there, Attrs) and kind_of(there) is not Kind.DIR:
        way = yield from meet(site, action, there, None)
        if isinstance(way, Outcome):
            return way
        failed = yield from clear(site, action, way)
        if failed is not None:
            return Outcome(action, problem=failed)
        status, there = yield [Mkdir(path, wanted), look(site, path)]
    if status is OK and absent(there):  # looked for before it was made
        site.saw_disorder()
        there = yield from look(site, path)
    if not isinstance(there, Attrs) or kind_of(there) is not Kind.DIR:
        refused = there if status is OK and isinstance(there, Status) else status
        return Outcome(action, problem=(yield from explain(site, action.path, "make the directory", refused)))
    if mode is not None and there.mode & PERMISSIONS != wanted:  # the server's umask, or it was there before
        set_ = yield from act(Set(path, wanted | there.mode & SPECIAL_BITS, None))
        if set_ is not OK and status is OK:  # it is our own
            site.lose(modes=True)
        elif set_ is not OK:
            wanted = there.mode & PERMISSIONS
    site.memory.note_group(action.path, there)
    if status is OK:
        site.memory.empty[action.path] = mode
    shown = site.mode_claimed(new) if mode is None else wanted
    return Outcome(action, {action.path: Entry(Kind.DIR, shown, stamp=new.stamp)})
