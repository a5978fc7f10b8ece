"""What had arrived when a run broke off, where times prove nothing: told by content.

With times left out a file shows its size alone, and that is no proof. So it is read back: else all that a
run had sent before it was killed would be sent again, and what is there kept aside as somebody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from reconcile.apply.adopt import read_digests
from reconcile.core.model import NS, Entry, Kind, Op, Outcome, Seen, Stage
from reconcile.core.observe import held
from reconcile.remotes import Remote
from reconcile.source.files import Source, SourceError, as_it_is_now


def tell_by_content(
    outcomes: Sequence[Outcome], remote: Remote, source: Source, say: Callable[[str], None]
) -> Iterator[Outcome]:
    """The same outcomes, but for what DEST turns out to hold: that is done. The smallest are read first."""
    doubtful = {o.action.path: o for o in outcomes if _may_have_arrived(o)}
    there = {path: seen for path, seen in remote.look(doubtful) if _is_file(seen)} if doubtful else {}
    ours: dict[str, Entry] = {}
    for path, seen in there.items():
        entry = None if seen is None else _read_ours(path, doubtful[path], seen.size, source)
        if entry is not None:
            ours[path] = entry
    shown = [(path, entry, seen) for path, entry in ours.items() if (seen := there[path]) is not None]
    told = dict(remote.recognise(shown, source))
    wanted = sorted(
        ((path, entry.size) for path, entry in ours.items() if path not in told), key=lambda each: each[1]
    )
    if wanted:
        size = sum(size for _, size in wanted)
        say(f"{len(wanted):,} files may have arrived: they are read back and compared ({size:,} bytes)")
    same = {path for path, digest in read_digests(remote, wanted) if digest == ours[path].digest}
    same |= {path for path, is_same in told.items() if is_same}
    for outcome in outcomes:
        path = outcome.action.path
        seen = there.get(path)
        if path in same and seen is not None:
            entry = replace(ours[path], mtime_ns=(seen.mtime or 0) * NS, stamp=None)
            yield Outcome(outcome.action, {path: held(entry, seen, remote)})
        else:
            yield outcome


def _may_have_arrived(outcome: Outcome) -> bool:
    action, problem = outcome.action, outcome.problem
    if problem is None or problem.stage is not Stage.RECOVER:
        return False
    return action.op in (Op.CREATE, Op.MODIFY) and action.kind is Kind.FILE


def _is_file(seen: Seen | None) -> bool:
    return seen is not None and seen.kind is Kind.FILE


def _read_ours(path: str, outcome: Outcome, size: int, source: Source) -> Entry | None:
    """What is to be there, as it is here now; None if that has another size, or can't be read."""
    wish = outcome.action.new
    entry = None if wish is None else as_it_is_now(source, path, wish)
    if entry is None or entry.size != size or entry.stamp is None:
        return None
    try:
        return replace(entry, digest=source.digest(path, entry.stamp))
    except SourceError:
        return None
