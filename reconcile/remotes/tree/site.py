"""What every recipe needs to know: where things are on the server, and what it can do.

What may live here: paths on the wire, capabilities as they turn out, comparing
what the server says with what we believe, and the words for a failed request.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.job import Fsync, Options
from reconcile.core.model import (
    NS,
    OURS,
    PARKED,
    PERMISSIONS,
    RESERVED_NAME,
    RESERVED_PREFIX,
    UNKNOWN_MODE,
    Action,
    Caps,
    Entry,
    Kind,
    Outcome,
    Problem,
    Reason,
    Stage,
    Tag,
)
from reconcile.core.paths import PathDict, ancestors, parent
from reconcile.remotes.tree.quirks import Quirks, Version
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.tags import is_alike, note, pack
from reconcile.remotes.tree.verbs import Attrs, Code, OpenNew, Status, Verb

BLOCK = 32 * 1024  # bytes every server takes in one WRITE (draft, section 3)
HANDLES_UNKNOWN = 64  # open at a time on servers that do not tell how many they grant
SYNC_FEW = 1000  # uploads of a run that are brought to the server's disk without being asked for
SYNC_LARGE = 1024 * 1024  # bytes of a file for which that costs little beside its transfer
TRIALS = 20  # publishes whose tag is read back before the server is trusted to keep what was set
MAX_TIME = 0xFFFFFFFF  # times are unsigned seconds in 32 bits: until 2106
SPECIAL_BITS = 0o7000  # setuid, setgid, sticky: never ours to change, and SETSTAT would strip them
STAGING = b"staging"  # the run's folder for what is on its way
STORE = b"store"  # beside the jobs' folders: what outlives runs and is everybody's
PARKING = os.fsencode(PARKED[len(OURS) :])  # and for what makes way for others
NO_FSYNC = "the server can't be told to bring files to its disk: they are acknowledged, and no more"

_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIR, stat.S_IFLNK: Kind.SYMLINK}


def _to_none(_name: str) -> bool:
    """Of no run it is known."""
    return False


def _to_nobody(_message: str) -> None:
    """Until there is a reporter."""


class Discarded(Struct, frozen=True):
    """Something in a trash, and what is ours of it."""

    place: bytes  # where it is now; empty: known by its name alone
    path: str  # where it was
    holds: Sequence[tuple[str, bool]]  # paths in it, itself ("") and parents first; whether directories


@dataclass(slots=True, eq=False, repr=False)
class Site:
    """An open DEST: mutable, since a server shows what it can't do only when asked."""

    base: bytes  # DEST, canonical
    workdir: bytes  # our folder
    options: Options
    say: Callable[[str], None]
    can: frozenset[type] = frozenset()  # verbs beyond the usual
    tells_limits: bool = False  # the server, of itself
    version: Version = field(default_factory=list)  # of the server
    quirks: Quirks = field(default_factory=Quirks)
    later: list[Recipe[None]] = field(
        default_factory=list
    )  # questions that can wait until something is asked
    claims_openssh: bool = False  # announces what OpenSSH does
    block: int = BLOCK  # bytes of content in one WRITE
    handles: int = HANDLES_UNKNOWN  # that may be open at a time
    channels: int = 1  # channels that content may take
    caps: Caps = Caps()
    vacant: bool = False  # DEST is not there, but the directory it is to be in
    run: bytes = b""  # folder of this run, once prepared
    parts: set[bytes] = field(default_factory=set)  # folders in it that are made
    marks: tuple[str, ...] = ()  # of the job that are in its folder
    kept: set[bytes] = field(default_factory=set)  # folders that are made in the kept part of the trash
    left: dict[str, bytes] = field(default_factory=dict)  # what dead runs had parked, if this one only looks
    trials: int = TRIALS  # publishes yet to be read back
    empty: dict[str, int | None] = field(default_factory=dict)  # directories made by this run: their modes
    keeps_tags: bool = True  # what we sent and set is what the server shows afterwards, as far as was seen
    unproven: list[Action] = field(default_factory=list)  # files published on trust
    otherwise: set[str] = field(default_factory=set)  # files that had changed, and came as they were
    elsewhere: set[str] = field(default_factory=set)  # directories on another file system than our folder
    swept: set[str] = field(default_factory=set)  # directories in which nothing of dead runs is staged
    renames: bool | None = None  # whether the server renames anything at all
    user: int | None = None  # who we are there: who owns what we make
    group: int | None = None  # of what is made in the staging folder
    hands_down: bool = False  # the staging folder gives its group to what is made in it (setgid)
    groups: dict[str, int] = field(default_factory=dict)  # of directories looked at that do
    parents: PathDict[Problem | None] = field(
        default_factory=PathDict
    )  # directories looked at; None: as they should be
    twins: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of the plan
    linked: dict[str, Entry] = field(default_factory=dict)  # links that stay where there is a directory here
    told_links: set[str] = field(default_factory=set)  # of them
    stuck: list[Problem] = field(default_factory=list)  # what earlier runs left and could not be removed
    discarded: list[Discarded] = field(default_factory=list)  # what is in the run's trash, to be purged
    now: int | None = None  # seconds of the server's clock, when it made the run's folder
    others: list[tuple[bytes, int]] = field(
        default_factory=list
    )  # folders of other jobs in our working folder, and when names in them changed, by the server's clock
    is_lost: Callable[[str], bool] = _to_none  # whether a run of that name is dead, and its state is gone
    owner: int | None = None  # of our working folder, if it was there
    staged: dict[bytes, bytes] = field(
        default_factory=dict
    )  # what dead runs had staged, by ``name_of`` its path
    keeps: int = 0  # things that this run has brought to the part of the trash that is not purged
    unopened: list[Action] = field(default_factory=list)  # uploads refused at OPEN, without a word
    uploads: int = 0  # files to be sent by the actions under way
    full: Problem | None = None  # why no more content is sent in this run
    full_there: dict[str, Problem] = field(default_factory=dict)  # the same elsewhere, by its top
    refusals: int = 0  # writes refused in a row, for no reason that we see
    warn: Callable[[str], None] = _to_nobody
    _count: int = 0
    _turn: int = 0  # the channel that comes next
    _said: set[str] = field(default_factory=set)

    @property
    def shared(self) -> bool:
        """Whether others push to DEST, too, or did."""
        return bool(self.others)

    def at(self, path: str) -> bytes:
        """``path`` on the wire."""
        if not path:
            return self.base
        if path.startswith(OURS):
            return self._at_ours(path)
        return b"%b/%b" % (self.base if self.base != b"/" else b"", os.fsencode(path))

    def _at_ours(self, path: str) -> bytes:
        """A place in this run's folder; where there is none, what a dead run has there, if any."""
        if self.run:
            return self.run + os.fsencode(path[len(RESERVED_NAME) :])
        top = "/".join(path.split("/", 3)[:3])
        return self.left.get(top, self.workdir + b"/none") + os.fsencode(path[len(top) :])

    def fresh(self, folder: bytes, prefix: bytes = b"") -> bytes:
        """A path in one of the run's folders that nothing else has."""
        self._count += 1
        return b"%b/%b/%b%x" % (self.run, folder, prefix, self._count)

    @staticmethod
    def made_in(folder: bytes, numbers: Iterable[int]) -> list[bytes]:
        """What ``fresh`` may have called things in a folder of some run's."""
        return [b"%b/%x" % (folder, number) for number in numbers]

    def open_new(self, path: bytes, mode: int | None, channel: int = 0) -> Verb:
        """Make a file of ours and open it, as this server wants to be asked for it."""
        return OpenNew(path, mode, channel, truncate=bool(self.quirks.truncates))

    def at_most(self, count: int) -> int:
        """So many at a time, where each takes a handle, or fewer."""
        return max(1, min(count, self.handles))

    def next_channels(self, most: int) -> list[int]:
        """Up to so many channels, one at least, in turn."""
        first = self._turn
        self._turn += min(most, self.channels)
        return [turn % self.channels for turn in range(first, self._turn)]

    @property
    def prefixes(self) -> tuple[bytes, bytes]:
        """How names begin that files of this job, and of this run, have where they are staged elsewhere."""
        lineage, run = self.run.rsplit(b"/", 2)[1:]
        job = os.fsencode(RESERVED_PREFIX) + lineage + b"-"
        return job, job + run + b"-"

    def fresh_beside(self, path: str) -> bytes:
        """The same as ``fresh`` in the directory of ``path``."""
        self._count += 1
        return b"%b/%b%x" % (self.at(parent(path)).rstrip(b"/"), self.prefixes[1], self._count)

    def note_group(self, path: str, there: Attrs) -> None:
        """What group a directory gives to what is made in it. Access control lists do so unseen."""
        if there.mode & stat.S_ISGID:
            self.groups[path] = there.gid

    def suits(self, directory: str) -> bool:
        """Whether a file made in the staging folder may go to a directory, as if it was made there."""
        return not self.is_elsewhere(directory) and self.groups.get(directory, self.group) == self.group

    def is_elsewhere(self, directory: str) -> bool:
        """Whether a directory is on another file system than our folder, as far as is known."""
        return bool(self.elsewhere) and self.disk_of(directory) is not None

    def disk_of(self, directory: str) -> str | None:
        """The top of the other file system that a directory is on, as far as is known; None: on none."""
        return next((top for top in (*ancestors(directory), "") if top in self.elsewhere), None)

    def held_up(self, path: str) -> Problem | None:
        """Why no more content is sent to a path in this run; None: it is."""
        disk = self.disk_of(parent(path)) if self.elsewhere else None
        if disk is None or (self.full is not None and self.full.reason is Reason.DENIED):
            return self.full
        return self.full_there.get(disk)

    def hands_down_alike(self, directory: str) -> bool:
        """Whether a directory made in the staging folder hands its group down as the one made here does."""
        return (directory in self.groups) == self.hands_down

    def saw_disorder(self) -> None:
        """An answer that order excludes: nothing relies on it any more, in later runs neither."""
        if self.quirks.ordered:
            self.quirks = replace(self.quirks, ordered=False)

    def say_once(self, message: str, about: str = "") -> None:
        """Tell the user, but not ten thousand times. ``about``: what it is about, if its words differ."""
        if (about or message) not in self._said:
            self._said.add(about or message)
            self.say(message)

    def warn_once(self, message: str) -> None:
        """The same of what is told also where quiet was asked for."""
        if message not in self._said:
            self._said.add(message)
            self.warn(message)

    def lose(self, *, modes: bool = False, times: bool = False, fsync: bool = False) -> None:
        """The server refuses to do this: do without from now on."""
        if modes and self.caps.modes:
            self.caps = replace(self.caps, modes=False)
            self.doubt()
            self.say("the server does not let us set modes: files and directories get its own")
        if times and self.caps.times:
            self.caps = replace(self.caps, times=False)
            self.doubt()
            self.say("the server does not let us set times: files get the time of their upload")
        if fsync and self.caps.fsync:
            self.caps = replace(self.caps, fsync=False)
            self.say(NO_FSYNC)

    def doubt(self) -> None:
        """The server did otherwise than was learned: read all back now, and learn anew in the next run."""
        self.keeps_tags = False
        self.ask_anew()

    def ask_anew(self) -> None:
        """Learn in this run, or in the next if it is too late for that, whether all is still so."""
        self.quirks = replace(self.quirks, doubted=True)

    def as_set(self, mode: int | None, shown: Attrs) -> bool:
        """Whether a mode that was sent shows, as far as the server is known to keep any."""
        return mode is None or self.quirks.keeps_modes is False or shown.mode & PERMISSIONS == mode

    def mode_for(self, entry: Entry) -> int | None:
        """The mode to send; None: none."""
        takes = self.caps.modes and self.quirks.takes_modes is not False
        keep = self.options.keep_perms and takes and entry.mode >= 0
        return entry.mode if keep else None

    def mode_claimed(self, entry: Entry) -> int:
        """The mode for the snapshot. A server that sets none is not asked again at each run."""
        wished = self.options.keep_perms and self.quirks.keeps_modes is not False
        return entry.mode if wished else UNKNOWN_MODE

    @property
    def sends_unlooked(self) -> bool:
        """Whether RENAME of a new file does no harm where something is already, so that nobody need look."""
        return bool(self.quirks.refuses) and self.quirks.moves_links is not False

    @property
    def sends_times(self) -> bool:
        """Whether files get their times."""
        return self.options.keep_times and self.caps.times and self.quirks.takes_times is not False

    def rename_parents(self, old: str, new: str) -> None:
        """A directory that we moved, and all below it, is as checked as it was."""
        for path, trouble in self.parents.cut(old).items():
            after = new + path[len(old) :]
            self.parents[after] = trouble
            if path in self.groups:
                self.groups[after] = self.groups.pop(path)

    def forget_parents(self, top: str) -> None:
        """A directory is gone."""
        for path in self.parents.cut(top):
            self.groups.pop(path, None)

    def syncs(self, size: int) -> bool:
        """Whether a file of ``size`` bytes is brought to the server's disk before it is published."""
        wanted = self.options.fsync
        if wanted is Fsync.NEVER or not self.caps.fsync:
            return False
        return wanted is Fsync.ALWAYS or self.uploads <= SYNC_FEW or size >= SYNC_LARGE

    @property
    def has_trash(self) -> bool:
        """Whether the run's trash is made."""
        return b"trash" in self.parts

    @property
    def trusted(self) -> bool:
        """Whether what was sent and set need not be read back. Others than OpenSSH may acknowledge less
        than they have written."""
        return bool(self.quirks.ordered) and self.keeps_tags and self.quirks.keeps_times is not False

    def reads_back(self) -> bool:
        """Whether size and time of one more publish are to be read back.

        The first ones are; the rest as well, once the server was seen not to keep what we sent.
        """
        self.trials -= 1
        return self.trials >= 0 or not self.trusted

    def time_of(self, wish: Entry) -> int | None:
        """What time a file will show that has arrived as wished. None: one that proves nothing."""
        if not self.sends_times or self.quirks.keeps_times is False:
            return None
        return self.quirks.shown(wire_time(wish))

    def tag_of(self, wish: Entry, *, by_others: bool = False) -> Tag | None:
        """See ``core.observe.Tags``. A time beyond what can be told we set to the nearest that can; what
        others have set is shown without its upper bits.
        """
        time = self.time_of(wish)
        if by_others and time is not None:
            time = self.quirks.shown(wish.mtime & MAX_TIME)
        return None if time is None else pack(wish.size, time)

    def is_left(self, shown: Tag, entry: Entry) -> bool:
        """See there. A server may show the time of writing until its cache has caught up, then the wished."""
        left = pack(entry.size, entry.mtime) if entry.tag is None else entry.tag
        if shown == left or is_alike(shown, left):
            return True
        wished = self.tag_of(entry)
        return wished is not None and is_alike(shown, wished)

    def noted(self, shown: Tag, entry: Entry) -> Tag | None:
        """See there."""
        return None if shown == pack(entry.size, entry.mtime) else shown

    def recorded(self, wish: Entry, mtime: int, digest: bytes | None, mode: int | None = None) -> Entry:
        """What the snapshot shall say of a file as wished that shows this time; ``mode`` if it was seen."""
        is_kept = self.options.keep_times
        return Entry(
            kind=Kind.FILE,
            mode=self.mode_claimed(wish) if mode is None else mode,
            size=wish.size,
            mtime_ns=wish.mtime_ns if is_kept else mtime * NS,
            digest=digest,
            stamp=wish.stamp,
            tag=note(wish.size, mtime, wish) if is_kept else None,
        )


