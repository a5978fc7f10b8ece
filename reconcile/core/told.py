"""What people are told of a plan: what moves is told as a move, however it is made. Pure.

Where a file is at both its places for a while (see ``last``), that is a new file, and later a delete:
nobody asked for the one or the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.model import Action, Kind, Op, Plan
from reconcile.core.paths import join


def as_told(plan: Plan, actions: Iterable[Action] | None = None) -> Iterable[Action]:
    """The ``actions`` of a plan, all or some, as people know them."""
    some = plan.actions if actions is None else actions
    return _as_moves(list(some)) if plan.twice else some


def _as_moves(actions: Sequence[Action]) -> Iterator[Action]:
    targets = {a.source: a.path for a in actions if a.op is Op.CREATE and a.source is not None}
    made = {action.path for action in actions if action.op is Op.MKDIR}
    wholes = list(_wholes(actions, targets, made))
    hidden = {path for whole in wholes for path in whole.brings}
    by_delete = {whole.delete.path: whole for whole in wholes}
    for action in actions:
        if action.op in (Op.CREATE, Op.MKDIR) and action.path in hidden:
            continue
        if action.op is Op.CREATE and action.source is not None:
            yield replace(action, op=Op.MOVE)
        elif action.op is Op.DELETE and (whole := by_delete.get(action.path)) is not None:
            yield whole.move
        elif action.op is Op.DELETE:
            yield from _what_goes(action, targets)
        else:
            yield action


class _Whole(Struct, frozen=True):
    """A directory all of which comes to another place."""

    delete: Action
    target: str

    @property
    def brings(self) -> Iterator[str]:
        """The paths that are there then."""
        yield self.target
        yield from (join(self.target, name) for name, _ in self.delete.members)

    @property
    def move(self) -> Action:
        """What it comes to."""
        old = self.delete.old
        return Action(
            Op.MOVE,
            self.target,
            new=old,
            source=self.delete.path,
            moved=old,
            entries=self.delete.entries,
            reason="moved",
        )


def _wholes(actions: Iterable[Action], targets: Mapping[str, str], made: set[str]) -> Iterator[_Whole]:
    for action in actions:
        if action.op is not Op.DELETE or action.kind is not Kind.DIR:
            continue
        files = [name for name, entry in action.members if entry.kind is not Kind.DIR]
        first = targets.get(join(action.path, files[0]), "") if files else ""
        if not first.endswith(f"/{files[0]}" if files else "/"):
            continue
        whole = _Whole(action, first.removesuffix(f"/{files[0]}"))
        comes = all(targets.get(join(action.path, name)) == join(whole.target, name) for name in files)
        folders = {join(whole.target, name) for name, entry in action.members if entry.kind is Kind.DIR}
        if comes and made.issuperset({whole.target, *folders}):
            yield whole


def _what_goes(action: Action, targets: Mapping[str, str]) -> Iterator[Action]:
    """The delete without what has come to another place."""
    if action.path in targets:
        return
    staying = tuple(each for each in action.members if join(action.path, each[0]) not in targets)
    moved = len(action.members) - len(staying)
    yield replace(action, members=staying, entries=action.entries - moved) if moved else action
