"""What comes last: documents that name others, once these are there. Pure.

A page that comes before its style sheet shows without it, and one that stays after that has moved,
too. So where such a document is among the changes: new files come first, then changed ones, then the
documents, and nothing goes before all that. What moves is at both its places meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from reconcile.core.diff import movable, same_content
from reconcile.core.filters import make_filter
from reconcile.core.model import Action, DirectorySnapshot, Entry, Kind, Op
from reconcile.core.moves import Pairing
from reconcile.core.paths import below
from reconcile.core.twins import fold_name

IsLast = Callable[[str], bool]

OF_ANY_SITE = ("*.html", "index.*", ".htaccess")


def comes_last(patterns: Sequence[str]) -> IsLast:
    """Tells the documents by their paths: ``OF_ANY_SITE``, and what ``patterns`` of gitignore add to these.

    ``!`` takes back. Raises UsageError for a pattern that can't be understood.
    """
    if not patterns:
        return _is_of_any_site  # as nearly always: nothing is compiled
    chosen = make_filter([*OF_ANY_SITE, *patterns])
    return lambda path: chosen.excludes(path, False)


def _is_of_any_site(path: str) -> bool:
    """What ``OF_ANY_SITE`` says of files."""
    if ".h" not in path and "index." not in path:
        return False  # as of nearly all
    name = path.rpartition("/")[2]
    return name.endswith(".html") or name.startswith("index.") or name == ".htaccess"


def brings_one(pairing: Pairing, is_last: IsLast) -> bool:
    """Whether such a document comes with new content, or from elsewhere; not with all that is around it."""
    return any(
        new.kind is Kind.FILE and is_last(path) and not same_content(_at(pairing, path), new)
        for path, new in pairing.news.items()
    )


def twice_there(pairing: Pairing) -> dict[str, str]:
    """Of files that move: the new path to the old one, where the content may be at both for a while."""
    return {
        target: origin
        for origin, target in pairing.moves.files.items()
        if pairing.news[target].kind is Kind.FILE
        and target not in pairing.olds
        and fold_name(origin) != fold_name(target)
    }


def renamed_in_place(pairing: Pairing) -> dict[str, str]:
    """Of files that move those to a name that may be the same there, as ``Logo.png`` and ``logo.png`` are for
    some: they can't be at both their places."""
    files = pairing.moves.files
    return {origin: target for origin, target in files.items() if fold_name(origin) == fold_name(target)}


def leaves_whole(old: DirectorySnapshot, path: str, leaving: frozenset[str]) -> bool:
    """Whether a directory holds nothing but files that move away, and directories of such."""
    entries = list(below(old.dirs, path))
    files = [inside for inside, entry in entries if entry.kind is not Kind.DIR]
    return bool(files) and leaving.issuperset(files) and all(movable(entry) for _, entry in entries)


def in_turn(uploads: Iterable[Action], is_last: IsLast) -> list[list[Action]]:
    """The levels: new files, changed ones, new documents and changed ones."""
    levels: list[list[Action]] = [[], [], [], []]
    for action in uploads:
        document = action.op is not Op.SETMETA and action.kind is Kind.FILE and is_last(action.path)
        levels[2 * document + (action.op is not Op.CREATE)].append(action)
    return levels


def in_turn_go(deletes: Sequence[Action], is_last: IsLast) -> list[list[Action]]:
    """The levels: documents, and then what they may name."""
    levels: list[list[Action]] = [[], []]
    for action in deletes:
        levels[not (action.kind is Kind.FILE and is_last(action.path))].append(action)
    return levels


def bring_again(action: Action, origin: str, moved: Entry) -> Action:
    """The upload of a file whose content is at ``origin`` on the remote, too: nothing need be sent."""
    return replace(action, source=origin, moved=moved, reason="moved")


def _at(pairing: Pairing, path: str) -> Entry | None:
    return pairing.olds.get(path, ("", None))[1]
