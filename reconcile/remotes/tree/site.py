"""What every recipe needs to know: what a server can do and keeps, beside the layout and the run's memory.

What may live here: capabilities as they turn out, comparing what the server says with what we believe,
and the words for a failed request.
"""

from __future__ import annotations

import stat
from collections.abc import Callable

from msgspec import Struct, field
from msgspec.structs import replace

from reconcile.core.job import Fsync, Options, Perms
from reconcile.core.model import (
    NS,
    PERMISSIONS,
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
from reconcile.remotes.tree.layout import Layout
from reconcile.remotes.tree.memory import RunMemory
from reconcile.remotes.tree.quirks import Quirks, Version
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.tags import is_alike, note, pack
from reconcile.remotes.tree.verbs import Attrs, Code, OpenNew, Status, Verb

BLOCK = 32 * 1024  # bytes every server takes in one WRITE (draft, section 3)
PIECE = 32 * 1024  # bytes that every server answers one READ with (draft, section 6.4)
HANDLES_UNKNOWN = 64  # open at a time on servers that do not tell how many they grant
SYNC_FEW = 1000  # uploads of a run that are brought to the server's disk without being asked for
SYNC_LARGE = 1024 * 1024  # bytes of a file for which that costs little beside its transfer
TRIALS = 20  # publishes whose tag is read back before the server is trusted to keep what was set
MAX_TIME = 0xFFFFFFFF  # times are unsigned seconds in 32 bits: until 2106
SPECIAL_BITS = 0o7000  # setuid, setgid, sticky: never ours to change, and SETSTAT would strip them
NO_FSYNC = "files can't be brought to the disk there by us: they are acknowledged, and no more"

_ANY_FILE = Entry(Kind.FILE, 0)
_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIR, stat.S_IFLNK: Kind.SYMLINK}


def _to_none(_name: str) -> bool:
    """Of no run it is known."""
    return False


def _to_nobody(_message: str) -> None:
    """Until there is a reporter."""


class Site(Struct, eq=False):
    """An open DEST: mutable, since a server shows what it can't do only when asked."""

    layout: Layout
    options: Options
    say: Callable[[str], None]
    who: str = "the server"  # who does what is asked for, in messages
    memory: RunMemory = field(default_factory=RunMemory)
    can: frozenset[type] = frozenset()  # verbs beyond the usual
    tells_limits: bool = False  # the server, of itself
    version: Version = field(default_factory=list)  # of the server
    quirks: Quirks = field(default_factory=Quirks)
    later: list[Recipe[None]] = field(
        default_factory=list
    )  # questions that can wait until something is asked
    claims_openssh: bool = False  # announces what OpenSSH does
    block: int = BLOCK  # bytes of content in one WRITE
    piece: int = PIECE  # the same in the answer to a READ
    handles: int = HANDLES_UNKNOWN  # that may be open at a time
    channels: int = 1  # channels that content may take
    caps: Caps = Caps()
    trials: int = TRIALS  # publishes yet to be read back
    keeps_tags: bool = True  # what we sent and set is what the server shows afterwards, as far as was seen
    renames: bool | None = None  # whether the server renames anything at all
    is_lost: Callable[[str], bool] = _to_none  # whether a run of that name is dead, and its state is gone
    warn: Callable[[str], None] = _to_nobody
    _turn: int = 0  # the channel that comes next
    _said: set[str] = field(default_factory=set)

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
            self.say(f"{self.who} does not let us set modes: files and directories get its own")
        if times and self.caps.times:
            self.caps = replace(self.caps, times=False)
            self.doubt()
            self.say(f"{self.who} does not let us set times: files get the time of their upload")
        if fsync and self.caps.fsync:
            self.caps = replace(self.caps, fsync=False)
            self.quirks = replace(self.quirks, takes_fsync=False)
            self.say(NO_FSYNC)

    def doubt(self) -> None:
        """The server did otherwise than was learned: read all back now, and learn anew in the next run."""
        self.keeps_tags = False
        self.ask_anew()

    def ask_anew(self) -> None:
        """Learn in this run, or in the next if it is too late for that, whether all is still so."""
        self.quirks = replace(self.quirks, doubted=True, channels=None)

    def as_set(self, mode: int | None, shown: Attrs) -> bool:
        """Whether a mode that was sent shows, as far as the server is known to keep any."""
        return mode is None or self.quirks.keeps_modes is False or shown.mode & PERMISSIONS == mode

    def mode_for(self, entry: Entry, *, is_new: bool = False) -> int | None:
        """The mode to send; None: none. ``is_new``: nothing of ours is there that has one."""
        takes = self.caps.modes and self.quirks.takes_modes is not False
        perms = self.options.perms(entry.kind)
        wanted = perms is Perms.KEEP or (is_new and perms is Perms.REMOTE)
        return entry.mode if wanted and takes and entry.mode >= 0 else None

    def mode_in_place_of(self, there: object) -> int | None:
        """The mode to send of a file that replaces what is ``there``, if that is to stay; None: it isn't."""
        stays = self.options.file_perms is Perms.REMOTE and self.mode_for(_ANY_FILE, is_new=True) is not None
        is_file = isinstance(there, Attrs) and kind_of(there) is Kind.FILE
        return there.mode & PERMISSIONS if stays and is_file and isinstance(there, Attrs) else None

    def mode_claimed(self, entry: Entry) -> int:
        """The mode for the snapshot. A server that sets none is not asked again at each run."""
        wished = self.options.keeps_mode(entry.kind) and self.quirks.keeps_modes is not False
        return entry.mode if wished else UNKNOWN_MODE

    @property
    def sends_unlooked(self) -> bool:
        """Whether RENAME of a new file does no harm where something is already, so that nobody need look."""
        return bool(self.quirks.refuses) and self.quirks.moves_links is not False

    @property
    def sends_times(self) -> bool:
        """Whether files get their times."""
        return self.options.keep_times and self.caps.times and self.quirks.takes_times is not False

    def syncs(self, size: int) -> bool:
        """Whether a file of ``size`` bytes is brought to the server's disk before it is published."""
        wanted, many = self.options.fsync, self.memory.uploads > SYNC_FEW
        if many and size < SYNC_LARGE and wanted is not Fsync.ALWAYS:
            return False  # as of nearly all, where there are many
        return wanted is not Fsync.NEVER and self.caps.fsync

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

    def is_wished(self, shown: Tag, wish: Entry, *, by_others: bool = False) -> bool:
        """See ``Remote``."""
        return shown == self.tag_of(wish, by_others=by_others)

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


def wire_time(entry: Entry) -> int:
    """Whole seconds, within what SFTP can carry: 1970 to 2106."""
    time = entry.mtime_ns // NS
    return time if 0 <= time <= MAX_TIME else min(max(time, 0), MAX_TIME)


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
