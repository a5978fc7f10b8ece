"""What a run moves: every noun that one part hands to the next. What it is told is in ``job``.

Pure: frozen structs and enums; no I/O. Paths are
relative to the job's base, separated by ``/``, the base itself is ``""``.
Names are bytes of the file system, held as ``str`` with ``surrogateescape``.
Times named ``_ns`` are integer nanoseconds since the epoch, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from types import MappingProxyType
from typing import Protocol, TypeAlias

from msgspec import Struct, field
from msgspec.structs import force_setattr, replace

from reconcile.core.marks import BEFORE

NS = 1_000_000_000
PERMISSIONS = 0o777
RESERVED_NAME = ".reconcile"
RESERVED_PREFIX = ".reconcile-"
OURS = f"{RESERVED_NAME}/"  # below it: the run's folder on the remote, wherever that is
PARKED = f"{OURS}parked"  # in it: what made way for others, until its own way is free
RETIRED = f"{OURS}retired"  # below it, run by run: what the job has in the part of the trash with an age
OF_KEPT = ":kept"  # ends the name of a run there: what it has in the part that stays

# What a remote shows of a file, as that remote packs it: to whoever else holds one it is opaque.
# The drift check compares with what was shown when we left the file.
Tag: TypeAlias = bytes


class Kind(StrEnum):
    """What an entry is. Everything else (FIFO, socket, device) is skipped."""

    FILE = "file"
    DIR = "dir"
    SYMLINK = "symlink"


class Publish(StrEnum):
    """When what is sent comes to its path."""

    EACH = "each"  # as soon as it is there whole
    END = "end"  # once all is
    RELEASE = "release"  # at once where nobody looks, and a link leads there once all is


class Stamp(Struct, frozen=True, gc=False):
    """What a scan sees for free. Equal stamps mean equal content.

    ``mode`` is the raw ``st_mode``. There is no device number: it changes over
    reboots and in CI.
    """

    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int


class Entry(Struct, frozen=True, gc=False):
    """One path: what the remote holds, and the local file it came from.

    In a scan the same type says what the remote should come to hold; ``digest``
    and ``link`` are then None until somebody had a reason to read them.
    """

    kind: Kind
    mode: int  # 0777 bits, as sent; UNKNOWN_MODE if never sent
    size: int = 0
    mtime_ns: int = 0  # as sent, or as the server gave it where times are ignored
    digest: bytes | None = None  # xxh3-128 of the content of a file
    link: str | None = None  # target of a symlink
    stamp: Stamp | None = None  # None: look at the content again next time
    tag: Tag | None = None  # of a file that did not show this size and whole second when we left it
    retained: bool = False  # deleted locally, kept on the remote
    excluded: bool = False  # hidden from the diff by a filter, kept verbatim
    foreign: bool = False  # found on the remote, not put there by us: kept in the trash when replaced

    @property
    def mtime(self) -> int:
        """Modification time in whole seconds, as SFTP carries it."""
        return self.mtime_ns // NS

    @property
    def wished_mode(self) -> int:
        """The mode that was asked for, kept or not."""
        return self.mode if self.mode >= UNKNOWN_MODE else unkept(self.mode)


UNKNOWN_MODE = -1


def unkept(mode: int) -> int:
    """The mode of an entry that shall have this one, which the remote does not keep."""
    return -2 - mode


class Directory(Protocol):
    """The entries of one directory, possibly still packed."""

    @property
    def raw(self) -> bytes:
        """The packed stamps. Equal bytes: nothing changed in this directory."""

    @property
    def hidden(self) -> bool:
        """Whether it holds entries that ``raw`` does not show (retained, excluded, unstamped)."""

    @property
    def retained(self) -> int:
        """How many of its entries are retained, those that are excluded as well left out."""

    @property
    def unsettled(self) -> bool:
        """Whether it hides entries that are neither retained nor excluded: those without a stamp."""

    def entries(self) -> Mapping[str, Entry]:
        """Name to entry, sorted by name."""

    def forget(self) -> None:
        """Keep of the entries what is packed: they take ten times the room."""


class PlainDirectory(Struct, frozen=True):
    """A directory held as a mapping: what a fold makes before it is packed."""

    names: Mapping[str, Entry]

    def __post_init__(self) -> None:
        if not all(map(str.__lt__, self.names, islice(self.names, 1, None))):
            force_setattr(self, "names", dict(sorted(self.names.items())))

    @property
    def raw(self) -> bytes:
        """Nothing: it compares equal to no scanned directory."""
        return b""

    @property
    def hidden(self) -> bool:
        """Always looked into."""
        return True

    @property
    def retained(self) -> int:
        """How many of its entries are retained, those that are excluded as well left out."""
        return sum(entry.retained and not entry.excluded for entry in self.names.values())

    @property
    def unsettled(self) -> bool:
        """Always looked into."""
        return True

    def entries(self) -> Mapping[str, Entry]:
        """Name to entry, sorted by name."""
        return self.names

    def forget(self) -> None:
        """Nothing is packed."""


class DirectorySnapshot(Struct, frozen=True):
    """What the remote holds, as far as we know: the memory between two runs.

    ``dirs`` maps each directory's path to its entries; a directory is listed in
    its parent's entries and has a key of its own, empty or not. The base is
    always there.
    """

    dirs: Mapping[str, Directory]
    lineage: str = ""  # uuid of the job's first run; names our folder on the remote
    serial: int = 0  # counts saves
    source: str = ""  # path of SRC, as it was given
    target: str = ""  # canonical URL of DEST
    taken_ns: int = 0
    settled: str = ""  # fingerprint of the options under which hidden entries were last looked at
    marks: tuple[str, ...] = ()  # names of the mark on the remote that mean: nobody was there since

    def walk(self) -> Iterator[tuple[str, Entry]]:
        """Every path with its entry, the base left out."""
        for path, directory in self.dirs.items():
            prefix = f"{path}/" if path else ""
            for name, entry in directory.entries().items():
                yield prefix + name, entry


class Scan(Struct, frozen=True):
    """The local tree as it was found."""

    dirs: Mapping[str, Directory]
    started_ns: int
    grace_ns: int  # stamps newer than started_ns - grace_ns are not trusted
    problems: Sequence[Problem] = ()
    notes: Sequence[Problem] = ()  # what was left out on purpose: FIFOs, sockets, devices
    unknown: frozenset[str] = frozenset()  # paths we could not look at: nothing at or below is touched
    mounts: frozenset[str] = frozenset()  # directories on another device than the one above them
    own: Mapping[str, str] = field(default_factory=dict)  # ours under whatever name, left out: what it is
    left_out: Mapping[str, int] = field(default_factory=dict)  # by default, by name: how many
    entry_count: int = 0

    def walk(self) -> Iterator[tuple[str, Entry]]:
        """Every path with its entry, the base left out."""
        return DirectorySnapshot(self.dirs).walk()


class Stage(StrEnum):
    """Where in a run a problem came up."""

    SCAN = "scan"
    HASH = "hash"
    PLAN = "plan"
    APPLY = "apply"
    RECOVER = "recover"
    CLEANUP = "cleanup"  # what could not be removed
    AFTER = "after"  # the user's own command after the run


class Reason(StrEnum):
    """Why something did not happen."""

    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    CHANGED = "changed"  # the source changed while it was read
    GROWING = "growing"  # the source grew while it was read
    YOUNG = "young"  # it changed a moment ago, and waits
    SPECIAL = "special"  # FIFO, socket, device
    RESERVED = "reserved"  # a name that is ours
    LOOP = "loop"
    BAD_NAME = "bad-name"
    DRIFT = "drift"  # the remote holds something we did not put there
    DENIED = "denied"
    NO_SPACE = "no-space"
    UNSUPPORTED = "unsupported"
    PREREQUISITE = "prerequisite"
    MISSING = "missing"
    STAYS = "stays"  # it is not ours to move
    ORPHAN = "orphan"  # DEST holds it, and SRC does not
    KEPT = "kept"  # it stays, or makes room and goes to the part of the trash that is not purged
    IMMOVABLE = "immovable"  # the remote does not rename it to there
    FAILED = "failed"


class Problem(Struct, frozen=True, gc=False):
    """One path that could not be done. Data, not an exception: the rest goes on."""

    path: str
    stage: Stage
    reason: Reason
    message: str


class Change(Struct, frozen=True, gc=False):
    """One path that differs. ``old`` is the remote, ``new`` the wish; None is absence."""

    path: str
    old: Entry | None
    new: Entry | None


class Only(Mapping[str, Entry | None]):
    """A single effect. A run may have a million, and a dictionary takes four times the memory."""

    __slots__ = ("_entry", "_path")

    def __init__(self, path: str, entry: Entry | None) -> None:
        self._path = path
        self._entry = entry

    def __getitem__(self, path: str) -> Entry | None:
        if path != self._path:
            raise KeyError(path)
        return self._entry

    def __iter__(self) -> Iterator[str]:
        yield self._path

    def __len__(self) -> int:
        return 1

    def items(self) -> ItemsView[str, Entry | None]:
        """As of any mapping, and quicker than it would come about."""
        return {self._path: self._entry}.items()


_NOTHING: Mapping[str, Entry | None] = MappingProxyType({})


class Op(StrEnum):
    """What an action does."""

    CREATE = "create"
    MODIFY = "modify"
    MOVE = "move"
    DELETE = "delete"
    MKDIR = "mkdir"
    SETMETA = "setmeta"


# A member is twice as dear by way of its class.
_FILE, _CREATE, _MODIFY, _MOVE = Kind.FILE, Op.CREATE, Op.MODIFY, Op.MOVE


class Action(Struct, frozen=True, gc=False):
    """One step on the remote. A move or a delete may be a whole subtree."""

    op: Op
    path: str
    new: Entry | None = None  # what ``path`` shall hold; None for a delete
    old: Entry | None = None  # what we believe ``path`` holds now
    source: str | None = None  # moves: where the content is now; a new file: where it is on the remote, too
    moved: Entry | None = None  # what we believe ``source`` holds
    home: str | None = None  # moves out of a parking place: where it was before
    members: tuple[tuple[str, Entry], ...] = ()  # subtree delete: all we know below ``path``, relative to it
    keep: bool = False  # what ``path`` holds goes to the trash and stays there
    whole: bool = False  # a directory delete that makes room: all goes, and is kept if it isn't all ours
    carried: Mapping[str, Entry | None] = _NOTHING  # also true once a directory moved
    careful: bool = False  # a directory's move: what is excluded, or not ours, is not to come along
    inside: Iterable[tuple[str, Entry]] = ()  # a directory's move: all we know below it, relative to it
    entries: int = 1  # paths this action settles
    awaits: tuple[str, ...] = ()  # deletes: uploads that bring the same content elsewhere, and come first
    reason: str = ""  # for people: "new", "content", "mode", "was a directory"…

    @property
    def kind(self) -> Kind:
        """The kind of what is acted on."""
        entry = self.new or self.moved or self.old
        assert entry is not None
        return entry.kind

    @property
    def parks(self) -> bool:
        """Whether it is the first half of a move that needs its own way freed. It is not counted."""
        return self.op is _MOVE and self.path.startswith(OURS)

    @property
    def origin(self) -> str | None:
        """Where a move comes from, as people know it; None: from the trash, or it is none."""
        if self.op is not _MOVE or self.comes_back:
            return None
        return self.source if self.home is None else self.home

    @property
    def comes_back(self) -> bool:
        """Whether it brings something back from the trash."""
        return self.source is not None and self.source.startswith(f"{RETIRED}/")

    @property
    def subject(self) -> str:
        """The path by which people know what is acted on."""
        return self.source if self.parks and self.source is not None else self.path

    @property
    def bytes(self) -> int:
        """Content bytes that have to be sent, as far as is known."""
        return 0 if self.source is not None else self.size

    @property
    def size(self) -> int:
        """Bytes of the content that an upload brings, whether they have to be sent or not."""
        op = self.op
        if op is not _CREATE and op is not _MODIFY:
            return 0
        new = self.new
        return new.size if new is not None and new.kind is _FILE else 0


class Outcome(Struct, frozen=True, gc=False):
    """What is now true of an action. ``effects`` hold even if there is a problem.

    A done move of a directory has no effects of its own: ``fold`` renames all
    that the snapshot knows below it.
    """

    action: Action
    effects: Mapping[str, Entry | None] = _NOTHING
    problem: Problem | None = None
    note: Problem | None = None
    again: bool = False  # takes back what was told of the same action before
    entries: int | None = None  # paths it settled, where that is less than the action's

    @property
    def achieved(self) -> Action | None:
        """The action as far as it went; None if nothing came of it."""
        if self.problem is not None or self.entries == 0:
            return None
        return self.action if self.entries is None else replace(self.action, entries=self.entries)

    @property
    def done(self) -> bool:
        """Whether the action came to its end."""
        return self.problem is None

    @property
    def put_back(self) -> bool:
        """Whether what made way for others could not go on, and is where it was before."""
        home = self.action.home
        return self.problem is not None and home is not None and self.effects.get(home) is not None


class Brought(Struct, frozen=True, gc=False):
    """A file that is there whole, where nobody sees it yet."""

    action: Action
    held: Entry  # what holds once it is in its place
    shared: bool = False  # it is the same file as one that is seen


class Tally(Struct):
    """What came of a run's actions so far. Of what is done nothing else is kept: it may be a million."""

    done: list[Action] = field(default_factory=list)  # in the order they ended
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    undone: set[int] = field(default_factory=set)  # ids of those in ``done`` that were taken back
    undeleted: list[Action] = field(default_factory=list)
    surprised: bool = False  # a failed one showed that something we believed in is not as we left it
    immovable: bool = False  # something could not be renamed

    @property
    def ended(self) -> Sequence[Action]:
        """What is done, and was not taken back."""
        return [action for action in self.done if id(action) not in self.undone] if self.undone else self.done

    def add(self, outcome: Outcome) -> None:
        """One more action came to its end."""
        if outcome.problem is None and outcome.entries is None and outcome.note is None:
            self.done.append(outcome.action)  # as nearly all, of which there may be a million
            return
        if (achieved := outcome.achieved) is not None:
            self.done.append(achieved)
        if outcome.problem is not None:
            self.problems.append(outcome.problem)
            if outcome.action.op is Op.DELETE:
                self.undeleted.append(outcome.action)
            self.surprised |= any(entry is None or entry.retained for entry in outcome.effects.values())
            self.immovable |= outcome.problem.reason is Reason.IMMOVABLE
            if outcome.again:
                self.undone.add(id(outcome.action))
        if outcome.note is not None:
            self.notes.append(outcome.note)


