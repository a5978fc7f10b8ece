"""A plan as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct

from reconcile.core.model import UNKNOWN_MODE, Action, Kind, Op, Plan
from reconcile.core.told import as_told
from reconcile.core.units import show_bytes
from reconcile.report.words import show_message, show_name

SIGNS = {
    Op.CREATE: "+",
    Op.MKDIR: "+",
    Op.MODIFY: "~",
    Op.SETMETA: "~",
    Op.MOVE: "→",
    Op.DELETE: "-",
}
LINES = 40  # a longer plan is folded by directory
MEANINGS = {"+": "new", "~": "changed", "→": "moved", "-": "deleted"}
DEEDS = {"+": "new", "~": "changed", "→": "moved here", "-": "deleted"}  # of what is folded
MARGIN = 28  # columns that are left for a sign, and for most remarks
PLAIN_REASONS = {"", "new", "content", "deleted"}  # the sign says as much
META_REASONS = {"mode", "time", "mode and time"}  # which the difference itself tells better


class Line(Struct, frozen=True):
    """One line of a plan: a sign, names that are already escaped, and a remark."""

    sign: str
    text: str
    remark: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {self.text}" + (f"  {self.remark}" if self.remark else "")


def describe(action: Action) -> Line:
    """One action."""
    slash = "/" if action.kind is Kind.DIR and action.path else ""
    text = show_name(action.path) + slash
    remarks: list[str] = []
    if action.op is Op.MOVE:
        text = f"{'the trash' if (origin := action.origin) is None else show_name(origin) + slash} → {text}"
    elif action.op in (Op.CREATE, Op.MODIFY):
        remarks += _content_remarks(action)
    elif (differences := _meta_differences(action)) and action.reason in META_REASONS:
        remarks += differences
    elif action.reason not in PLAIN_REASONS:
        remarks.append(show_message(action.reason))
    if action.entries > 1:
        remarks.append(f"{action.entries:,} entries")
    if action.op is Op.DELETE:
        remarks += _loss_remarks(action)
    return Line(SIGNS.get(action.op, "·"), text, ", ".join(remarks))


def _content_remarks(action: Action) -> Iterator[str]:
    """What a new or changed file or link will hold, and held."""
    if action.reason not in PLAIN_REASONS:
        yield show_message(action.reason)
    old, new = action.old, action.new
    same_kind = old is not None and new is not None and old.kind is new.kind
    if new is not None and new.link is not None:
        link = f"link to {show_name(new.link)}"
        was = old.link if same_kind and old is not None else None
        yield f"link to {show_name(was)} → {show_name(new.link)}" if was not in (None, new.link) else link
    elif action.kind is Kind.FILE:
        before = old.size if same_kind and old is not None else action.bytes
        change = f"{show_bytes(before)} → " if before != action.bytes else ""
        yield change + show_bytes(action.bytes)


def _loss_remarks(action: Action) -> Iterator[str]:
    """How much goes, and whether for good."""
    old = action.old
    gone = [entry for _, entry in action.members] if old is None else [old, *(e for _, e in action.members)]
    files = [entry.size for entry in gone if entry.kind is Kind.FILE]
    if files:
        yield show_bytes(sum(files))
    if action.keep:
        yield "kept in the trash there"


def _meta_differences(action: Action) -> list[str]:
    old, new = action.old, action.new
    if old is None or new is None:
        return []
    differences = []
    before, after = old.wished_mode, new.wished_mode
    if UNKNOWN_MODE not in (before, after) and before != after:
        differences.append(f"mode {before:03o} → {after:03o}")
    if old.kind is Kind.FILE and old.mtime != new.mtime:
        differences.append("time")
    return differences


def explain_signs(lines: Iterable[Line], meanings: Mapping[str, str] = MappingProxyType(MEANINGS)) -> str:
    """What the signs in these lines mean: ``+ new  ~ changed``."""
    shown = {line.sign for line in lines}
    return "  ".join(f"{sign} {meaning}" for sign, meaning in meanings.items() if sign in shown)


def list_plan(plan: Plan, *, limit: int | None = LINES) -> tuple[list[Line], list[Line]]:
    """What is new, then what is changed, then moves; and apart from these what is deleted: all by path.

    If the first have more than ``limit`` lines the longest of the three are folded by directory, each by
    itself. What is deleted never is: nobody may overlook it.
    """
    *parts, deleted = _split(action for action in as_told(plan) if not action.parks)
    rooms = [len(part) for part in parts] if limit is None else _share(limit, [len(part) for part in parts])
    lines = [line for part, room in zip(parts, rooms, strict=True) for line in _list(part, room)]
    return lines, _list(deleted, len(deleted))


def align(lines: Sequence[Line], width: int) -> list[Line]:
    """The same with their remarks in one column: that of the longest text which leaves ``width`` room."""
    fits = [cells for line in lines if line.remark and (cells := count_cells(line.text)) <= width - MARGIN]
    column = max(fits, default=0)
    return [
        Line(line.sign, line.text + " " * (column - count_cells(line.text)), line.remark)
        if line.remark
        else line
        for line in lines
    ]


def count_cells(text: str) -> int:
    """Columns that it takes on a screen: what East Asia writes is two wide, what is combined has none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _list(actions: Sequence[Action], room: int) -> list[Line]:
    return list(map(describe, actions)) if len(actions) <= room else _fold(actions, room)


