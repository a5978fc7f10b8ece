"""Names that are several here and may be one on the server: by case, by how accents are composed… Pure.

A file system may take ``README`` for ``readme``, or both forms of ``é`` for one. That shows only
there. What may live here: which names it may concern, so that nobody pays for it but them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from reconcile.core.model import Action, DirectorySnapshot, Op, Scan
from reconcile.core.paths import join, lookup

MAKING = (Op.CREATE, Op.MKDIR, Op.MOVE)
_NO_UTF8 = "[\udc80-\udcff]"  # bytes, as the names of files hold them: some servers make all one
_END = r"[. ]+(?=\0|$)"  # Windows drops it


def fold_name(names: str) -> str:
    """What a file system that ignores case and composition takes a path for; of several, NULs between."""
    if names.isascii():
        folded = names.lower()
    else:
        composed = unicodedata.normalize("NFC", names).casefold()
        folded = re.sub(_NO_UTF8, "\N{REPLACEMENT CHARACTER}", unicodedata.normalize("NFC", composed))
    loose = ".\0" in folded or " \0" in folded or folded.endswith((".", " "))
    return re.sub(_END, "", folded) if loose else folded


def find_twins(old: DirectorySnapshot, scan: Scan, actions: Iterable[Action]) -> dict[str, tuple[str, ...]]:
    """For each path that is made, or goes, the names beside it that may be its own there, and come first.

    First comes what the remote holds, then what is made in the plan's order: of two that
    are one there, the first stays.
    """
    inside: dict[str, dict[str, bool]] = defaultdict(dict)  # directory → name → whether it goes
    left: set[str] = set()
    for action in actions:
        if action.op in MAKING or (action.op is Op.DELETE and not action.whole):
            directory, _, name = action.path.rpartition("/")
            inside[directory][name] = action.op is Op.DELETE
        if action.op is Op.MOVE and action.source is not None:
            left.add(action.source)
    twins: dict[str, tuple[str, ...]] = {}
    for directory, touched in inside.items():
        known = directory in old.dirs and directory in scan.dirs
        names = [*touched, *(scan.dirs[directory].entries().keys() - touched.keys() if known else ())]
        for alike in _alike(names):
            there = [
                name
                for name in alike
                if (path := join(directory, name)) not in left and lookup(old.dirs, path) is not None
            ]
            staying = [name for name in alike if not touched.get(name)]
            staying.sort(key=lambda name: name not in there)
            for name in filter(touched.__contains__, alike):
                first = (
                    [each for each in staying if each in there]
                    if touched[name]
                    else staying[: staying.index(name)]
                )
                if first:
                    twins[join(directory, name)] = tuple(join(directory, other) for other in first)
    return twins


def _alike(names: Sequence[str]) -> Iterator[list[str]]:
    """Those that may be one, in their order."""
    folded = fold_name("\0".join(names)).split("\0")
    if len(set(folded)) == len(names):
        return
    groups: dict[str, list[str]] = defaultdict(list)
    for name, key in zip(names, folded, strict=True):
        groups[key].append(name)
    yield from (group for group in groups.values() if len(group) > 1)
