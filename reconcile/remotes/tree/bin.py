"""What of a job lies in the part of the trash that has an age: looked at, brought back, or let go.

What may live here: finding it by the marks of the runs that retired it (see ``kept``). Nothing that is at
DEST by now is ever replaced: what comes back goes beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from reconcile.core.model import OF_KEPT, RETIRED, Kind, Seen
from reconcile.core.paths import ancestors, join, parent
from reconcile.remotes import Back, Binned
from reconcile.remotes.retired import call_run
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.failure import explain
from reconcile.remotes.tree.kept import Kept, KeptRun, let_go, name_mark_of, read_notes
from reconcile.remotes.tree.layout import KEPT, OLD, STORE, inside
from reconcile.remotes.tree.link import look, rename
from reconcile.remotes.tree.listing import TOGETHER, list_directory
from reconcile.remotes.tree.mark import job_folder
from reconcile.remotes.tree.purge import remove_in_turn
from reconcile.remotes.tree.site import Site, absent, act, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Attrs, Mkdir, Rename, Status
from reconcile.remotes.tree.walk import walk


class TreeBin:
    """See ``remotes.Bin``: that of the job whose lineage it is."""

    def __init__(self, driver: Driver, site: Site, lineage: str, *, kept: bool) -> None:
        self._driver = driver
        self._site = site
        self._part = KEPT if kept else OLD
        self._ours = site.layout.job = job_folder(site, lineage)
        self._runs: dict[str, KeptRun] | None = None

    def runs(self) -> list[Binned]:
        """See ``Bin``."""
        return [Binned(name, run.count, run.size, run.since) for name, run in self._find().items()]

    def walk(self, name: str) -> Iterator[tuple[str, Seen]]:
        """See ``Bin``."""
        top = self.place_of(name)
        for path, seen in walk(self._driver, self._site, top, TOGETHER, self._site.say):
            yield path.removeprefix(f"{top}/"), seen

    def place_of(self, name: str) -> str:
        """See ``Bin``."""
        return f"{RETIRED}/{_own_name(self._find()[name])}{OF_KEPT if self._part is KEPT else ''}"

    def bring_back(self, name: str, paths: Sequence[str]) -> Iterator[Back]:
        """See ``Bin``."""
        old = self._find()[name].folder + b"/" + self._part
        came: list[Back] = []
        level = [*paths] or self._driver.call(_names_in(self._site, old, ""))
        above = {top: None for path in level for top in ancestors(path) if top != path}
        for top in sorted(above):
            self._driver.call(_make_parent(self._site, top))
        while level:
            brought = self._driver.run((_bring_back(self._site, old, path, name) for path in level), TOGETHER)
            level = []
            for back, deeper in brought:
                level += deeper
                if back is not None:
                    if not back.problem:
                        came.append(back)
                    yield back
        if came:
            self.recount(name, came)

    def recount(self, name: str, came: Sequence[Back]) -> None:
        """See ``Bin``. If that fails, the mark tells of all that was there before."""
        run = self._find()[name]
        old = run.folder + b"/" + self._part
        emptied = {inside(old, top) for back in came for top in ancestors(parent(back.path)) if top}
        self._driver.call(remove_in_turn([*sorted(emptied, key=len, reverse=True), old]))
        if absent(self._driver.call(look(self._site, old))):
            let_go(self._driver, self._site, run, self._part)
        else:
            left = run.size - sum(map(self._weigh, came))
            count, is_kept = max(1, run.count - len(came)), self._part is KEPT
            mark = name_mark_of(run.folder, count, max(0, left), is_kept=is_kept)
            self._driver.call(act(Rename(run.mark, mark)))
        self._runs = None

    def empty(self, name: str) -> bool:
        """See ``Bin``."""
        return self._let_go([self._find()[name]], self._part)

    def others(self) -> list[Binned]:
        """See ``Bin``."""
        return [Binned(_name(run), run.count, run.size, run.since) for run in self._find_others()]

    def empty_others(self) -> bool:
        """See ``Bin``."""
        return self._let_go(self._find_others(), OLD)

    def _let_go(self, runs: Sequence[KeptRun], part: bytes) -> bool:
        """Remove what they have in one part of their trash for good: what is reached through a link is none
        of it. False: not all went.

        RACE: a link that is put there after the look is followed.
        """
        looked = self._driver.run((_is_plain(self._site, run, part) for run in runs), TOGETHER)
        plain = {folder for folder, is_plain in looked if is_plain}
        sound = [run for run in runs if run.folder in plain]
        stuck = [path for run in sound for path in let_go(self._driver, self._site, run, part)]
        return not stuck and len(sound) == len(runs)

    def _find_others(self) -> list[KeptRun]:
        """Of all other jobs in our folder there."""
        around = self._driver.call(list_directory(self._site, self._site.layout.workdir))
        folders = [
            self._site.layout.workdir + b"/" + os.fsencode(name)
            for name, attrs in around.names
            if kind_of(attrs) is Kind.DIR and os.fsencode(name) != STORE
        ]
        asked = (_read(self._site, folder) for folder in folders if folder != self._ours)
        return [run for kept in self._driver.run(asked, TOGETHER) for run in kept.old]

    def _weigh(self, back: Back) -> int:
        """Bytes of content in what came back."""
        if back.kind is not Kind.DIR:
            return back.size
        inner = walk(self._driver, self._site, back.place, TOGETHER, self._site.say)
        return sum(shown.size for _, shown in inner if shown.kind is Kind.FILE)

    def _find(self) -> dict[str, KeptRun]:
        """By what they are called, the oldest first."""
        if self._runs is None:
            there = self._driver.call(_read(self._site, self._ours))
            found = there.runs if self._part is KEPT else there.old
            self._runs = {_name(run): run for run in sorted(found, key=lambda run: run.since)}
        return self._runs


def _is_plain(site: Site, run: KeptRun, part: bytes) -> Recipe[tuple[bytes, bool]]:
    """Whether a part of its trash is where it seems to be."""
    trash, old = yield [look(site, run.folder + b"/" + path) for path in (b"trash", part)]
    is_trash = isinstance(trash, Attrs) and kind_of(trash) is Kind.DIR
    is_old = absent(old) or (isinstance(old, Attrs) and kind_of(old) is Kind.DIR)
    return run.folder, absent(trash) or (is_trash and is_old)  # absent: somebody has removed it


def _read(site: Site, ours: bytes) -> Recipe[Kept]:
    return read_notes(ours, (yield from list_directory(site, ours)))


def _name(run: KeptRun) -> str:
    return call_run(_own_name(run), run.since)


def _own_name(run: KeptRun) -> str:
    return os.fsdecode(run.folder.rpartition(b"/")[2])


def _names_in(site: Site, old: bytes, path: str) -> Recipe[list[str]]:
    listing = yield from list_directory(site, inside(old, path))
    return [join(path, name) for name, _ in listing.names]


def _make_parent(site: Site, path: str) -> Recipe[None]:
    yield Mkdir(site.layout.at(path), 0o777)


def _bring_back(site: Site, old: bytes, path: str, name: str) -> Recipe[tuple[Back | None, list[str]]]:
    """One thing of the trash, with all that is in it; or what is in it, to be brought one by one.

    RACE: a directory above that is replaced by a link after the look is written through.
    """
    source, target = inside(old, path), path
    here: Attrs | Status = yield from look(site, source)
    if isinstance(here, Status):
        return Back(path, problem="is not in the trash of that run"), []
    for top in ancestors(parent(path)) if parent(path) else ():
        above: Attrs | Status = yield from look(site, site.layout.at(top))
        if not (isinstance(above, Attrs) and kind_of(above) is Kind.DIR):
            return Back(path, problem=f"can't go back: {top!r} is no directory there"), []
    there: Attrs | Status = yield from look(site, site.layout.at(target))
    if isinstance(there, Attrs) and kind_of(here) is kind_of(there) is Kind.DIR:
        return None, (yield from _names_in(site, old, path))
    if not absent(there):
        target = f"{path}.from-{name}"
        if not absent((yield from look(site, site.layout.at(target)))):
            return Back(path, problem=f"can't go back: {target!r} is there already"), []
    status = yield from rename(site, source, site.layout.at(target))
    if status is not OK:
        return Back(path, problem=(yield from explain(site, path, "bring it back", status)).message), []
    kind = kind_of(here)
    return Back(path, target, kind=kind, size=here.size if kind is Kind.FILE else 0), []
