"""What of a job lies in the part of the trash that has an age: looked at, brought back, or let go.

What may live here: finding it by the marks of the runs that retired it (see ``kept``). Nothing that is at
DEST by now is ever replaced: what comes back goes beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from reconcile.core.model import OURS, Kind, Seen
from reconcile.core.paths import ancestors, join, parent
from reconcile.remotes import Back, Binned
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.failure import explain
from reconcile.remotes.tree.kept import KeptRun, let_go, read_notes
from reconcile.remotes.tree.layout import OLD, inside
from reconcile.remotes.tree.link import look, rename
from reconcile.remotes.tree.listing import TOGETHER, list_directory
from reconcile.remotes.tree.mark import job_folder
from reconcile.remotes.tree.site import Site, absent, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Attrs, Mkdir, Status
from reconcile.remotes.tree.walk import walk

_TOP = f"{OURS}{OLD.decode()}"  # of a run whose folder is the layout's


class TreeBin:
    """See ``remotes.Bin``: that of the job whose lineage it is."""

    def __init__(self, driver: Driver, site: Site, lineage: str) -> None:
        self._driver = driver
        self._site = site
        self._ours = job_folder(site, lineage)
        self._runs: dict[str, KeptRun] | None = None

    def runs(self) -> list[Binned]:
        """See ``Bin``."""
        return [Binned(name, run.count, run.size, run.since) for name, run in self._find().items()]

    def walk(self, name: str) -> Iterator[tuple[str, Seen]]:
        """See ``Bin``."""
        self._site.layout.run = self._find()[name].folder
        try:
            for path, seen in walk(self._driver, self._site, _TOP, TOGETHER, self._site.say):
                yield path.removeprefix(f"{_TOP}/"), seen
        finally:
            self._site.layout.run = b""

    def bring_back(self, name: str, paths: Sequence[str]) -> Iterator[Back]:
        """See ``Bin``."""
        old = self._find()[name].folder + b"/" + OLD
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
                    yield back

    def empty(self, name: str) -> bool:
        """See ``Bin``."""
        return not let_go(self._driver, self._site, self._find()[name], OLD)

    def _find(self) -> dict[str, KeptRun]:
        """By what they are called, the oldest first."""
        if self._runs is None:
            listing = self._driver.call(list_directory(self._site, self._ours))
            found = sorted(read_notes(self._ours, listing).old, key=lambda run: run.since)
            self._runs = {_name(run): run for run in found}
        return self._runs


def _name(run: KeptRun) -> str:
    """For people: when it ended, and what tells it from another of that second."""
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(run.since))
    return f"{moment}-{run.folder.rpartition(b'/')[2].removesuffix(b'.dead')[-4:].decode()}"


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
    return Back(path, target), []
