"""What ``undo`` has taken back stays so, as long as nobody changes it here. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from reconcile.core.diff import same_content, same_meta
from reconcile.core.job import Options
from reconcile.core.model import Change, Entry, Kind
from reconcile.core.paths import ancestors, parent


def unread(changes: Sequence[Change], held: Mapping[str, Entry | None]) -> list[tuple[str, Entry]]:
    """What has to be read to tell whether it is still what SRC had when that was undone."""
    return [
        (change.path, change.new)
        for change in changes
        if change.new is not None
        and not change.new.excluded
        and (was := held.get(change.path)) is not None
        and was.kind is change.new.kind
        and was.kind is not Kind.DIR
        and (was.kind is Kind.SYMLINK or was.size == change.new.size)
        and not same_content(_own(was), change.new)
    ]


def leave_held(
    changes: Sequence[Change], held: Mapping[str, Entry | None], options: Options
) -> tuple[list[Change], list[str], frozenset[str]]:
    """The changes that are to be made, the paths of those that stay as they are, and those ``held`` no more.

    A directory that something is to come into is made, whatever was held.
    """
    stays = {change.path for change in changes if change.path in held and _is_same(change, held, options)}
    missing = {change.path for change in changes if change.old is None or change.old.kind is not Kind.DIR}
    needed = {
        top
        for change in changes
        if change.path not in stays and change.new is not None
        for top in ancestors(parent(change.path))
    }
    stays -= needed & missing
    made = [change for change in changes if change.path not in stays]
    released = {change.path for change in made if not (change.new is not None and change.new.excluded)}
    return made, sorted(stays), frozenset(released & held.keys())


def _is_same(change: Change, held: Mapping[str, Entry | None], options: Options) -> bool:
    """Whether SRC has what it had, as far as that is to be on the remote."""
    was, new = held[change.path], change.new
    if was is None or new is None:
        return was is new
    return not new.excluded and same_content(_own(was), new) and same_meta(was, new, options)


def _own(entry: Entry) -> Entry:
    return replace(entry, foreign=False)