class Plan(Struct, frozen=True):
    """Levels of actions. A level waits for the one before; those of one level are independent.

    But for new directories: one may lie in another of its level, which then comes before it.
    """

    levels: Sequence[Sequence[Action]] = ()
    restamped: Mapping[str, Entry | None] = _NOTHING  # true without any action
    problems: Sequence[Problem] = ()
    notes: Sequence[Problem] = ()
    bytes_avoided: int = 0  # bytes of changed paths that need no upload
    twins: Mapping[str, Sequence[str]] = MappingProxyType({})  # see ``find_twins``
    gone: int = 0  # entries newly gone here, which stay there
    back: int = 0  # entries that were gone here and stayed there, and now don't
    twice: bool = False  # some of what moves is at both its places for a while: see ``told``

    @property
    def actions(self) -> Iterator[Action]:
        """All actions in order, parking steps included."""
        for level in self.levels:
            yield from level

    @property
    def bytes_to_send(self) -> int:
        """Content bytes of all uploads."""
        return sum(action.bytes for action in self.actions)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do on the remote."""
        return not any(self.levels)


class Footing(Struct, frozen=True):
    """What we believe of our own folder on the remote."""

    lineage: str
    marks: tuple[str, ...] = (BEFORE,)  # names that our mark may have there, the likeliest first
    fresh: str = ""  # the name it shall have from now on; "": the one it has
    known: bool = False  # we have been there: a mark must be there
    state: str = ""  # folder here that all this is from, for messages
    workdir: str = ""  # folder there in which the job's was; "": not known, the usual one
    filled: bool = False  # something must be in DEST, of which a mark that lies elsewhere tells nothing


class Seen(Struct, frozen=True):
    """What the remote says of one path, links not followed. ``kind`` is None for FIFOs and the like."""

    kind: Kind | None
    mode: int | None  # 0777 bits; None: the remote has none
    size: int
    mtime: int | None  # whole seconds; None: the remote has none of ours
    tag: Tag = b""  # files only
    link: str | None = None  # only where it was asked for
    above: str | None = None  # where it is, if ``link`` may tell where it leads and not what it holds
    is_end: bool = False  # ``link`` tells where it leads in the end, past other links


UNSEEN = Seen(None, None, 0, None)  # the remote does not say what is there, if anything
DIRECTORY = Seen(Kind.DIR, None, 0, None)  # one of which nothing shows but what is in it


Range: TypeAlias = tuple[str, int, int]  # of a file: its path, where to begin, and how many bytes


class Caps(Struct, frozen=True):
    """What a remote can do. Where it can't, the plan does without, and says so."""

    dirs: bool = True  # a directory is something of its own, to be made before anything can be in it
    empty_dirs: bool = False  # where that is not so: one in which nothing is shows all the same
    links: bool = True
    modes: bool = True
    times: bool = True
    rename: bool = True
    replace: bool = True  # what takes the place of a file does so in one step
    copy: bool = False  # without anything being sent
    trash: bool = True  # what is deleted or replaced there can be kept for a while
    fsync: bool = False  # it brings files to its disk where it is asked to


class Stats(Struct, frozen=True):
    """What it took so far."""

    requests: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    unsynced: int = 0  # files brought that are acknowledged, but may not have reached the remote's disk
