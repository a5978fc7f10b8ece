"""Changes in, a minimal ordered plan out. Pure.

Order of the levels: what makes and frees names (see ``order``), then all uploads
and metadata of files, then the remaining deletions, then modes of directories.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from msgspec import Struct, field
from msgspec.structs import replace

from reconcile.core.arrivals import arriving, keep_back, wait
from reconcile.core.caps import note_copies, note_moves, without_directories
from reconcile.core.diff import same_content, same_meta
from reconcile.core.job import Options
from reconcile.core.last import (
    bring_again,
    brings_one,
    comes_last,
    in_turn,
    in_turn_go,
    leaves_whole,
    renamed_in_place,
    twice_there,
)
from reconcile.core.linked import leave_links
from reconcile.core.model import (
    Action,
    Caps,
    Change,
    DirectorySnapshot,
    Entry,
    Kind,
    Op,
    Plan,
    Problem,
    Reason,
    Scan,
    Stage,
)
from reconcile.core.moves import Moves, Pairing, pair
from reconcile.core.order import order, touched
from reconcile.core.paths import Inside, ancestors, below, lookup, parent, within
from reconcile.core.room import is_another, must_be_kept, note_carried, note_kept
from reconcile.core.twins import find_twins, fold_name

_HOLDS_EXCLUDED = "gone here, and stays on the remote, as it holds what a filter leaves out"


def make_plan(
    old: DirectorySnapshot,
    scan: Scan,
    changes: Sequence[Change],
    options: Options,
    problems: Sequence[Problem] = (),
    *,
    caps: Caps = Caps(),
    moves: bool = True,
    careful: bool = False,
    pages: bool = True,
) -> Plan:
    """The cheapest actions that make the remote what ``changes`` ask for.

    ``changes`` come from ``diff`` with their contents filled in; every path costs
    one action at most. ``problems`` are passed on. Without ``moves``, as where the
    remote refused some, or has none by its ``caps``, what would have been one is an upload and a delete.
    ``careful``: filters hide things from us, so that a directory is looked into before it is renamed.
    Where documents are among them that name others, what they name comes before them, and goes after: see
    ``last``; not without ``pages``.
    """
    changes, forgotten, notes = leave_links(changes)
    pairing = pair(old, scan, changes, options.mirror, caps, moves=moves, scope=options.only)
    is_last = comes_last(options.last)
    twice: Mapping[str, str] = {}
    in_place: Mapping[str, str] = {}
    if has_document := pages and brings_one(pairing, is_last):
        pairing = pair(old, scan, changes, options.mirror, caps, moves=moves, folders=False)
        twice, in_place = twice_there(pairing), renamed_in_place(pairing) if caps.rename else {}
        pairing = replace(pairing, moves=Moves(files=in_place))
    leaving = frozenset([*twice.values(), *in_place])
    draft = _Draft(old, pairing, options, careful=careful, twice=twice, leaving=leaving)
    if options.release is not None:
        draft.bring_changed(options)
    draft.restamped.update(forgotten)
    draft.notes += notes
    if moves and not (caps.rename or caps.copy):
        would = pair(old, scan, changes, options.mirror, scope=options.only).moves
        draft.notes += note_moves(len(would.dirs) + len(would.files))
    for change in changes:
        if change.new is not None and change.new.excluded:
            draft.restamped[change.path] = change.new
            draft.back += change.new.retained
    draft.classify()
    structure = draft.structure()
    draft.await_arrivals(structure, ((path, e) for p in problems if (e := lookup(scan.dirs, path := p.path))))
    uploads = in_turn(draft.uploads, is_last) if has_document else [draft.uploads]
    levels = [
        level for level in [*structure, *uploads, *in_turn_go(draft.deletes, is_last), *draft.last] if level
    ]
    if caps.copy and not caps.rename:
        draft.notes += note_copies(action for level in levels for action in level)
    if not caps.dirs:
        levels, made, notes = without_directories(levels, scan.dirs if caps.empty_dirs else None)
        draft.restamped.update(made)
        draft.notes += notes
    return Plan(
        levels=levels,
        restamped=draft.restamped,
        problems=[*_of_interest(scan.problems, old), *problems],
        notes=[
            *scan.notes,
            *draft.notes,
            *note_kept(action for level in levels for action in level),
        ],
        bytes_avoided=draft.bytes_avoided,
        twins=find_twins(old, scan, chain.from_iterable(levels)),
        gone=draft.gone,
        back=draft.back,
        twice=bool(twice),
    )


class _Draft(Struct, eq=False):
    """A plan while it is being made."""

    old: DirectorySnapshot
    pairing: Pairing
    options: Options
    restamped: dict[str, Entry | None] = field(default_factory=dict)
    carried: dict[str, dict[str, Entry | None]] = field(default_factory=dict)  # by origin of the move
    steps: list[Action] = field(default_factory=list)  # make and free names
    uploads: list[Action] = field(default_factory=list)
    deletes: list[Action] = field(default_factory=list)
    modes: list[Action] = field(default_factory=list)  # of directories
    cleared: set[str] = field(default_factory=set)  # directories that go as a whole
    replaced: set[str] = field(default_factory=set)  # what lies where a directory moves to
    notes: list[Problem] = field(default_factory=list)
    bytes_avoided: int = 0
    gone: int = 0
    back: int = 0
    careful: bool = False
    twice: Mapping[str, str] = field(default_factory=dict)  # see ``last.twice_there``
    leaving: frozenset[str] = frozenset()  # old paths of what is, or comes, to another place

    def bring_changed(self, options: Options) -> None:
        """Don't move what gets another mode or time on the way: that would be seen at its other names."""
        moves, news = self.pairing.moves, self.pairing.news
        changed = {
            origin
            for origin, target in moves.files.items()
            if not same_meta(self._entry(origin), news[target], options)
        }
        files = {origin: target for origin, target in moves.files.items() if origin not in changed}
        self.pairing = replace(self.pairing, moves=replace(moves, files=files))
        self.leaving |= changed

    def classify(self) -> None:
        """Decide for each path which action it costs, parents first."""
        arriving = {target: origin for origin, target in self.pairing.moves.files.items()}
        for path in sorted(self.pairing.olds.keys() | self.pairing.news.keys()):
            origin, old = self.pairing.olds.get(path, (path, None))
            new = self.pairing.news.get(path)
            if old is not None and origin in self.pairing.moves.files:
                old = None  # moved away
            if new is not None and old is not None:
                self.back += old.retained
            if new is None:
                if old is not None:
                    self._vanish(path, origin, old)
            elif path in arriving:
                self._move_file(path, arriving[path], old, origin, new)
            else:
                self._bring(path, origin, old, new)
        for origin, target in self.pairing.moves.dirs.items():
            self._move_directory(origin, target)
        self._clear_displaced()

    def structure(self) -> list[list[Action]]:
        """Order what makes and frees names; open directories that forbid changes, first."""
        opened = self._open_directories()
        if self.deletes:
            # A remote that ignores case would take the new name for the old one.
            incoming = {fold_name(a.path) for a in [*self.steps, *self.uploads] if a.op is not Op.DELETE}
            self.steps += [action for action in self.deletes if fold_name(action.path) in incoming]
            self.deletes = [
                replace(action, source=None)
                for action in self.deletes
                if fold_name(action.path) not in incoming
            ]
        return [opened, *order(self.steps)]

    @property
    def last(self) -> list[list[Action]]:
        """Final modes of directories, the deepest first."""
        depths: dict[int, list[Action]] = {}
        for action in self.modes:
            depths.setdefault(action.path.count("/"), []).append(action)
        return [depths[depth] for depth in sorted(depths, reverse=True)]

    def await_arrivals(self, structure: Sequence[list[Action]], unread: Iterable[tuple[str, Entry]]) -> None:
        """Let no delete take away the only copy of what is yet to come to another place."""
        rooms = [level for level in structure if any(action.op is Op.DELETE for action in level)]
        found = arriving(self.uploads, unread) if self.deletes or rooms else {}
        if not found:
            return
        self.deletes = [wait(action, found) for action in self.deletes]
        for level in rooms:
            level[:] = [keep_back(action, found) if action.op is Op.DELETE else action for action in level]

    def _vanish(self, path: str, origin: str, old: Entry) -> None:
        if old.excluded or any(top in self.cleared for top in ancestors(path)):
            return
        if self._moves_away(path, old):
            self.deletes.append(self._delete(path, origin, old, "moved"))
        elif not self.options.mirror:
            self.gone += not old.retained
            self._hold_true(path, origin, replace(old, retained=True))
        elif old.kind is Kind.DIR and any(entry.excluded for _, entry in self._members(origin)):
            # It stays with what is excluded in it, and is known as what would go else; the rest goes.
            self._hold_true(path, origin, replace(old, retained=True))
            if not old.retained:
                self.notes.append(Problem(path, Stage.PLAN, Reason.KEPT, _HOLDS_EXCLUDED))
        else:
            self.deletes.append(self._delete(path, origin, old, "deleted"))

    def _moves_away(self, path: str, old: Entry) -> bool:
        """Whether what vanishes is at another place then, all of it: so it goes without a mirror, too."""
        if not self.leaving or self.options.mirror:
            return False
        return path in self.leaving or (old.kind is Kind.DIR and leaves_whole(self.old, path, self.leaving))

    def _bring(self, path: str, origin: str, old: Entry | None, new: Entry) -> None:
        if old is not None and (old.kind is Kind.DIR) != (new.kind is Kind.DIR):
            self.steps.append(self._delete(path, origin, old, f"is now a {new.kind}", blocking=True))
            old = None
        if new.kind is Kind.DIR:
            self._bring_directory(path, origin, old, new)
        elif old is None and (at := self.twice.get(path)) is not None:
            moved = self._entry(at)
            self.bytes_avoided += moved.size
            new = replace(new, digest=new.digest or moved.digest)
            self.uploads.append(bring_again(Action(Op.CREATE, path, new=new), at, moved))
        elif old is None:
            self.uploads.append(Action(Op.CREATE, path, new=new, reason="new"))
        elif not same_content(old, new):
            reason = "content" if old.kind is new.kind else f"was a {old.kind}"
            self.uploads.append(
                Action(
                    Op.MODIFY,
                    path,
                    new=new,
                    old=old,
                    keep=must_be_kept(self.options, old, new),
                    reason=reason,
                )
            )
        else:
            self._touch(path, origin, old, new)

    def _touch(self, path: str, origin: str, old: Entry, new: Entry) -> None:
        """The content is there already; at most mode or time differ."""
        if same_meta(old, new, self.options):
            if origin != path or old.stamp is not None:  # without a stamp it only was not trusted yet
                self.bytes_avoided += old.size
            self._hold_true(path, origin, _restamp(old, new))
        else:
            reason = _meta_reason(old, new, self.options)
            if self.options.release is not None and new.kind is Kind.FILE:  # releases have the same file
                new = replace(new, digest=new.digest or old.digest)
                self.uploads.append(Action(Op.MODIFY, path, new=new, old=old, reason=reason))
                return
            self.bytes_avoided += old.size
            self.uploads.append(
                Action(Op.SETMETA, path, new=_with_meta(old, new, self.options), old=old, reason=reason)
            )

    def _bring_directory(self, path: str, origin: str, old: Entry | None, new: Entry) -> None:
        if old is None:
            self.steps.append(Action(Op.MKDIR, path, new=new, reason="new"))
            if self.options.keeps_mode(Kind.DIR) and new.mode & 0o700 != 0o700:
                made = replace(new, mode=new.mode | 0o700)
                self.modes.append(Action(Op.SETMETA, path, new=new, old=made, reason="mode"))
        elif not same_meta(old, new, self.options):
            self.modes.append(
                Action(Op.SETMETA, path, new=_with_meta(old, new, self.options), old=old, reason="mode")
            )
        else:
            self._hold_true(path, origin, replace(old, retained=False, excluded=False))

    def _move_file(self, path: str, source: str, old: Entry | None, origin: str, new: Entry) -> None:
        moved = self._entry(source)
        if old is not None and old.kind is Kind.DIR:
            self.steps.append(self._delete(path, origin, old, f"is now a {new.kind}", blocking=True))
            old = None
        self.bytes_avoided += moved.size
        claimed = replace(_with_meta(moved, new, self.options), digest=new.digest or moved.digest)
        keep = must_be_kept(self.options, old, new) or is_another(self.options, old, claimed)
        self.steps.append(
            Action(Op.MOVE, path, new=claimed, old=old, source=source, moved=moved, keep=keep, reason="moved")
        )

    def _move_directory(self, origin: str, target: str) -> None:
        moved = self._entry(origin)
        shown = self._shown(origin) if self.careful else {}
        inside = Inside(self.old.dirs, origin, ChainMap(shown, self.restamped) if shown else self.restamped)
        entries, retained = 1, 0
        for _, entry in inside:
            entries += 1
            retained += entry.retained and not entry.excluded
        action = Action(
            Op.MOVE,
            target,
            new=moved,
            source=origin,
            moved=moved,
            carried=self.carried.get(origin, {}),
            entries=entries,
            reason="moved",
            careful=self.careful,
            inside=inside,
        )
        self.steps.append(action)
        self.notes += note_carried(action, retained)

    def _shown(self, origin: str) -> dict[str, Entry | None]:
        """What of a directory that moves was excluded, and is not any more: it comes along."""
        olds, carry = self.pairing.olds, self.pairing.moves.carry
        hidden = (path for path, entry in below(self.old.dirs, origin) if entry.excluded)
        known = ((path, *olds.get(carry(path), ("", None))) for path in hidden)
        return {path: now for path, at, now in known if at == path}

    def _clear_displaced(self) -> None:
        """Remove what lies where a directory moves to, unless it moves itself."""
        for target in sorted(self.pairing.moves.dirs.values()):
            old = self.pairing.displaced.get(target)
            if old is None or target in self.pairing.moves.files or within(parent(target), self.replaced):
                continue
            self.replaced.add(target)
            self.back += old.retained
            self.steps.append(self._delete(target, target, old, "replaced by a moved folder"))

    def _delete(self, path: str, origin: str, old: Entry, reason: str, *, blocking: bool = False) -> Action:
        """Remove what lies at ``path``, a directory with all that does not move out of it."""
        members: list[tuple[str, Entry]] = []
        if old.kind is Kind.DIR:
            self.cleared.add(path)
            members = list(self._members(origin))
            self.back += sum(entry.retained for _, entry in members)
        return Action(
            Op.DELETE,
            path,
            old=old,
            source=origin,
            members=tuple(members),
            keep=reason != "moved" and must_be_kept(self.options, old, None, (entry for _, entry in members)),
            whole=blocking,
            entries=1 + len(members),
            reason=reason,
        )

    def _members(self, origin: str) -> Iterator[tuple[str, Entry]]:
        """All in a directory that does not move out of it, relative to it, as the filters have it now."""
        olds, carry = self.pairing.olds, self.pairing.moves.carry
        for inside, entry in below(self.old.dirs, origin):
            if self._leaves(inside, origin):
                continue
            known, as_now = olds.get(carry(inside), ("", entry))
            hidden = self.restamped.get(inside)
            if hidden is not None and hidden.excluded:
                as_now = hidden
            elif known != inside:
                as_now = self.pairing.displaced.get(inside, entry)
            yield inside[len(origin) + 1 :], as_now

    def _leaves(self, inside: str, top: str) -> bool:
        moves = self.pairing.moves
        return inside in moves.files or any(
            over in moves.dirs for over in ancestors(inside) if len(over) > len(top)
        )

    def _entry(self, origin: str) -> Entry:
        displaced = self.pairing.displaced.get(origin)
        if displaced is not None:
            return displaced
        known, entry = self.pairing.olds[self.pairing.moves.carry(origin)]
        assert known == origin
        return entry

    def _hold_true(self, path: str, origin: str, entry: Entry) -> None:
        """Remember what is true without an action; below a moved directory, once it has moved."""
        for top in ancestors(origin):
            if top in self.pairing.moves.dirs:
                _, old = self.pairing.olds[path]
                if entry != old:
                    self.carried.setdefault(top, {})[path] = entry
                return
        self.restamped[path] = entry

    def _open_directories(self) -> list[Action]:
        """Directories whose mode forbids the changes inside them get it back at the end."""
        if not self.options.keeps_mode(Kind.DIR):
            return []
        actions = [*self.steps, *self.uploads, *self.deletes]
        gone = {path for action in self.steps for path in touched(action)}
        parents = {parent(action.path) for action in actions}
        parents |= {parent(path) for action in self.steps for path in touched(action)}
        doomed = {action.path for action in self.deletes}
        modes = {action.path: action for action in self.modes}
        opened: list[Action] = []
        for path in sorted(parents):
            old = lookup(self.old.dirs, path)
            if (
                old is None
                or old.mode < 0
                or old.mode & 0o700 == 0o700
                or any(top in gone for top in ancestors(path))
            ):
                continue
            old = self.restamped.get(path) or old  # retained by now, perhaps
            wide = replace(old, mode=old.mode | 0o700)
            opened.append(Action(Op.SETMETA, path, new=wide, old=old, reason="opened for changes"))
            asked = modes.pop(path, None)
            wanted = old if asked is None else asked.new
            if wanted is not None and wanted.mode != wide.mode and not within(path, doomed):
                modes[path] = Action(Op.SETMETA, path, new=wanted, old=wide, reason="mode")
        self.modes = list(modes.values())
        return opened


