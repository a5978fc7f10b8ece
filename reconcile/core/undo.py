"""The plan that takes back what a run has done. Pure.

A plan is made as any other is, but for what is wished: that is what was there before. What the run deleted
or replaced lies in the trash, which for the plan is a part of DEST (``RETIRED``): so what comes back from
there is a move, and no content is sent. A path that another run has changed since is left as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from reconcile.core.done import is_alike, plain
from reconcile.core.fold import fold
from reconcile.core.job import Options
from reconcile.core.model import (
    RETIRED,
    UNKNOWN_MODE,
    Action,
    Caps,
    Change,
    DirectorySnapshot,
    Entry,
    Kind,
    Op,
    PlainDirectory,
    Plan,
    Problem,
    Reason,
    Scan,
    Seen,
    Stage,
)
from reconcile.core.observe import Tags, matches
from reconcile.core.paths import ancestors, basename, below, join, lookup, parent
from reconcile.core.plan import make_plan

_ALWAYS = 1 << 62  # nanoseconds since the epoch: every stamp is older, and stays
_CHANGED = "was changed by another run since; it is left as it is"
_LOST = "can't come back: what it held is not in the trash; it is left as it is"
_HOLDS_THINGS = 0o700  # mode of directories that are made in the trash to hold what is in them


class Item(Struct, frozen=True):
    """Something in the trash."""

    place: str  # below ``RETIRED``
    path: str  # where it was
    seen: Seen


class Wish(Struct, frozen=True):
    """What is to be again as it was."""

    reverts: Mapping[str, Entry | None]
    held: Mapping[str, Entry | None]  # what the run left at each path that is, or is again, as it was before
    problems: Sequence[Problem]  # paths that stay as they are

    @property
    def content(self) -> dict[str, Entry]:
        """Files and links of it."""
        return {
            path: entry
            for path, entry in self.reverts.items()
            if entry is not None and entry.kind is not Kind.DIR
        }


class Undo(Struct, frozen=True):
    """How a run is undone."""

    plan: Plan
    lacking: Sequence[str]  # paths whose former content is nowhere


def wish(
    now: DirectorySnapshot,
    changes: Iterable[Change],
    lost: Collection[str] = (),
    begun: Container[str] = (),
) -> Wish:
    """What of ``changes`` can be taken back path by path, as things are ``now``.

    What was at the paths that are ``lost`` is not to be had. ``begun``: those that an undo of the same has
    begun with, and that nobody has touched since: whatever is there is from that.
    """
    reverts: dict[str, Entry | None] = {}
    held: dict[str, Entry | None] = {}
    problems: dict[str, Problem] = {}
    for change in changes:
        current = lookup(now.dirs, change.path)
        if change.path in lost:
            problems[change.path] = _left(change.path, _LOST)
            continue
        if is_alike(current, change.new) or (change.path in begun and not is_alike(current, change.old)):
            reverts[change.path] = plain(change.old)
        elif not is_alike(current, change.old):
            problems[change.path] = _left(change.path, _CHANGED)
            continue
        held[change.path] = change.new
    while troubled := dict(_find_conflicts(now, reverts)):
        for path, why in troubled.items():
            problems[path] = _left(path, why)
            del reverts[path], held[path]
    return Wish(reverts, held, [problems[path] for path in sorted(problems)])


def plan_undo(
    now: DirectorySnapshot,
    wished: Wish,
    trash: Sequence[Item],
    retired: Mapping[str, Entry],
    tags: Tags,
    options: Options,
    *,
    caps: Caps = Caps(),
    careful: bool = False,
) -> Undo:
    """The actions that make ``wished`` true, with what is in the ``trash``, the likeliest first.

    ``retired``: see ``Done``.
    """
    marked = _Marked()
    reverts = dict(wished.reverts)
    now = _show_all(now, reverts)
    found = _recognise(trash, reverts, retired, tags, marked)
    current = dict(_mark_moved(now, reverts, found, marked))
    in_trash = _lay_out(trash, found, reverts)
    old = fold(now, (), current, _ALWAYS)
    wanted = fold(now, (), dict(sorted(reverts.items())), _ALWAYS)
    old = replace(old, dirs={**old.dirs, **in_trash})
    changes = [Change(path, lookup(old.dirs, path), entry) for path, entry in reverts.items()]
    changes += [
        Change(join(folder, name), entry, None)
        for folder, directory in in_trash.items()
        for name, entry in directory.names.items()
    ]
    changes.sort(key=lambda change: change.path)
    asked = replace(options, mirror=True, release=None, only=())
    scan = Scan(wanted.dirs, 0, 0)
    plan = make_plan(old, scan, changes, asked, caps=caps, careful=careful, pages=False)
    theirs = {path for path, entry in reverts.items() if entry is not None and entry.foreign}
    levels = [[*_finish(level, marked, options, theirs)] for level in plan.levels]
    plan = replace(
        plan,
        levels=[level for level in levels if level],
        restamped={
            path: marked.real(entry) for path, entry in plan.restamped.items() if not path.startswith(RETIRED)
        },
        problems=wished.problems,
        notes=(),
        bytes_avoided=0,
        gone=0,
    )
    lacking = [action.path for action in plan.actions if _brings_content(action)]
    return Undo(plan, lacking)


def _show_all(now: DirectorySnapshot, reverts: Mapping[str, object]) -> DirectorySnapshot:
    """The same with all that is to be undone, though it is gone in SRC since, or a filter hides it."""
    hidden = ((path, lookup(now.dirs, path)) for path in reverts)
    shown = {path: plain(e) for path, e in hidden if e is not None and (e.excluded or e.retained)}
    return fold(now, (), shown, _ALWAYS) if shown else now


def _recognise(
    trash: Iterable[Item],
    reverts: dict[str, Entry | None],
    retired: Mapping[str, Entry],
    tags: Tags,
    marked: _Marked,
) -> dict[str, Entry]:
    """Files and links in the trash that are known by their look: the entries they were, by their places."""
    found: dict[str, Entry] = {}
    here: set[str] = set()  # paths of which one is found: another that looks the same is later, or others'
    for item in trash:
        entry = reverts.get(item.path)
        is_content = entry is not None and entry.kind is not Kind.DIR and item.path not in here
        if is_content and matches(item.seen, entry, tags):
            here.add(item.path)
            reverts[item.path] = entry = marked.as_one(entry, item.path)
        elif (entry := retired.get(item.path)) is None or not matches(item.seen, entry, tags):
            continue
        assert entry is not None
        found[item.place] = replace(entry, foreign=False, retained=False, excluded=False)
    return found


def _find_conflicts(now: DirectorySnapshot, reverts: Mapping[str, Entry | None]) -> Iterator[tuple[str, str]]:
    """What can't be as it was, since what is above or below it is otherwise by now."""
    for path, entry in reverts.items():
        above = parent(path)
        if entry is not None and above:
            holder = reverts[above] if above in reverts else lookup(now.dirs, above)
            if holder is None or holder.kind is not Kind.DIR:
                yield path, "can't come back: the folder that it was in is not there any more"
                continue
        current = lookup(now.dirs, path)
        if current is None or current.kind is not Kind.DIR or (entry is not None and entry.kind is Kind.DIR):
            continue
        if any(reverts.get(inside, known) is not None for inside, known in below(now.dirs, path)):
            yield path, "holds what came since; it is left as it is"


