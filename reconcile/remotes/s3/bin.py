"""What of a job lies in the part of the trash that has an age: looked at, brought back, or let go.

What may live here: finding it by the notes of the runs that retired it (see ``folder``). Nothing that is at
DEST by now is ever replaced: what comes back goes beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from reconcile.core.model import OF_KEPT, RETIRED, Kind, Seen
from reconcile.core.paths import within
from reconcile.remotes import Back, Binned
from reconcile.remotes.retired import call_run
from reconcile.remotes.s3.copying import copy
from reconcile.remotes.s3.delete import Doomed, remove
from reconcile.remotes.s3.failure import Refusal, explain
from reconcile.remotes.s3.folder import KeptRun, let_go, read_notes
from reconcile.remotes.s3.keys import KEPT, OLD, STORE, is_path
from reconcile.remotes.s3.listing import dated_in, head, holds, names_in, objects
from reconcile.remotes.s3.site import Site
from reconcile.remotes.s3.tags import Shown


class S3Bin:
    """See ``remotes.Bin``: that of the job whose lineage it is."""

    def __init__(self, site: Site, lineage: str, *, kept: bool) -> None:
        self._site = site
        self._part = KEPT if kept else OLD
        self._lineage = lineage
        site.keys.enter(lineage, "")
        self._runs: dict[str, KeptRun] | None = None

    def runs(self) -> list[Binned]:
        """See ``Bin``."""
        return [_binned(note) for note in self._find().values()]

    def walk(self, name: str) -> Iterator[tuple[str, Seen]]:
        """See ``Bin``. The ETag of a copy may be another: what is noted with it tells what it is of."""
        top = self._top_of(name)
        for path, shown in self._site.pool.run(partial(self._ask, top, *each) for each in self._list(top)):
            yield path, shown.seen

    def place_of(self, name: str) -> str:
        """See ``Bin``."""
        return f"{RETIRED}/{self._find()[name].run}{OF_KEPT if self._part is KEPT else ''}"

    def bring_back(self, name: str, paths: Sequence[str]) -> Iterator[Back]:
        """See ``Bin``. RACE: what comes to the same path at this very moment is overwritten."""
        found = dict(self._list(self._top_of(name)))
        for path in paths:
            if not any(within(each, {path}) for each in found):
                yield Back(path, problem="is not in the trash of that run")
        wanted = {path: shown for path, shown in found.items() if not paths or within(path, {*paths})}
        came: list[Back] = []
        tasks = (partial(self._bring_back, name, path, shown) for path, shown in wanted.items())
        for back in self._site.pool.run(tasks):
            if not back.problem:
                came.append(back)
            yield back
        if came:
            self.recount(name, came)

    def recount(self, name: str, came: Sequence[Back]) -> None:  # noqa: ARG002 - a note can't be changed
        """See ``Bin``. Once nothing is left the note goes; till then it tells of all before, and how old
        that is."""
        note = self._find()[name]
        if not holds(self._site.service, self._top_of(name)):
            let_go(self._site, note, self._part)
            self._runs = None

    def empty(self, name: str) -> bool:
        """See ``Bin``."""
        return let_go(self._site, self._find()[name], self._part)

    def others(self) -> list[Binned]:
        """See ``Bin``."""
        return [_binned(note) for _, notes in self._find_others() for note in notes]

    def empty_others(self) -> bool:
        """See ``Bin``."""
        done = []
        try:
            for lineage, notes in self._find_others():
                self._site.keys.enter(lineage, "")
                done += [let_go(self._site, note, OLD) for note in notes]
        finally:
            self._site.keys.enter(self._lineage, "")
        return all(done)

    def _list(self, top: str) -> Iterator[tuple[str, Shown]]:
        """What is below, by the paths at which it was."""
        for key, shown in objects(self._site.service, top):
            if is_path(path := key[len(top) :]):
                yield path, shown

    def _ask(self, top: str, path: str, shown: Shown) -> tuple[str, Shown]:
        return path, head(self._site.service, top + path) or shown

    def _bring_back(self, name: str, path: str, shown: Shown) -> Back:
        site, source, place = self._site, self._top_of(name) + path, path
        try:
            if self._is_taken(place):
                place = f"{path}.from-{name}"
                if self._is_taken(place):
                    return Back(path, problem=f"can't go back: {place!r} is there already")
            copy(site, source, shown, site.keys.of(place), site.headers.of_return)
        except Refusal as refusal:
            return Back(path, problem=explain(path, "bring it back", refusal).message)
        if failed := remove(site, [Doomed(source, shown)]):
            why = explain(path, "take it out of the trash", failed[source]).message
            return Back(path, problem=f"is back, and in the trash still: {why}")
        return Back(path, place, kind=Kind.FILE, size=shown.size)

    def _is_taken(self, path: str) -> bool:
        key = self._site.keys.of(path)
        return head(self._site.service, key) is not None or holds(self._site.service, f"{key}/")

    def _top_of(self, name: str) -> str:
        return f"{self._site.keys.job}{self._find()[name].run}/{self._part}"

    def _find(self) -> dict[str, KeptRun]:
        """By what they are called, the oldest first."""
        if self._runs is None:
            kept, old = read_notes(dated_in(self._site.service, self._site.keys.job)[0])
            found = kept if self._part is KEPT else old
            self._runs = {_name(note): note for note in sorted(found, key=lambda note: note.since)}
        return self._runs

    def _find_others(self) -> Iterator[tuple[str, Sequence[KeptRun]]]:
        """Of all other jobs in our folder there."""
        work = self._site.keys.work
        for lineage in names_in(self._site.service, work)[1]:
            if lineage not in (self._lineage, STORE):
                yield lineage, read_notes(dated_in(self._site.service, f"{work}{lineage}/")[0])[1]


def _binned(note: KeptRun) -> Binned:
    return Binned(_name(note), note.count, note.size, note.since)


def _name(note: KeptRun) -> str:
    return call_run(note.run, note.since)