def _split(actions: Iterable[Action]) -> list[list[Action]]:
    """What is new, changed, moved and deleted. Of a path that is touched again the first counts."""
    parts: dict[str, list[Action]] = {sign: [] for sign in MEANINGS}
    told: set[str] = set()
    for action in actions:
        sign = SIGNS[action.op]
        if sign in "→-":
            parts[sign].append(action)
        elif action.path not in told:  # a directory's mode may be set after it was made, or filled
            told.add(action.path)
            parts[sign].append(action)
    return [sorted(part, key=lambda action: action.path) for part in parts.values()]


def _share(limit: int, wanted: Sequence[int]) -> list[int]:
    """``limit`` lines among parts: the short ones get all they want, the others the same of what is left."""
    rooms = [0] * len(wanted)
    waiting = sorted(range(len(wanted)), key=lambda part: wanted[part])
    while waiting:
        part, *rest = waiting
        rooms[part] = min(wanted[part], limit // len(waiting))
        limit -= rooms[part]
        waiting = rest
    return rooms


def _fold(actions: Sequence[Action], limit: int) -> list[Line]:
    """As deep as fits into ``limit`` lines; then the smallest groups are shown in full while they fit."""
    groups = _group(actions, 1)
    depth = 2
    while (finer := _group(actions, depth)).keys() != groups.keys() and len(finer) <= limit:
        groups, depth = finer, depth + 1
    by_size = sorted(groups, key=lambda folder: len(groups[folder]))
    room = max(0, limit - len(groups))
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
            lines += map(describe, groups[folder])
        else:
            lines.append(_fold_folder(folder, groups[folder]))
    rest = [action for folder in groups if folder not in shown for action in groups[folder]]
    if rest:
        lines.append(_tally(f"in {len(groups) - len(shown):,} more directories", rest))
    return lines


def _group(actions: Sequence[Action], depth: int) -> dict[str, list[Action]]:
    """Actions by their folder, cut off after ``depth`` components. A new directory is in its own group."""
    groups: dict[str, list[Action]] = {}
    for action in actions:
        folders = action.path.split("/")
        if action.op is not Op.MKDIR:
            folders.pop()
        groups.setdefault("/".join(folders[:depth]), []).append(action)
    return groups


def _fold_folder(folder: str, actions: Sequence[Action]) -> Line:
    """All that is done in a folder; a new one is told as what it will hold."""
    name = show_name(folder) + ("/" if folder else "")
    if all(action.path != folder for action in actions):
        return _tally(f"{name}…", actions)
    size = sum(action.bytes for action in actions)
    held = f"{sum(action.entries for action in actions) - 1:,} entries"
    return Line("+", name, f"{held}, {show_bytes(size)}" if size else held)


def _tally(text: str, actions: Sequence[Action]) -> Line:
    """Many actions of one kind in one line: ``+ lib/…  1,204 new, 12.3 MB``."""
    sign = SIGNS[actions[0].op]
    size = sum(action.bytes for action in actions)
    told = f"{sum(action.entries for action in actions):,} {DEEDS[sign]}"
    return Line(sign, text, f"{told}, {show_bytes(size)}" if size else told)