def _left(path: str, why: str) -> Problem:
    return Problem(path, Stage.PLAN, Reason.CHANGED, why)


class _Marked(Struct):
    """Files of which no digest is known get one for the time of planning: that tells them from all others."""

    digests: set[bytes] = field(default_factory=set)

    def as_one(self, entry: Entry | None, name: str) -> Entry | None:
        """The entry so that it is taken for the same as another one of this ``name``."""
        if entry is None or entry.kind is not Kind.FILE or entry.digest is not None:
            return entry
        digest = b"no digest: " + name.encode("utf-8", "surrogateescape")
        self.digests.add(digest)
        return replace(entry, digest=digest)

    def real(self, entry: Entry | None) -> Entry | None:
        """The entry as it was."""
        if entry is None or entry.digest is None or entry.digest not in self.digests:
            return entry
        return replace(entry, digest=None)


def _mark_moved(
    now: DirectorySnapshot, reverts: dict[str, Entry | None], found: dict[str, Entry], marked: _Marked
) -> Iterator[tuple[str, Entry]]:
    """Of files that have no digest, and were moved by the run: they are where they are now, or in the trash,
    by their size and time, which no other that comes or goes has."""
    goes = {path: lookup(now.dirs, path) for path in reverts} | found
    goes = {path: entry for path, entry in goes.items() if _is_nameless(entry)}
    comes = {path: entry for path, entry in reverts.items() if _is_nameless(entry)}
    leave, arrive = (Counter(map(_look_of, some.values())) for some in (goes, comes))

    def mark(entry: Entry | None) -> Entry | None:
        look = _look_of(entry)
        return marked.as_one(entry, f"/{look}") if leave[look] == arrive[look] == 1 else None

    for path, entry in comes.items():
        reverts[path] = mark(entry) or entry
    for path, entry in goes.items():
        if (one := mark(entry)) is not None:
            if path in found:
                found[path] = one
            else:
                yield path, one