def _restamp(old: Entry, new: Entry) -> Entry:
    """The remote keeps what it has; only what vouches for it locally is new."""
    return replace(
        old,
        stamp=new.stamp,
        digest=new.digest or old.digest,
        mtime_ns=new.mtime_ns if new.mtime == old.mtime else old.mtime_ns,
        retained=False,
        excluded=False,
    )


def _with_meta(old: Entry, new: Entry, options: Options) -> Entry:
    """The content the remote has, with the mode and time it shall get."""
    return replace(
        _restamp(old, new),
        mode=new.mode if options.keeps_mode(old.kind) else old.mode,
        mtime_ns=new.mtime_ns if options.keep_times else old.mtime_ns,
    )


def _meta_reason(old: Entry, new: Entry, options: Options) -> str:
    parts = []
    if options.keeps_mode(old.kind) and old.wished_mode != new.mode:
        parts.append("mode")
    if options.keep_times and old.kind is Kind.FILE and old.mtime != new.mtime:
        parts.append("time")
    return " and ".join(parts)


def _of_interest(problems: Sequence[Problem], old: DirectorySnapshot) -> Iterator[Problem]:
    """Without what came and went again, and was never sent."""
    for problem in problems:
        if problem.reason is not Reason.VANISHED or lookup(old.dirs, problem.path) is not None:
            yield problem
