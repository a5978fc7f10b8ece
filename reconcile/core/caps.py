"""What the remote can't do, and what is done instead. Pure.

What may live here: what ``Caps`` mean for the options, and for a plan.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from reconcile.core.job import Links, Options, Perms
from reconcile.core.model import Action, Caps, Directory, Entry, Kind, Op, Plan, Problem, Reason, Stage
from reconcile.core.paths import ancestors, lookup, parent


def as_kept(options: Options, caps: Caps) -> Options:
    """The options without what the remote does not keep: nobody asks it for that."""
    links = options.links
    if links is Links.KEEP and not caps.links:
        links = Links.SKIP
    options = replace(options, keep_times=options.keep_times and caps.times, links=links)
    return options if caps.modes else replace(options, file_perms=Perms.IGNORE, dir_perms=Perms.IGNORE)


def note_lacks(plan: Plan, asked: Options, caps: Caps) -> Iterator[Problem]:
    """What was ``asked`` for and the remote does not keep: told where there is something to be done."""
    if plan.empty:
        return
    if (asked.keeps_mode(Kind.FILE) or asked.keeps_mode(Kind.DIR)) and not caps.modes:
        yield _note("DEST keeps no permissions: none are compared or set")
    if asked.keep_times and not caps.times:
        yield _note("DEST keeps no times of ours: none are compared or set")
    if asked.links is Links.KEEP and not caps.links:
        yield _note("DEST keeps no links: none are sent")
    if not caps.replace and any(action.op is Op.MODIFY for action in plan.actions):
        yield _note("DEST replaces nothing in one step: a file that changes is not there for a moment")


def note_moves(count: int) -> Iterator[Problem]:
    """What would have been a rename, if there was one."""
    if count:
        yield _note(f"DEST renames nothing: what {count:,} moves would bring is sent again")


def note_copies(actions: Iterable[Action]) -> Iterator[Problem]:
    """What a rename would cost nothing for, where there is none but a copy."""
    moved = [action.moved for action in actions if action.op is Op.MOVE and not action.parks]
    if moved:
        size = sum(entry.size for entry in moved if entry is not None)
        yield _note(
            f"DEST renames nothing: {len(moved):,} files that move are copied there ({size:,} bytes, none of "
            "them sent), and deleted where they were"
        )


def without_directories(
    levels: Sequence[Sequence[Action]], here: Mapping[str, Directory] | None = None
) -> tuple[list[list[Action]], dict[str, Entry | None], list[Problem]]:
    """A plan for a remote that has none: what is left to do, what is true without it, and what is told.

    A directory is there as soon as something is in it. Where something else has to leave its
    name first, that is true only once it has left. Deletes of directories stay: all that is known below.
    ``here``: what was found here, where one in which nothing is can be made all the same: it is.
    """
    leaving = {_vacates(action): action for level in levels for action in level}
    filled = {top for level in levels for action in level for top in ancestors(parent(_brings(action)))}
    made: dict[str, Entry | None] = {}
    after: dict[int, dict[str, Entry | None]] = {}
    kept: list[list[Action]] = []
    for level in levels:
        kept.append([])
        for action in level:
            is_empty = action.op is Op.MKDIR and action.path not in filled
            if action.kind is not Kind.DIR or action.op is Op.DELETE or (is_empty and here is not None):
                kept[-1].append(action)
                continue
            top = next((top for top in ancestors(action.path) if top in leaving), None)
            true = made if top is None else after.setdefault(id(leaving[top]), {})
            true[action.path] = action.new
    left = [[replace(a, carried=after.get(id(a), a.carried)) for a in level] for level in kept if level]
    if here is None:
        return left, made, list(_note_empty(made, left))
    if emptied := list(_emptied(levels, filled, here)):
        left.append(emptied)
    return left, made, []


def _emptied(
    levels: Sequence[Sequence[Action]], filled: Container[str], here: Mapping[str, Directory]
) -> Iterator[Action]:
    """Those directories that are empty once all is done, and would not show any more."""
    left = {parent(_vacates(action)) for level in levels for action in level}
    for path in sorted(left - {""}):
        entry = lookup(here, path)
        if entry is not None and path in here and path not in filled and not here[path].entries():
            yield Action(Op.MKDIR, path, new=entry, reason="is empty now")


def _brings(action: Action) -> str:
    """The path to which something comes; the base where nothing does."""
    return "" if action.op is Op.DELETE else action.path


def _vacates(action: Action) -> str:
    """The path that is free once the action is done; the base, which never is, for one that frees none."""
    if action.op is Op.MOVE:
        return action.source or ""
    return action.path if action.op is Op.DELETE else ""


def _note_empty(made: Mapping[str, Entry | None], levels: Sequence[Sequence[Action]]) -> Iterator[Problem]:
    """Those new directories in which nothing new is."""
    filled = {top for level in levels for action in level for top in ancestors(parent(action.path))}
    count = len(made.keys() - filled)
    if count:
        yield _note(f"DEST has no directories of their own: {count:,} that are empty do not show there")


def _note(message: str) -> Problem:
    return Problem("", Stage.PLAN, Reason.UNSUPPORTED, message)