def _is_nameless(entry: Entry | None) -> bool:
    return entry is not None and entry.kind is Kind.FILE and entry.digest is None


def _look_of(entry: Entry | None) -> tuple[int, int]:
    assert entry is not None
    return entry.size, entry.mtime_ns


def _lay_out(
    trash: Sequence[Item], found: Mapping[str, Entry], reverts: Mapping[str, Entry | None]
) -> dict[str, PlainDirectory]:
    """What of the trash is known, as directories of DEST.

    One moves whole only if it was deleted so, and all in it is known: others were made to hold what is
    in them, and are ``foreign``.
    """
    entries = dict(found)
    torn: set[str] = set()  # directories that hold what is not known, or were none
    for item in trash:
        before = reverts.get(item.path)
        if item.seen.kind is Kind.DIR and before is not None and _was_there(before, item.seen):
            entries[item.place] = before
        elif item.place not in found:
            torn.update(ancestors(item.place))
    made = Entry(Kind.DIR, UNKNOWN_MODE, foreign=True)
    entries |= {i.place: made for i in trash if i.seen.kind is Kind.DIR and i.place in torn}
    laid: dict[str, dict[str, Entry]] = {}
    made = Entry(Kind.DIR, UNKNOWN_MODE, foreign=True)
    for item in trash:
        if item.seen.kind is Kind.DIR and item.place in torn:
            entries[item.place] = made
    for place, entry in sorted(entries.items()):
        laid.setdefault(parent(place), {})[basename(place)] = entry
        if entry.kind is Kind.DIR:
            laid.setdefault(place, {})
    return {folder: PlainDirectory(names) for folder, names in laid.items()}


def _was_there(before: Entry, seen: Seen) -> bool:
    """Whether a directory in the trash was on DEST, and was not made in the trash to hold something."""
    return before.kind is Kind.DIR and (seen.mode != _HOLDS_THINGS or before.wished_mode == _HOLDS_THINGS)


def _finish(
    level: Iterable[Action], marked: _Marked, options: Options, theirs: Container[str]
) -> Iterator[Action]:
    """The actions as they are carried out: nothing is deleted in the trash, and nobody knows any marks. What
    others wrote is ``theirs`` still."""
    for action in level:
        if action.op is Op.DELETE and action.path.startswith(RETIRED):
            continue
        known = {name: marked.real(entry) for name, entry in action.inside}
        carried = {path: marked.real(entry) for path, entry in action.carried.items()}
        if action.comes_back and action.kind is Kind.DIR:
            carried = {join(action.path, name): entry for name, entry in known.items()} | carried
        new = marked.real(action.new)
        if action.comes_back and new is not None and action.path in theirs:
            new = replace(new, foreign=True)
        yield replace(
            action,
            new=new,
            old=marked.real(action.old),
            moved=marked.real(action.moved),
            inside=[(name, entry) for name, entry in known.items() if entry is not None],
            carried=carried,
            keep=action.keep or _is_to_be_kept(action, options),
            reason="back from the trash" if action.comes_back else action.reason,
        )


def _is_to_be_kept(action: Action, options: Options) -> bool:
    """Whether what goes is not to be lost, though it is a copy of what SRC had: nobody asked for deletes."""
    return action.op is Op.DELETE and options.trash is None and not options.mirror


def _brings_content(action: Action) -> bool:
    return action.op in (Op.CREATE, Op.MODIFY) and action.kind is Kind.FILE