def inside(top: bytes, path: str) -> bytes:
    """A path below a place on the wire."""
    return b"%b/%b" % (top, os.fsencode(path)) if path else top


def wire_time(entry: Entry) -> int:
    """Whole seconds, within what SFTP can carry: 1970 to 2106."""
    return min(max(entry.mtime, 0), MAX_TIME)


def kind_of(attrs: Attrs) -> Kind | None:
    """None for FIFOs and the like."""
    return _KINDS.get(stat.S_IFMT(attrs.mode))


def act(request: Verb) -> Recipe[Status]:
    """A request that is answered by a status alone."""
    status: Status = yield request
    return status


def absent(reply: object) -> bool:
    """Whether a reply says that there is no such path."""
    return isinstance(reply, Status) and reply.code == Code.MISSING


def problem(path: str, reason: Reason, message: str) -> Problem:
    """A problem of the apply stage."""
    return Problem(path, Stage.APPLY, reason, message)


def describe(there: Attrs, old: Entry | None) -> str:
    """What is wrong with what the remote holds."""
    kind = kind_of(there) or "special file"
    if old is None:
        what = f"a {kind} exists on the remote that we did not put there"
    else:
        what = f"the {kind} on the remote is not the {old.kind} we put there"
    return f"{what}; left alone. Remove it, or let --on-drift backup keep it aside and put ours in its place"


def drift(action: Action, what: str) -> Outcome:
    """Somebody else wrote there: left alone."""
    return Outcome(action, problem=problem(action.subject, Reason.DRIFT, what))
