"""A new directory whose files are all staged before anything is published: they are staged in one, which is
then put over the empty one that was made at its place.

So to publish it is one request, however many files are in it, and readers see it empty or whole. What does
not go so is put in place file by file.

Only where a bundle would be, see there: RENAME replaces no file, and posix-rename an empty directory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from reconcile.core.model import PERMISSIONS, Action, Op, Reason
from reconcile.core.paths import parent
from reconcile.remotes.tree.bundle import FEWEST
from reconcile.remotes.tree.parents import trouble_above
from reconcile.remotes.tree.rescue import staging_place
from reconcile.remotes.tree.site import SPECIAL_BITS, Site, act
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.upload import Staged
from reconcile.remotes.tree.verbs import OK, Attrs, Lstat, Mkdir, Replace, Set, Status


class Whole(Struct, frozen=True):
    """One of them, staged."""

    path: str
    place: bytes
    actions: Sequence[Action]  # the files in it


def make_places(site: Site, actions: Sequence[Action], known: Mapping[str, object]) -> Iterator[Recipe[None]]:
    """Where to stage what goes together of ``actions``, into directories that are not there yet.

    What is ``known`` was staged by a dead run.
    """
    if not _can_be(site):
        return
    inside: dict[str, list[Action]] = defaultdict(list)
    for action in actions:
        inside[parent(action.path)].append(action)
    for path, group in inside.items():
        if len(group) < FEWEST or any(each.op is not Op.CREATE or each.path in known for each in group):
            continue
        trouble = trouble_above(site, group[0])
        if trouble is not None and trouble.reason is Reason.MISSING and site.memory.suits(path):
            yield _make_place(site, path, len(group))


def _can_be(site: Site) -> bool:
    return bool(site.quirks.ordered) and site.sends_unlooked and Replace in site.can


def _make_place(site: Site, path: str, count: int) -> Recipe[None]:
    place = staging_place(site, path)
    made, there = yield [Mkdir(place, 0o777), Lstat(place)]
    if made is OK and isinstance(there, Attrs):
        site.memory.places[path] = place
        site.memory.whole[place] = there.mode, count


def find_whole(site: Site, actions: Sequence[Action], staged: Mapping[int, Staged]) -> list[Whole]:
    """Directories that hold nothing yet, and get all that was to be staged together, and no more."""
    if not site.memory.whole or not site.memory.empty:
        return []
    outer = {parent(path) for path in site.memory.empty}  # hold a directory, so they are not empty
    inside: dict[tuple[str, bytes], list[Action]] = defaultdict(list)
    for action in actions:
        place = staged[id(action)].place.rpartition(b"/")[0]
        if place in site.memory.whole:
            inside[parent(action.path), place].append(action)
    return [
        Whole(path, place, group)
        for (path, place), group in inside.items()
        if path in site.memory.empty
        and path not in outer
        and len(group) == site.memory.whole[place][1]  # else something of one that failed may be there
        and site.memory.suits(path)
        and site.memory.hands_down_alike(path)
        and trouble_above(site, group[0]) is None
    ]


def put_whole(site: Site, whole: Whole) -> Recipe[bool]:
    """Put it over the empty one. False: that is not empty any more, say, and all is as it was.

    RACE: a file that a third hand puts there, and takes away, in between is not seen.
    """
    mode = site.memory.empty.pop(whole.path)
    there, _ = site.memory.whole.pop(whole.place)
    wanted = there if mode is None else mode | 0o700 | there & SPECIAL_BITS
    if (wanted ^ there) & (PERMISSIONS | SPECIAL_BITS):
        yield from act(Set(whole.place, wanted & (PERMISSIONS | SPECIAL_BITS), None))
    status: Status = yield from act(Replace(whole.place, site.layout.at(whole.path)))
    return status is OK
