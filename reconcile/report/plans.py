"""A plan as lines of text. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reconcile.model import COUNTED_OPS, Action, Kind, Op, Plan
from reconcile.report.words import show_bytes, show_message, show_name

SIGNS = {
    Op.CREATE: "+",
    Op.MKDIR: "+",
    Op.MODIFY: "~",
    Op.SETMETA: "~",
    Op.MOVE: "→",
    Op.DELETE: "-",
}
LINES = 40  # a longer plan is folded by directory
PLAIN_REASONS = {"", "new", "content", "deleted"}  # the sign says as much


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plan: a sign, names that are already escaped, and a remark."""

    sign: str
    text: str
    remark: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {self.text}" + (f"  ({self.remark})" if self.remark else "")


def describe(action: Action, parked: Mapping[int, str] | None = None) -> Line:
    """One action. ``parked`` says what was put in which parking place (see :func:`parking`)."""
    slash = "/" if action.kind is Kind.DIR and action.path else ""
    text = show_name(action.path) + slash
    remarks = []
    if action.op is Op.MOVE:
        origin = origin_of(action, parked or {})
        text = f"{show_name(origin) + slash if origin is not None else '?'} → {text}"
    elif action.reason not in PLAIN_REASONS:
        remarks.append(show_message(action.reason))
    if action.op in (Op.CREATE, Op.MODIFY) and action.new is not None and action.new.link is not None:
        remarks.append(f"link to {show_name(action.new.link)}")
    elif action.op in (Op.CREATE, Op.MODIFY) and action.kind is Kind.FILE:
        remarks.append(show_bytes(action.bytes))
    if action.entries > 1:
        remarks.append(f"{action.entries:,} entries")
    return Line(SIGNS.get(action.op, "·"), text, ", ".join(remarks))


def parking(actions: Iterable[Action]) -> dict[int, str]:
    """Number of each parking place → the path that is parked there."""
    parks = (action for action in actions if action.op is Op.PARK)
    return {action.parked: action.path for action in parks if action.parked is not None}


def origin_of(action: Action, parked: Mapping[int, str]) -> str | None:
    """Where a move comes from, as the user knows it; None if the action is no move."""
    if action.op is not Op.MOVE:
        return None
    if action.parked is not None and action.parked in parked:
        return parked[action.parked]
    return action.source


def list_plan(plan: Plan, *, limit: int | None = LINES) -> list[Line]:
    """The plan sorted by path; folded by directory if it has more than ``limit`` actions."""
    counted = [action for action in plan.actions if action.op in COUNTED_OPS]
    actions = sorted(counted, key=lambda action: action.path)
    parked = parking(plan.actions)
    if limit is None or len(actions) <= limit:
        return [describe(action, parked) for action in actions]
    return _fold(actions, parked, limit)


def _fold(actions: Sequence[Action], parked: Mapping[int, str], limit: int) -> list[Line]:
    """As deep as fits into ``limit`` lines; then the smallest groups are shown in full while they fit."""
    groups = _group(actions, 1)
    depth = 2
    while (finer := _group(actions, depth)).keys() != groups.keys() and len(finer) <= limit:
        groups, depth = finer, depth + 1
    by_size = sorted(groups, key=lambda folder: len(groups[folder]))
    room = limit - len(groups)
    opened = set()
    for folder in by_size:
        room -= len(groups[folder]) - 1
        if room < 0:
            break
        opened.add(folder)
    shown = set(by_size[-limit:])
    lines: list[Line] = []
    for folder in sorted(shown):
        if folder in opened:
            lines += [describe(action, parked) for action in groups[folder]]
        else:
            lines.append(_tally(show_name(folder) + ("/" if folder else ""), groups[folder]))
    rest = [action for folder in groups if folder not in shown for action in groups[folder]]
    if rest:
        lines.append(_tally(f"in {len(groups) - len(shown):,} more directories", rest))
    return lines


def _group(actions: Sequence[Action], depth: int) -> dict[str, list[Action]]:
    """Actions by their folder, cut off after ``depth`` components."""
    groups: dict[str, list[Action]] = {}
    for action in actions:
        folders = action.path.split("/")[:-1]
        groups.setdefault("/".join(folders[:depth]), []).append(action)
    return groups


def _tally(text: str, actions: Sequence[Action]) -> Line:
    """Many actions in one line: ``* lib/  (+ 1,204  ~ 3  - 4, 12.3 MB)``."""
    counts: Counter[str] = Counter()
    for action in actions:
        counts[SIGNS[action.op]] += action.entries
    signs = "  ".join(f"{sign} {counts[sign]:,}" for sign in ("+", "~", "→", "-") if counts[sign])
    size = sum(action.bytes for action in actions)
    return Line("*", text, f"{signs}, {show_bytes(size)}" if size else signs)
