"""What a look at DEST has shown, as lines and as what ``--json`` prints. Pure."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from reconcile.core.compare import Checked, Fault, Finding
from reconcile.core.model import UNKNOWN_MODE, Entry, Kind, Seen
from reconcile.core.units import show_bytes
from reconcile.report.plans import LINES, Line
from reconcile.report.words import show_name

SIGNS = {Fault.MISSING: "-", Fault.FOREIGN: "?", Fault.UNSEEN: "!"}  # else "~"
MEANINGS = {"-": "missing", "~": "not as it was left", "?": "not ours", "!": "can't be looked at"}
_WORDS = {  # singular, plural
    Fault.MISSING: ("missing", "missing"),
    Fault.KIND: ("of another kind", "of another kind"),
    Fault.CHANGED: ("changed", "changed"),
    Fault.CONTENT: ("with other content", "with other content"),
    Fault.LINK: ("link that leads elsewhere", "links that lead elsewhere"),
    Fault.MODE: ("with another mode", "with another mode"),
    Fault.UNSEEN: ("unreadable", "unreadable"),
    Fault.FOREIGN: ("not ours", "not ours"),
}


def list_findings(findings: Sequence[Finding], *, limit: int | None = LINES) -> list[Line]:
    """A line each, sorted by path; more than ``limit`` are folded by directory, each sign by itself."""
    if limit is None or len(findings) <= limit:
        return [describe(each) for each in findings]
    depth = 1
    groups = _group(findings, depth)
    while len(finer := _group(findings, depth + 1)) <= limit and finer.keys() != groups.keys():
        groups, depth = finer, depth + 1
    lines = [
        describe(each[0])
        if len(each) == 1
        else Line(sign, f"{show_name(folder)}{'/' if folder else ''}", ", ".join(_count(each)))
        for (folder, sign), each in sorted(groups.items())
    ]
    if len(lines) > limit:
        rest = len(lines) - limit
        lines = [*lines[:limit], Line("*", f"and {rest:,} more of this kind (-v shows all)")]
    return lines


def describe(finding: Finding) -> Line:
    """One path."""
    shown = finding.entry or finding.seen
    is_dir = shown is not None and shown.kind is Kind.DIR
    text = show_name(finding.path) + ("/" if is_dir else "")
    remark = _remark(finding)
    if finding.entries > 1:
        remark = f"{remark}, {finding.entries:,} entries" if remark else f"{finding.entries:,} entries"
    return Line(SIGNS.get(finding.fault, "~"), text, remark)


def _remark(finding: Finding) -> str:
    """What is another, as ``was → is``."""
    old, seen = finding.entry, finding.seen
    match finding.fault:
        case Fault.CONTENT:
            return "other content of the same size"
        case Fault.KIND if old is not None and seen is not None:
            return f"{_kind(old.kind)} → {_kind(seen.kind)}"
        case Fault.MODE if old is not None and seen is not None and seen.mode is not None:
            return f"mode {old.mode:03o} → {seen.mode:03o}"
        case Fault.LINK if old is not None and seen is not None:
            return f"link to {show_name(old.link or '?')} → {show_name(seen.link or '?')}"
        case Fault.CHANGED if old is not None and seen is not None:
            if old.size != seen.size:
                return f"{show_bytes(old.size)} → {show_bytes(seen.size)}"
            if seen.mtime is None or seen.mtime == old.mtime:  # of which only its tag tells
                return "written anew, of the same size"
            return f"time → {_when(seen.mtime)}"
    return ""


def _kind(kind: Kind | None) -> str:
    names = {None: "special file", Kind.FILE: "file", Kind.DIR: "directory", Kind.SYMLINK: "link"}
    return names[kind]


def _when(seconds: int) -> str:
    """UTC: whoever reads this may be elsewhere."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"


def _group(findings: Sequence[Finding], depth: int) -> dict[tuple[str, str], list[Finding]]:
    groups: dict[tuple[str, str], list[Finding]] = {}
    for each in findings:
        folder = "/".join(each.path.split("/")[:-1][:depth])
        groups.setdefault((folder, SIGNS.get(each.fault, "~")), []).append(each)
    return groups


def _count(findings: Sequence[Finding]) -> list[str]:
    """``3 missing``, ``1 changed``: in the order of the faults, with all that is in directories."""
    counts: Counter[Fault] = Counter()
    for each in findings:
        counts[each.fault] += each.entries
    return [f"{counts[fault]:,} {_WORDS[fault][counts[fault] > 1]}" for fault in Fault if counts[fault]]


def summarise_check(checked: Checked, target: str) -> str:
    """The one line that a person reads at night."""
    looked = f"{checked.entries:,} entries looked at"
    if checked.read or checked.unread:
        looked += f", content of {checked.read:,} files read back ({show_bytes(checked.read_bytes)})"
        if checked.unread:
            looked += f", {checked.unread:,} left for the next time"
    state = ", ".join(_count(checked.findings)) or "all is as it was left"
    return f"verify: {state}; {looked} → {show_name(target)}"


def checked_document(checked: Checked) -> dict[str, Any]:
    """What ``--json`` prints of it."""
    return {
        "entries": checked.entries,
        "files_read": checked.read,
        "bytes_read": checked.read_bytes,
        "files_left": checked.unread,
        "strict": checked.strict,
        "findings": [_document(each) for each in checked.findings],
    }


def _document(finding: Finding) -> Mapping[str, Any]:
    old, seen = finding.entry, finding.seen
    kept = UNKNOWN_MODE if old is None else old.mode
    return {
        "path": finding.path,
        "fault": finding.fault.value,
        "entries": finding.entries,
        "was": _side(old, kept if kept > UNKNOWN_MODE else None),
        "is": _side(seen, None if seen is None else seen.mode),
    }


def _side(shown: Entry | Seen | None, mode: int | None) -> Mapping[str, Any] | None:
    """What is, or was to be, at a path."""
    if shown is None:
        return None
    return {
        "kind": None if shown.kind is None else shown.kind.value,
        "size": shown.size,
        "mtime": shown.mtime,
        "mode": mode,
        "link": shown.link,
    }
