"""What filters leave out, and what is to be said of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconcile.core.model import DirectorySnapshot, Kind, Op, Plan
from reconcile.core.paths import ancestors, lookup, parent

HISTORIES = (".git", ".hg", ".svn")  # of version control
DEFAULT_EXCLUDES = (*HISTORIES, ".DS_Store", "Thumbs.db")  # no site or deployment wants them
_NAMED = 3  # of many


def tell_left_out(counts: Mapping[str, int]) -> str | None:
    """What ``DEFAULT_EXCLUDES`` left out. ``counts``: how many of each name."""
    parts = [f"{counts[name]:,} {name}" for name in DEFAULT_EXCLUDES if counts.get(name)]
    return f"left out: {', '.join(parts)} (--no-default-excludes sends them)" if parts else None


def tell_newly_excluded(plan: Plan, old: DirectorySnapshot, *, mirror: bool) -> str | None:
    """What DEST holds of what was not left out before: it stays there, for others to read."""
    newly: dict[str, Kind] = {}
    for path, entry in plan.restamped.items():
        if entry is not None and entry.excluded and not entry.foreign:
            before = lookup(old.dirs, path)
            if before is not None and not before.excluded:
                newly[path] = entry.kind
    if not newly:
        return None
    tops = [path for path in sorted(newly) if newly.keys().isdisjoint(ancestors(parent(path)))]
    named = ", ".join(repr(f"{top}/" if newly[top] is Kind.DIR else top) for top in tops[:_NAMED])
    more = f" and {len(tops) - _NAMED:,} more" if len(tops) > _NAMED else ""
    many = f"{len(newly):,} {'entry is' if len(newly) == 1 else 'entries are'}"
    flags = "--delete-excluded" if mirror else "--mirror --delete-excluded"
    return (
        f"{many} left out now, which DEST holds still: {named}{more}. To have them removed there, run once "
        f"with {flags}"
    )


def tell_history(plan: Plan) -> str | None:
    """That the history of a project goes along, where nobody may have thought of it."""
    tops = [action.path for action in plan.actions if action.op is Op.MKDIR and action.path in HISTORIES]
    if not tops:
        return None
    return (
        f"'{tops[0]}/' is new to DEST: all that was ever in this project, for whoever can read DEST. If it "
        f"has no business there: --exclude {tops[0]}/"
    )
