"""All content first, and nothing that anybody sees: what is staged is put in its place by ``Level`` later.

What may live here: staging the files of all levels, and taking over what a dead run had staged of them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from reconcile.core.model import PERMISSIONS, Action, Brought, Entry, Kind, Outcome, Problem, Reason
from reconcile.core.paths import parent
from reconcile.remotes.tree.layout import STAGING
from reconcile.remotes.tree.level import Level
from reconcile.remotes.tree.names import set_odd_apart
from reconcile.remotes.tree.parents import blocked, trouble_above
from reconcile.remotes.tree.rescue import place_of
from reconcile.remotes.tree.site import Site, act, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.trash import name_of
from reconcile.remotes.tree.upload import SPREAD_FROM, Staged, stage
from reconcile.remotes.tree.vanished import settle
from reconcile.remotes.tree.verbs import Attrs, Lstat, Remove, Set, Space, Status, Statvfs
from reconcile.remotes.tree.whole import make_places


def ask_for_room(site: Site) -> Recipe[int | None]:
    """Bytes that the file system of our folder has left. None: the server does not tell."""
    if Statvfs not in site.can or STAGING not in site.layout.parts:
        return None
    space = yield Statvfs(site.layout.workdir)
    return space.bytes if isinstance(space, Space) else None


class Staging(Level):
    """Uploads of any level on their way to where they are staged."""

    _known: Mapping[str, Entry]
    _leaving: Container[str]

    def stage(
        self, actions: Sequence[Action], known: Mapping[str, Entry], leaving: Container[str]
    ) -> Iterator[Brought | Outcome]:
        """Bring them all there, once. ``known``, ``leaving``: see ``Remote``."""
        self._known, self._leaving = known, leaving
        before = self._site.memory.uploads
        actions, unnamed = self._driver.call(set_odd_apart(self._site, actions))
        yield from unnamed
        self._get_ready(actions)
        self._site.memory.uploads += before  # of levels that are staged already
        for _ in self._driver.run(make_places(self._site, actions, known), self._at_a_time):
            pass  # they are noted in the run's memory
        for action in actions:
            self._site.memory.empty.pop(parent(action.path), None)  # it will not be
        for outcome in self._run(actions, self._at_a_time):
            yield self._brought(outcome)
        for outcome in self._open_fewer():
            yield self._brought(outcome)
        self._site.memory.places.clear()
        self._forget(actions)
        if self._failed or self._is_stopped:
            self._leave()
        yield from self._driver.run((settle(self._site, each) for each in self._failed), self._at_a_time)

    def _done(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Those that went well; the others are put aside. None is published."""
        for outcome in outcomes:
            if outcome.done:
                yield outcome
            else:
                self._failed.append(outcome)

    def _brought(self, outcome: Outcome) -> Brought:
        staged = self._staged[id(outcome.action)]
        return Brought(outcome.action, staged.held, staged.shared)

    def _recipe(self, action: Action) -> Recipe[Outcome]:
        trouble = trouble_above(self._site, action)
        if trouble is not None and not self._may_pass(trouble):
            return _blocked(self._site, action, trouble)
        self._spread.take(wait=action.size >= SPREAD_FROM)
        return self._stage(action)

    def _stage(self, action: Action) -> Recipe[Outcome]:
        staged: Staged | Outcome | None = yield from _take_over(
            self._site, action, self._known.get(action.path)
        )
        if staged is None:
            staged = yield from stage(self._site, action, self._source, self._sent, looks=False)
        if isinstance(staged, Outcome):
            return staged
        self._staged[id(action)] = staged
        return Outcome(action)

    def _may_pass(self, trouble: Problem) -> bool:
        """Whether there may be a directory by the time that something is put into it."""
        return trouble.reason is Reason.MISSING or trouble.path in self._leaving

    def _forget(self, actions: Sequence[Action]) -> None:
        """Directories that are not there yet are looked at once more."""
        parents = self._site.memory.parents
        for path in {parent(action.path) for action in actions}:
            while path:
                trouble = parents.get(path)
                if trouble is not None and self._may_pass(trouble):
                    parents.cut(path)
                path = parent(path)

    def _leave(self) -> None:
        """Nothing stays beside its path: what this run may not bring out is in our folder."""
        ours = self._site.layout.run + b"/"
        beside = {number: each for number, each in self._staged.items() if not each.place.startswith(ours)}
        for number in beside:
            del self._staged[number]
        places = [Remove(each.place) for each in beside.values()]
        for _ in self._driver.run(map(act, places), self._at_a_time):
            pass  # what can't be removed is swept by a later run


def _blocked(site: Site, action: Action, trouble: Problem) -> Recipe[Outcome]:
    yield from ()
    return blocked(site, action, trouble)


def _take_over(site: Site, action: Action, known: Entry | None) -> Recipe[Staged | None]:
    """What a dead run has staged of it, if that is ``known`` to be what it brings. None: it has to be sent.

    By size and second alone it is not: the next page that is built may have both.
    """
    new, place = action.new, place_of(site, action.path)
    assert new is not None
    if place is None or known is None:
        return None
    there: Attrs | Status = yield Lstat(place)
    if not isinstance(there, Attrs) or kind_of(there) is not Kind.FILE or there.size != new.size:
        return None
    mode, time = site.mode_for(new), site.time_of(new)
    wants_mode = mode is not None and there.mode & PERMISSIONS != mode
    if wants_mode or (time is not None and there.mtime != time):
        yield from act(Set(place, mode if wants_mode else None, time))
        there = yield Lstat(place)
        if not isinstance(there, Attrs) or there.mtime != (there.mtime if time is None else time):
            return None
        if wants_mode and there.mode & PERMISSIONS != mode:
            return None
    site.memory.staged.pop(name_of(action.path), None)
    held = site.recorded(replace(new, stamp=known.stamp), there.mtime, known.digest, mode)
    return Staged(action, action, held, place, None)
