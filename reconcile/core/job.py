"""What a run is told, and what it tells: a job with its options, who reports, who stops it, what it came to.

Pure, as :mod:`reconcile.core.model`, which has what a run moves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from reconcile.core.chmod import Chmod
from reconcile.core.errors import Interrupted
from reconcile.core.model import Action, Kind, Outcome, Plan, Problem, Publish, Stats, Tally
from reconcile.core.told import as_told

if TYPE_CHECKING:
    from reconcile.core.compare import Checked


class Links(StrEnum):
    """What to do with local symlinks."""

    KEEP = "keep"
    FOLLOW = "follow"
    SKIP = "skip"


class Perms(StrEnum):
    """Which permissions what is sent has on the remote."""

    KEEP = "keep"  # those that it has here, or that ``chmod`` makes of them
    IGNORE = "ignore"  # those that the remote gives
    REMOTE = "remote"  # what is new has those from here, what is replaced those that it had there


class OnDrift(StrEnum):
    """What to do where the remote holds something we did not put there."""

    BACKUP = "backup"  # into the run's trash, and kept there
    SKIP = "skip"  # leave it alone: a problem
    OVERWRITE = "overwrite"


class OnStale(StrEnum):
    """What to do where the mark on the remote is not the one that the snapshot knows."""

    REFRESH = "refresh"  # list the remote first, and go on with what it shows
    REFUSE = "refuse"


class AdoptBy(StrEnum):
    """What shows that a file which DEST holds already is the one here, if its size is equal."""

    TIME = "time"  # its time; where times are not kept, as with CONTENT
    CONTENT = "content"  # its time, if times are kept, and else what it holds, read back
    SIZE = "size"  # no more


class Fsync(StrEnum):
    """Whether the server is asked to bring published files to its disk (fsync@openssh.com)."""

    AUTO = "auto"  # where it costs little: few uploads, and large files
    ALWAYS = "always"
    NEVER = "never"


class Lock(StrEnum):
    """Whom a run keeps from running at the same time."""

    LOCAL = "local"  # who uses the same state on this machine
    REMOTE = "remote"  # those of the same job on any machine, too


class Target(Protocol):
    """A canonical DEST, of whatever kind. ``str`` of it is the URL that names the job."""

    @property
    def scheme(self) -> str:
        """What kind of place it is: see ``remotes.SCHEMES``."""

    @property
    def name(self) -> str:
        """Which of these places it is, in short: for people, and in names of files."""

    @property
    def path(self) -> str:
        """The folder there: absolute, or below a home folder if it starts with ``~/``."""


class Own(Struct, frozen=True):
    """Something of ours that may lie in SRC: it is never sent."""

    path: str  # below SRC, or the whole of it where it may be anywhere
    what: str  # for people: what it is


class Release(Struct, frozen=True):
    """That what is brought is shown by a link, release by release."""

    shared: tuple[str, ...] = ()  # paths that all releases have in common
    leave_foreign: bool = False  # also where the release before holds what is not ours
    keep: int = 5  # of them, the current one counted


class Trash(Struct, frozen=True):
    """How long what was deleted or replaced stays there: as long as both hold."""

    seconds: float | None = None
    bytes: int | None = None  # of all runs
    replaced: bool = True  # also what was replaced, and not only what was deleted


class Options(Struct, frozen=True):
    """What flags and config may change about a job."""

    mirror: bool = False
    adopt_existing: bool = False
    adopt_by: AdoptBy = AdoptBy.CONTENT
    adopt_orphans: bool = False  # what DEST holds and SRC does not is known from now on: a mirror deletes it
    keep_remote_links: bool = False  # where there is a directory here
    remote_workdir: str | None = None
    filters: tuple[str, ...] = ()  # gitignore lines in order: excludes, then includes as "!"
    default_excludes: bool = False  # before ``filters``, and what they leave out is told
    delete_excluded: bool = False  # of what is ours there, with a mirror
    growing: tuple[str, ...] = ()  # gitignore lines: what may be sent while more is added to it
    only: tuple[str, ...] = ()  # paths: nothing but these and what is in them; none: all
    min_age: float | None = None  # seconds: a file that changed since waits for another run
    limit_rate: float | None = None  # bytes of content a second, at most
    last: tuple[str, ...] = ()  # gitignore lines: documents that come after what they name, beside a site's
    publish: Publish = Publish.EACH
    publish_partial: bool = False  # at the end also if some could not be brought
    own: tuple[Own, ...] = ()  # left out whatever the filters say
    own_files: tuple[Own, ...] = ()  # the same, wherever they are: they may be in SRC by another name
    links: Links = Links.KEEP
    keep_times: bool = True
    file_perms: Perms = Perms.KEEP
    dir_perms: Perms = Perms.KEEP
    chmod: Chmod = Chmod()  # what is made of the permissions here before they count
    ignore_inode: bool = False
    ignore_ctime: bool = False
    rehash: bool = False
    max_delete: str | None = None  # "N" or "P%"
    allow_mass_delete: bool = False
    on_drift: OnDrift = OnDrift.BACKUP
    keep: float | None = None  # seconds after which what is kept in the trash goes; None: never
    trash: Trash | None = None  # that what is ours stays for a while where it is deleted or replaced
    refresh: bool = False  # walk the remote first, and drop what is not as we left it
    again: frozenset[str] = frozenset()  # with it, these whatever they look like: they hold something else
    on_stale: OnStale = OnStale.REFRESH
    check_mark: bool = False  # look at the mark on the remote also where nothing is to be done
    start_over: bool = False  # as if there were no snapshot, and adopt
    release_held: bool = False  # bring up to SRC again what was undone
    fsync: Fsync = Fsync.AUTO
    lock: Lock = Lock.LOCAL
    release: Release | None = None  # DEST is its folder "next" by now
    retries: int = 5  # reconnects in a row without progress
    retry_max_wait: float = 60.0  # seconds between two of them at most
    timeout: float = 60.0  # seconds without an answer after which the connection counts as lost
    wait: float = 0.0  # seconds to wait for another run of this job to end

    def perms(self, kind: Kind) -> Perms:
        """Those of files, or of directories."""
        return self.dir_perms if kind is Kind.DIR else self.file_perms

    def keeps_mode(self, kind: Kind) -> bool:
        """Whether such an entry shall have the very mode on the remote that it has here."""
        return self.perms(kind) is Perms.KEEP

    @property
    def piece(self) -> int:
        """Bytes that may go out at once: those of a quarter of a second, as all else waits meanwhile."""
        return 1 << 62 if self.limit_rate is None else max(1, int(self.limit_rate / 4))


class Reviewed(Struct, frozen=True):
    """A plan that somebody has looked at: this is to be done, and nothing else."""

    lineage: str  # of the state that it was made on; "": there was none
    serial: int
    actions: Sequence[Action]


class Job(Struct, frozen=True):
    """One source, one target and how to reconcile them."""

    source: str  # absolute path, as it was given: it may lead through links
    target: Target
    state: str  # folder that holds this job's snapshot
    options: Options = Options()
    login: object = None  # how to be let in there: what the kind of place makes of the flags for that
    former: str = ""  # folder with a state to be taken over, made under another name of SRC
    formerly: str = ""  # that name
    likely: tuple[str, str] | None = None  # folder with a state that may be this job's, and the SRC it is of
    shared: bool = False  # its state lies at DEST, and ``state`` has a copy of it
    elsewhere: str = ""  # folder with what is known of it from when that was kept the other way
    name: str = ""  # by which it is known wherever SRC is; "": by SRC
    named: str = ""  # DEST as it was given, where the target is a folder in it
    reviewed: Reviewed | None = None  # do this, or nothing
    exact: bool = False  # read all that is to be sent before the plan is made: it says what that holds

    @property
    def dest(self) -> str:
        """DEST as people know it."""
        return self.named or str(self.target)

    @property
    def scope(self) -> Collection[str] | None:
        """The paths at and below which a run looks; None: everywhere."""
        if self.reviewed is None:
            return self.options.only or None
        return {path for action in self.reviewed.actions for path in (action.path, action.subject)}


class Since(Struct, frozen=True):
    """How long a path has been failing."""

    day: str  # of the first run that told, ISO 8601, local
    runs: int  # in a row, the last one counted


class Result(Struct, frozen=True):
    """What a ``plan`` or a ``run`` came to; ``report`` puts it on the screen or in JSON."""

    command: str  # "plan" or "run"
    source: str
    target: str
    plan: Plan = Plan()
    ended: Sequence[Action] = ()  # well, in a run, in the order they did
    problems: Sequence[Problem] = ()  # of every stage
    notes: Sequence[Problem] = ()
    connected: bool = False
    traffic: Stats = Stats()
    duration_s: float = 0.0
    phases: Mapping[str, float] = field(default_factory=dict)  # seconds
    entries: int = 0  # found in the source by the scan
    failing: Mapping[str, Since] = field(default_factory=dict)  # paths of problems, if they were counted
    unsynced: int = 0  # files acknowledged, but not known to be on the server's disk
    kept: int = 0  # entries gone here that stay there
    checked: Checked | None = None  # what was verified, where that was asked for
    footing: tuple[str, int] = ("", 0)  # lineage and serial of the state that it was made on
    saved: int = 0  # serial of the state that it has left
    undoes: bool = False  # it took back what another run had done

    @property
    def done(self) -> Sequence[Action]:
        """The counted actions: planned ones for a plan, finished ones for a run."""
        actions = self.plan.actions if self.command == "plan" else self.ended
        return [action for action in as_told(self.plan, actions) if not action.parks]


class Ending(Struct, frozen=True):
    """How a command came to its end, well or not: for whoever is told once all is done."""

    result: Result  # if it broke off, what is known of it
    status: str  # ok, problems, or how it broke off: refused, unreachable, interrupted and so on
    exit_code: int
    message: str = ""  # why it broke off, and what to do; empty: it did not
    said: Sequence[str] = ()  # what was told once, by the way
    at_once: bool = False  # told by a signal's handler, and the process ends with that


class Stop(Struct):
    """Whether somebody asked the run to end. A signal handler sets it, the run looks at it.

    While ``graceful`` is set the run looks at ``requested`` wherever it can end with
    nothing torn, and calls ``check`` when all is saved. Else the handler itself ends
    the process: there nothing is at risk. So does a second signal.
    """

    requested: int = 0  # number of the first signal; 0: none came
    graceful: bool = False

    def check(self) -> None:
        """Raises ``Interrupted`` if the run was asked to end."""
        if self.requested:
            raise Interrupted(self.requested)


class Reporter(Protocol):
    """Is told how a run goes on. Must never fail and never block for long."""

    def phase(self, name: str) -> None:
        """A phase begins: scan, hash, diff, connect, apply, commit."""

    def say(self, message: str) -> None:
        """Something the user should know once, such as a server that can't do something."""

    def warn(self, message: str) -> None:
        """The same, and not to be missed: told also to who asked for quiet, though nothing failed."""

    def asking(self) -> None:
        """A question is about to be put to the user: what is shown makes way for it."""

    def refused(self, plan: Plan) -> None:
        """The plan is not applied: its guard is about to say why."""

    def planned(self, plan: Plan, tally: Tally, /) -> None:
        """The plan stands and is about to be applied: the exact totals. ``tally`` has each outcome by
        the time that it is told."""

    def sent(self, count: int, path: str, /) -> None:
        """``count`` more content bytes of the file at ``path`` went out."""

    def retrying(self, lost: str, attempt: int, most: int, wait_s: float, /) -> None:
        """The connection is lost, and why; an attempt to make it again begins in ``wait_s`` seconds.

        What was under way will be sent once more.
        """

    def outcome(self, outcome: Outcome) -> None:
        """One action came to its end, well or not."""
