"""One file's way to the remote: staged, verified, published.

What may live here: the upload recipe, in its two halves. The usual case is three round trips: OPEN;
WRITE, FSETSTAT and CLOSE; RENAME.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.model import (
    Action,
    Entry,
    Only,
    Outcome,
    Problem,
    Reason,
    Stamp,
    unkept,
)
from reconcile.core.paths import parent
from reconcile.remotes.tree.copying import copy_again, is_there
from reconcile.remotes.tree.drift import Way, note_second, second_name
from reconcile.remotes.tree.failure import explain, not_sent, removed_at_close
from reconcile.remotes.tree.link import look
from reconcile.remotes.tree.publish import STANDS, judge, publish
from reconcile.remotes.tree.purge import sweep
from reconcile.remotes.tree.refusal import BAD_NAME, NO_RENAME, Why, why_not_published
from reconcile.remotes.tree.rescue import staging_place
from reconcile.remotes.tree.second_name import Named, name_again
from reconcile.remotes.tree.site import Site, absent, problem, wire_time
from reconcile.remotes.tree.steps import Batch, Burst, Notable, Recipe, Room
from reconcile.remotes.tree.verbs import (
    OK,
    UNCLEAR,
    Answer,
    Attrs,
    Close,
    Code,
    Handle,
    HardLink,
    Lstat,
    OpenAgain,
    Put,
    Remove,
    Set,
    SetHandle,
    Share,
    Status,
    Sync,
    Verb,
    Write,
)
from reconcile.source.files import AGAIN, Source, SourceError, as_it_is_now, digest_of, new_hash, stamp_of

Sent = Callable[[int, str], None]  # bytes, path
_PUT = "put the file in place"
SPREAD_FROM = 1024 * 1024  # bytes of a file for which it is worth to open it over one channel more


class Staged(Struct, frozen=True):
    """A file that is there whole, and not yet in its place."""

    action: Action
    wish: Action  # the same with the file as it was when it was read
    held: Entry  # what holds once it is published
    place: bytes  # where it is now
    way: Way | None  # None: its path is still to be looked at
    shared: bool = False  # it is a second name of what is at another path


def upload(site: Site, action: Action, source: Source, sent: Sent) -> Recipe[Outcome]:
    """Make or replace a file."""
    staged = yield from stage(site, action, source, sent)
    if isinstance(staged, Outcome):
        return staged
    return (yield from bring_out(site, staged, source, sent))


def stage(
    site: Site, action: Action, source: Source, sent: Sent, *, looks: bool = True
) -> Recipe[Staged | Outcome]:
    """The first half: bring a file whole to where it can be published from.

    One that changes while it is read is tried once more as it is then. Unless it ``looks``, what is at
    its path now is left to the second half.
    """
    assert action.new is not None
    if (held_up := not_sent(site, action.path)) is not None:
        return Outcome(action, problem=held_up)
    if action.source is not None:
        named: Named | None = yield from name_again(site, action)
        if named is not None:
            return Staged(action, action, named.held, named.place, None, shared=True)
    if action.source is not None or (site.options.release is not None and is_there(action)):
        copied: Named | None = yield from copy_again(site, action)
        if copied is not None:
            return Staged(action, action, copied.held, copied.place, None)
    staged = yield from _stage(site, action, action.new, source, sent, looks=looks)
    if isinstance(staged, Outcome) and staged.problem is not None and staged.problem.reason in AGAIN:
        again = as_it_is_now(source, action.path, action.new)
        if again is not None:
            site.memory.otherwise.add(action.path)
            staged = yield from _stage(site, action, again, source, sent, looks=looks)
            if isinstance(staged, Outcome):
                staged = _as_just_changed(action, staged)
    return staged


def bring_out(site: Site, staged: Staged, source: Source, sent: Sent) -> Recipe[Outcome]:
    """The second half: publish it. What is not published is removed.

    Sent once more, to beside its path, if only now it shows that no rename leads there from our folder.
    """
    action, wish = staged.action, staged.wish
    way: Way | Outcome | None = staged.way
    outcome: Outcome | None
    if way is None:
        there = yield from look(site, site.layout.at(action.path))
        way = yield from judge(site, wish, there)
        mode = site.mode_in_place_of(there)
        if mode is not None and (yield Set(staged.place, mode, None)) is not OK:
            site.lose(modes=True)
    if isinstance(way, Outcome):
        yield Remove(staged.place)
        outcome = way
    else:
        outcome = yield from put_in_place(site, wish, staged.held, staged.place, way)
    if outcome is None:
        return (yield from upload(site, action, source, sent))
    return outcome if wish is action else _as_just_changed(action, outcome)


def as_published(staged: Staged) -> Outcome:
    """What is true once it stands at its path."""
    outcome = Outcome(staged.action, Only(staged.action.path, staged.held))
    return outcome if staged.wish is staged.action else _as_just_changed(staged.action, outcome)


def _as_just_changed(action: Action, outcome: Outcome) -> Outcome:
    settled = {
        path: entry and replace(entry, stamp=None)  # to be read again next time
        for path, entry in outcome.effects.items()
    }
    return replace(outcome, action=action, effects=settled)


def _stage(
    site: Site, action: Action, new: Entry, source: Source, sent: Sent, *, looks: bool
) -> Recipe[Staged | Outcome]:
    """In our staging folder, or beside the target where that does not suit."""
    path, wish = action.path, action if new is action.new else replace(action, new=new)
    directory = parent(path)
    if site.memory.suits(directory):
        staged = staging_place(site, path)
    else:
        if directory not in site.memory.swept:
            site.memory.swept.add(directory)
            yield from sweep(site, directory)
        staged = site.layout.fresh_beside(path)
    # Only in OpenSSH's ways a file may be written through several handles, for all we know.
    is_spread = new.size > site.block and site.quirks.ordered
    channel, *more = site.next_channels(1 + new.size // SPREAD_FROM if is_spread else 1)
    mode = site.mode_for(new, is_new=True)
    opening = site.open_new(staged, mode, channel)
    way: Way | Outcome | None = Way.FREE if looks else None
    opened: Handle | Status
    # A small new file is sent on the chance, as RENAME refuses a target that exists.
    if looks and (action.old is not None or not site.sends_unlooked or new.size > site.block):
        there, opened = yield [look(site, site.layout.at(path)), opening]
        if (stays := site.mode_in_place_of(there)) is not None:
            mode = stays
        way = yield from judge(site, wish, there)
    else:
        opened = yield opening
    if isinstance(way, Outcome):
        if isinstance(opened, Handle):
            yield Close(opened.handle, channel)
            yield Remove(staged)
        return replace(way, action=action)
    if isinstance(opened, Status) and opened.code in UNCLEAR:
        yield Remove(staged)  # never truncated: it may be the same inode as a published file
        opened = yield opening
    if isinstance(opened, Status):
        failed = yield from explain(site, path, "open a staging file", opened)
        if failed.reason is Reason.FAILED:
            site.memory.unopened.append(action)
        return Outcome(action, problem=failed)

    content = Content(site, source, path, new, staged, (channel, opened.handle), sent)
    content.mode = mode
    if way is Way.RETIRE and content.in_one_piece:
        content.second = yield from second_name(site, action)
    held = yield from send(content, more)
    if content.second is not None:
        note_second(site, action, is_given=True)
        way = Way.OURS
    if isinstance(held, Problem):
        if content.second is not None:  # of what stays
            yield Remove(content.second.new)
            note_second(site, action, is_given=False)
        return Outcome(action, problem=held)
    return Staged(action, wish, held, staged, way)


def _is_told(_size: int, _path: str) -> None:
    """For what was said before."""


def put_in_place(site: Site, action: Action, held: Entry, staged: bytes, way: Way) -> Recipe[Outcome | None]:
    """Publish a staged file, or remove it. None: no rename leads there from our folder; see ``refusal``."""
    path = action.path
    published = yield from publish(site, action, staged, way=way, digest=held.digest)
    if published == STANDS:
        return Outcome(action, Only(path, held))
    if published.outcome is not None:
        yield Remove(staged)
        return published.outcome
    refused = published.refused or OK
    failed = yield from explain(site, path, _PUT, refused)
    why = None
    if failed.reason is not Reason.NO_SPACE:
        why = yield from why_not_published(site, path, staged, refused)
    yield Remove(staged)
    if why is Why.PLACE:
        return None
    if why is Why.NAME and action.old is None:
        failed = problem(path, Reason.BAD_NAME, f"{_PUT}: {BAD_NAME}")
    elif why is Why.BARRED:
        failed = problem(path, Reason.DENIED, f"{_PUT}: {NO_RENAME}")
    return Outcome(action, published.effects, failed)


def send(content: Content, more: Sequence[int]) -> Recipe[Entry | Problem]:
    """Bring a file's content into an open staging file, over ``more`` channels too, verify and close it.

    Returns the entry that holds once it is published; with a problem the staging
    file is gone.
    """
    if more:
        yield from content.spread(more)
    if content.in_one_piece:
        yield Room(content.handles[0][0])
    elif Share in content.site.can:
        yield from content.share()
    notable: Notable = yield content.requests()
    if content.second is not None:
        notable = content.without_second(notable)
    if content.written and not notable:
        notable = yield Batch(content.ending())
    return content.held() if content.went_well(notable) else (yield from content.conclude(notable))


class Content:
    """What goes through one open staging file, and what came of it."""

    __slots__ = (
        "digest",
        "entry",
        "handles",
        "mode",
        "mtime",
        "path",
        "second",
        "sent",
        "shared",
        "shown",
        "site",
        "source",
        "staged",
        "trouble",
        "unkept",
        "written",
    )

    def __init__(
        self,
        site: Site,
        source: Source,
        path: str,
        entry: Entry,
        staged: bytes,
        opened: tuple[int, Any] | None,
        sent: Sent,
    ) -> None:
        self.site = site
        self.source = source
        self.path = path
        self.entry = entry
        self.staged = staged
        self.handles = [] if opened is None else [opened]  # by channel
        self.sent = sent
        self.digest = b""
        self.mode = site.mode_for(entry, is_new=True)
        time, quirks = wire_time(entry), site.quirks
        self.mtime = time if site.sends_times else None
        self.shown = quirks.shown(time) if quirks.time_step or quirks.time_shift else time
        self.unkept = False  # the server shows another mode
        self.shared = False  # it is there by the blocks that SRC has
        self.second: HardLink | None = None  # goes along: what it replaces gets a second name; has it, then
        self.trouble: Problem | None = None  # with the source
        self.written = False  # all of it, over several channels: what follows the content is still to come

    def spread(self, channels: Sequence[int]) -> Recipe[None]:
        """Open the staging file over other channels too; where that fails, they are done without."""
        opened = yield [OpenAgain(self.staged, channel) for channel in channels]
        self.handles += [
            (channel, reply.handle)
            for channel, reply in zip(channels, opened, strict=True)
            if isinstance(reply, Handle)
        ]

    def share(self) -> Recipe[None]:
        """Copy nothing, where SRC and DEST are on a file system that can. It is read all the same, for its
        digest, and what was found before and after that holds of what is shared as well."""
        try:
            with self.source.holding(self.path, stamp_of(self.entry)) as source:
                shared = yield Share(self.handles[0][1], source, self.entry.size)
                self.shared = shared is OK
        except SourceError:
            return  # told once it is read

    def requests(self) -> Burst:
        """Everything between OPEN and RENAME. Ends early, without closing, if the source is in trouble."""
        return Batch(self._at_once()) if self.in_one_piece else Burst(self._piecewise())

    @property
    def in_one_piece(self) -> bool:
        """Whether one WRITE takes it."""
        return self.entry.size <= self.site.block

    def put(self, channel: int) -> Put:
        """All of it, the opening too."""
        site, entry, mtime = self.site, self.entry, self._time_at_once
        return Put(
            self.staged,
            self.mode,
            mtime,
            entry.size,
            site.syncs(entry.size),
            self._read,
            self._afterwards(mtime, channel),
            channel,
            bool(site.quirks.truncates),
            self,
        )

    @property
    def stamp(self) -> Stamp:
        """See ``Origin``."""
        return stamp_of(self.entry)

    def about_to_send(self) -> None:
        """See ``Origin``."""
        self.sent(self.entry.size, self.path)
        self.sent = _is_told

    def brought(self, digest: bytes) -> None:
        """See ``Origin``."""
        self.digest = digest

    def _read(self) -> bytes | None:
        """The content; None: the source is in trouble."""
        try:
            data = self.source.read(self.path, stamp_of(self.entry))
        except SourceError as error:
            self.trouble = problem(self.path, error.reason, error.message)
            return None
        self.digest = digest_of(data)
        self.sent(len(data), self.path)
        return data

    def _at_once(self) -> list[Verb]:
        if (data := self._read()) is None:
            return []
        [(channel, handle)] = self.handles
        verbs = [Write(handle, 0, data, channel), *self.ending()] if data else self.ending()
        return verbs if self.second is None else [*verbs, self.second]

    def _piecewise(self) -> Iterator[Verb]:
        hasher, offset = new_hash(), 0
        ways = cycle(self.handles)
        try:
            for data in self.source.pieces(self.path, stamp_of(self.entry), self.site.block):
                hasher.update(data)
                self.sent(len(data), self.path)
                channel, handle = next(ways)
                if not self.shared:
                    yield Write(handle, offset, data, channel)
                offset += len(data)
        except SourceError as error:
            self.trouble = problem(self.path, error.reason, error.message)
            return
        self.digest = hasher.digest()
        if len(self.handles) == 1:
            yield from self.ending()
            return
        # Its time is set once all is written: what one channel carries out, another doesn't wait for.
        while len(self.handles) > 1:
            channel, handle = self.handles.pop()
            yield Close(handle, channel)
        self.written = True

    def ending(self) -> list[Verb]:
        """What follows the content. Size and time are read back where the server has to prove itself."""
        site, [(channel, handle)] = self.site, self.handles
        mtime = self._time_at_once
        verbs: list[Verb] = []
        if self.mode is not None or mtime is not None:
            verbs.append(SetHandle(handle, self.mode, mtime, channel))
        if site.syncs(self.entry.size):
            verbs.append(Sync(handle, self.entry.size, channel))
        self.handles = []
        return [*verbs, Close(handle, channel), *self._afterwards(mtime, channel)]

    @property
    def _time_at_once(self) -> int | None:
        """The time that is set while it is open."""
        return None if self.site.quirks.late_times else self.mtime

    def _afterwards(self, mtime: int | None, channel: int) -> tuple[Verb, ...]:
        """What is asked once it is closed, ``mtime`` having been set."""
        site = self.site
        reads_back = site.reads_back()
        if not reads_back and mtime is not None and not self.written and not site.memory.elsewhere:
            return ()  # as nearly always
        verbs: list[Verb] = []
        if mtime != self.mtime:
            verbs.append(Set(self.staged, None, self.mtime, channel))
        if reads_back or mtime is None or self.written or site.memory.is_elsewhere(parent(self.path)):
            verbs.append(Lstat(self.staged, channel))
        return tuple(verbs)

    def without_second(self, notable: Notable) -> Notable:
        """The answers to all else. Where that name was not given, or not asked for, there is none."""
        rest = [each for each in notable if each[0] is not HardLink]
        if len(rest) < len(notable) or self.trouble is not None:
            self.second = None
        return rest

    def went_well(self, notable: Notable) -> bool:
        """Whether the answers leave nothing to find out."""
        return not notable and not self.handles and self.trouble is None and self.site.trusted

    def conclude(self, notable: Notable) -> Recipe[Entry | Problem]:
        """Verify, and see what went wrong; with a problem the staging file is removed."""
        failed = yield from self._settle(notable)
        if failed is not None:
            yield Remove(self.staged)
            return failed
        return self.held()

    def held(self) -> Entry:
        """The entry that holds once the file is published."""
        self.site.memory.refusals = 0
        held = self.site.recorded(self.entry, self.shown, self.digest)
        return replace(held, mode=unkept(held.mode)) if self.unkept else held

    def _settle(self, notable: Notable) -> Recipe[Problem | None]:
        """Make sense of all that was no plain OK. The staging file is closed afterwards."""
        replies = dict(reversed(notable))  # of several of a kind the first tells most
        for channel, handle in self.handles:
            status: Status = yield Close(handle, channel)
            if status is not OK:
                replies.setdefault(Close, status)
        if self.trouble is not None:
            return self.trouble
        shown = replies.get(Lstat)
        synced = replies.get(Sync)
        if isinstance(synced, Status) and synced.code in (Code.UNSUPPORTED, Code.INVALID):
            self.site.lose(fsync=True)
            shown = yield Lstat(self.staged)
        elif isinstance(synced, Status):
            said = "bring the file to the disk there"
            return (yield from explain(self.site, self.path, said, synced, self.entry.size))
        for kind in (Write, Close):
            if isinstance(refused := replies.get(kind), Status):
                return (yield from explain(self.site, self.path, "write the file", refused, self.entry.size))
        if SetHandle in replies or Set in replies:
            yield from self._set_each_alone()
            shown = yield Lstat(self.staged)
        elif shown is None and not self.site.trusted:  # which has shown only since this was asked for
            shown = yield Lstat(self.staged)
        shown = yield from self._make_sure(shown)
        if absent(shown):
            return removed_at_close(self.site, self.path)
        if isinstance(shown, Status):
            return (yield from explain(self.site, self.path, "look at the staged file", shown))
        return self._verify(shown) if isinstance(shown, Attrs) else None

    def _set_each_alone(self) -> Recipe[None]:
        """After a refusal: SETSTAT may be refused for one of its attributes only, or by handle only."""
        mtime = wire_time(self.entry)
        if self.site.sends_times and (yield Set(self.staged, None, mtime)) is not OK:
            self.site.lose(times=True)
        if self.mode is not None and (yield Set(self.staged, self.mode, None)) is not OK:
            self.site.lose(modes=True)

    def _verify(self, shown: Attrs) -> Problem | None:
        """Compare what the server shows with what we sent, and learn whether it can be trusted."""
        if shown.size != self.entry.size:
            self.site.keeps_tags = False
            said = f"{self.site.who} holds {shown.size:,} bytes of {self.entry.size:,}; not published"
            return problem(self.path, Reason.FAILED, said)
        self.unkept = not self.site.as_set(self.mode if self.site.caps.modes else None, shown)
        if self.unkept or self._lacks_its_time(shown):
            self.site.doubt()
        self.shown = shown.mtime
        return None

    def _lacks_its_time(self, shown: Attrs) -> bool:
        wished = self.site.time_of(self.entry)
        return wished is not None and shown.mtime != wished

    def _make_sure(self, shown: Answer | None) -> Recipe[Answer | None]:
        """Look again where what was asked last may have been answered first, or a write overtook the time."""
        if isinstance(shown, Attrs) and shown.size != self.entry.size:
            shown = yield Lstat(self.staged)
        if not isinstance(shown, Attrs) or not self._lacks_its_time(shown):
            return shown
        yield Set(self.staged, None, wire_time(self.entry))
        again: Attrs | Status = yield Lstat(self.staged)
        if isinstance(again, Attrs) and again.mtime != shown.mtime and not self._lacks_its_time(again):
            self.site.quirks = replace(self.site.quirks, late_times=True)
        return again
