"""Where a run pushes to. Every remote looks the same from above.

The remote owns its concurrency, ``apply`` owns order and retries: it hands over
one level of actions and iterates over the outcomes, so that SFTP can
pipeline, another remote can use threads, and a local folder can be plain.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from msgspec import Struct

from reconcile.core.job import Job, Own, Reporter, Stop, Target
from reconcile.core.model import (
    Action,
    Brought,
    Caps,
    Entry,
    Footing,
    Kind,
    Outcome,
    Plan,
    Problem,
    Range,
    Seen,
    Stats,
    Tag,
)
from reconcile.remotes.urls import URL, refuse

if TYPE_CHECKING:  # for what is typed all this is read, and nothing of that needed
    from reconcile.core.checkup import Fact
    from reconcile.source.files import Source

NOTHING = Plan()
NO_ENTRIES: Mapping[str, Entry] = MappingProxyType({})


LEARNED = "server"  # of the server itself


class Memory(Protocol):
    """What a remote has learned of its server in earlier runs: plain values, which it alone understands."""

    def recall(self, name: str = LEARNED) -> object:
        """What was remembered last under ``name``; None: nothing."""

    def remember(self, value: object, name: str = LEARNED) -> None:
        """Keep it in the place of what was there, if that is wanted and can be done."""


class _Forgetful:
    """Keeps nothing."""

    def recall(self, name: str = LEARNED) -> object:  # noqa: ARG002 - as of any memory
        """Nothing was ever remembered."""
        return None

    def remember(self, value: object, name: str = LEARNED) -> None:
        """Nothing is."""


FORGETFUL: Memory = _Forgetful()


class Store(Protocol):
    """A few small things in our folder at DEST that outlive runs, for whoever pushes there.

    A name is letters, digits, ``.``, ``_`` and ``-``, and is made once: by the first who asks. It is
    there before ``begin``, too, and makes DEST if it has to. Raises Unreachable where DEST fails us.
    """

    def get(self, name: str) -> bytes | None:
        """What was put there. None: nothing, or not yet: its name may be taken."""

    def put_new(self, name: str, value: bytes) -> bool:
        """Put it there, all at once. False: the name is taken."""

    def claim(self, name: str) -> bool:
        """Take a name, and put nothing there. False: it is taken, or it is not known by whom: a reply
        got lost."""

    def names(self) -> list[str]:
        """All that are taken, sorted."""

    def age(self, name: str) -> int | None:
        """Seconds since it was put or claimed, by the clock of whoever holds it; None: it is not there."""

    def renew(self, name: str) -> bool:
        """Make it as young as what is put now, by the same clock. False: it is not there."""

    def drop(self, name: str) -> bool:
        """Let it go, with what was put there. True: it was there, and nobody else dropped it."""

    def drop_all(self, names: Iterable[str]) -> None:
        """Let go of those of them that are there."""


class Lease(Protocol):
    """A name in the store that stays ours as long as it is renewed."""

    @property
    def name(self) -> str:
        """Which."""

    def check(self) -> None:
        """Comes before anything is asked. Raises what is to end that, ConnectionLost where a renewal is
        overdue: it may be somebody else's by now."""

    def is_due(self) -> bool:
        """Whether it is to be renewed now. Once told, it is for a while no more."""

    def renewed(self, names: Sequence[str] | None) -> None:
        """It was, and these are in the store now. None: its name is not there any more."""


class Remote(Protocol):
    """An open DEST. All paths are relative to it; those below ``OURS`` are in the run's folder. One
    method at a time: an iterator is read to its end, or closed, before the next call.

    Any method may raise ConnectionLost: what has no outcome by then is unknown.
    """

    @property
    def caps(self) -> Caps:
        """What the remote can do, as far as it is known by now."""

    @property
    def stats(self) -> Stats:
        """What it took so far."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Names of our mark that are there, as far as ``begin``, ``check`` or ``end`` saw."""

    @property
    def store(self) -> Store:
        """What is kept there from run to run."""

    @property
    def base(self) -> str:
        """Where DEST is."""

    @property
    def workdir(self) -> str:
        """Where our folder is, for the ``Footing`` of the next run."""

    def begin(
        self,
        footing: Footing,
        run: str,
        plan: Plan = NOTHING,
        *,
        resume: bool = False,
        before: Iterable[Action] = (),
    ) -> None:
        """The first write: makes DEST with its parents, and our working folder in it.

        Leftovers of this job's earlier runs are fenced off first, so that what a
        dead client has still asked for fails, and then purged. The mark gets the
        name that ``footing`` wants. ``plan``: what will be asked for, so that the
        remote may get ready. ``resume``: what earlier runs had parked is taken
        over, each to the same place in this run's folder. ``before``: what those runs were about to do, if
        it is known: of what they had deleted no more than that is purged.

        Raises Refused where something stands in our way or our mark is gone,
        Stale where it is none that ``footing`` names, Unreachable where DEST
        can't be written to.
        """

    def check(self, footing: Footing, *, resume: bool = False) -> None:
        """Look, and change nothing: whether the mark is one that ``footing`` names. Raises as ``begin``.

        ``resume``: ``look`` finds from now on what this job's earlier runs had parked, where they had it.
        """

    def is_torn(self) -> bool:
        """Look, and change nothing: whether something is here that a run of any job has moved aside.

        That one broke off, or is at work: what was to change places may be at either.
        """

    def rescue(self, actions: Sequence[Action]) -> Iterator[Outcome]:
        """Bring to their end uploads of new files that a dead run had sent whole; others get no outcome."""

    def room(self) -> int | None:
        """Bytes that may yet be brought to where files are staged. None: it is not told."""

    def stage(
        self,
        actions: Sequence[Action],
        source: Source,
        stop: Stop | None = None,
        known: Mapping[str, Entry] = NO_ENTRIES,
        leaving: Container[str] = (),
    ) -> Iterator[Brought | Outcome]:
        """Bring the content of uploads of any level, and change nothing that anybody sees.

        ``perform`` puts it in its place, over the same connection; what is staged together may be put there
        together. What could not be brought has an outcome. ``known``: files of which a dead run has staged
        what the action brings, as it held them: they need not be sent again. ``leaving``: paths that are
        free, or another's, by then.
        """

    def perform(
        self, actions: Sequence[Action], source: Source, stop: Stop | None = None
    ) -> Iterator[Outcome]:
        """Carry out one level (see ``Plan``); outcomes come in any order.

        Once ``stop`` is requested none is begun any more; those under way end, or,
        if that takes long, ``Interrupted`` is raised.
        """

    def look(self, paths: Iterable[str]) -> Iterator[tuple[str, Seen | None]]:
        """What is at each path now, links not followed, their targets read.

        None: nothing. UNSEEN: the server does not say.
        """

    def walk(self, top: str) -> Iterator[tuple[str, Seen]]:
        """Everything below ``top``, parents first, our own files left out. Nothing if ``top`` is absent."""

    def read(self, ranges: Sequence[Range]) -> Iterator[tuple[str, bytes | None]]:
        """What the files hold, in the order that was asked for, in pieces of any size.

        A range without a byte gives one empty piece. None ends one that can't be read, or not to its end.
        No path may be a link, or lead through one: a walk has shown that.
        """

    def recognise(
        self, files: Sequence[tuple[str, Entry, Seen]], source: Source
    ) -> Iterator[tuple[str, bool]]:
        """Whether files there hold what SRC does, each with what ``walk`` has shown of it: where that can be
        told without reading them back. Others get no answer."""

    def is_wished(self, shown: Tag, wish: Entry, *, by_others: bool = False) -> bool:
        """See ``core.observe.Tags``, of which a remote is one."""

    def is_left(self, shown: Tag, entry: Entry) -> bool:
        """See there."""

    def noted(self, shown: Tag, entry: Entry) -> Tag | None:
        """See there."""

    def end(self, mark: str = "") -> Iterator[Problem]:
        """Purge the run's trash and remove its folder; what could not be removed is told.

        The mark gets this name, if it is given and that costs no time.
        """

    def mind(self, lease: Lease) -> None:
        """From now on ask nothing that it does not allow, and renew it when it is due, also in the middle of
        what goes on, and as long as anything does."""

    def fence(self, lineage: str) -> None:
        """What runs of a job, also another one's than ours, have asked for and is not done yet shall not be
        done any more, as far as that can be had: their folders get other names."""

    def close(self) -> None:
        """Close the connection; may be called twice."""


@runtime_checkable
class Examinable(Protocol):
    """A remote that can tell beforehand what a job may expect of it."""

    def examine(self, run: str, stop: Stop) -> Iterator[Fact]:
        """Look, measure, and try things in a folder of our own, called ``run``, which goes again, also where
        ``stop`` asks to end early.

        Makes no DEST, and harms no run that is at work there. Comes in the place of ``begin``.
        Raises as any method, Refused where DEST can't be looked at.
        """


class Shelf(Protocol):
    """Releases of what the job brings, by their names. Raises Unreachable where the remote fails us."""

    def try_out(self) -> None:
        """Raises Refused where there can be none."""

    def ids(self) -> list[str]:
        """Those that are there whole, sorted."""

    def current(self) -> str | None:
        """The one that is shown; None: there is none yet. Raises Refused where something else is shown."""

    def make(self, name: str, shared: Sequence[str]) -> Mapping[str, str]:
        """A new one of all that the job has brought, but for what is ``shared``, not ready yet; returns what
        is in it, each path with its look."""

    def ready(self, name: str) -> None:
        """From now on it is there."""

    def holds(self, name: str) -> Mapping[str, str]:
        """What is in one, or in what the job has brought, now, whoever put it there, each with its look."""

    def switch(self, name: str) -> None:
        """Show it, in one request."""

    def drop(self, name: str) -> None:
        """From now on there is none of this name; ``tidy`` removes it."""

    def tidy(self) -> None:
        """Remove what was dropped, and what has never become whole."""


@runtime_checkable
class Shelving(Protocol):
    """A remote that can show one of several trees."""

    @property
    def shelf(self) -> Shelf:
        """Of the job whose tree is DEST/releases/next."""


class Binned(Struct, frozen=True):
    """What a run has left in the trash for a while."""

    name: str
    count: int  # things; a directory is one
    size: int  # bytes of content in them
    since: int  # when it ended, in seconds of the clock there


class Back(Struct, frozen=True):
    """What became of something that was to come back from the trash."""

    path: str  # where it was
    place: str = ""  # where it is now: beside that, where something is by now
    problem: str = ""  # why it is in the trash still
    kind: Kind | None = None
    size: int = 0  # bytes of content in a file


class Bin(Protocol):
    """What a job has deleted or replaced at DEST, as long as it lies in the trash (``--trash``). Runs are
    called by names of ``runs``."""

    def runs(self) -> list[Binned]:
        """Those that have something there, the oldest first."""

    def walk(self, name: str) -> Iterator[tuple[str, Seen]]:
        """All that one has there, by the paths at which it was, parents first."""

    def place_of(self, name: str) -> str:
        """Where all that is, below ``RETIRED``: actions may have it as their source."""

    def bring_back(self, name: str, paths: Sequence[str]) -> Iterator[Back]:
        """Put it, or what of it was at or below ``paths``, where it was; what is there by now stays."""

    def recount(self, name: str, came: Sequence[Back]) -> None:
        """Have it be told what is left, now that these came back."""

    def empty(self, name: str) -> bool:
        """Remove all of it for good. False: something could not be removed."""

    def others(self) -> list[Binned]:
        """Runs of other jobs that have something there, in our folder at the same DEST."""

    def empty_others(self) -> bool:
        """Remove all that these have there for good. False: something could not be removed. RACE: what
        another job is about to bring back goes with it."""


@runtime_checkable
class Binning(Protocol):
    """A remote whose trash can be looked into."""

    def bin(self, lineage: str, *, kept: bool = False) -> Bin:
        """Of the job of this lineage. ``kept``: the part that stays (``--keep``), in its place."""


class Remains(Struct, frozen=True):
    """What a run has moved aside at DEST, and would be lost with what is known of the job."""

    folder: str  # of the run
    kept: int = 0  # things that others wrote, or that are only copies (``--keep``)
    old: int = 0  # that were the job's own (``--trash``)
    parked: int = 0  # that were to change places, or go, when the run broke off


@runtime_checkable
class Forgetting(Protocol):
    """A remote from which all goes that a job has there beside its files."""

    def find_remains(self, lineage: str) -> Sequence[Remains]:
        """Runs of the job of this lineage that have something moved aside."""

    def forget(self, lineage: str) -> Sequence[str]:
        """Remove the rest of it, the mark last; returns what could not be removed. The store stays."""

    def vacate(self) -> None:
        """Remove our folder, if nothing of any job is in it any more."""


class Opener(Protocol):
    """Opens a job's remote as often as it takes: what the user had to give is asked for once."""

    @property
    def waited(self) -> float:
        """Seconds that the user took to type."""

    def __call__(self, job: Job, reporter: Reporter, memory: Memory = FORGETFUL) -> Remote:
        """Connect to the job's target. Raises Unreachable, or Refused where DEST is no directory."""


class Scheme(Protocol):
    """One kind of place to push to: what its module in ``SCHEMES`` offers.

    That is light to import: a run with nothing to do opens nothing.
    """

    FORMS: str  # how DEST is written, for messages
    TAKES: frozenset[str]  # the flags about connecting that mean something here

    def parse(self, text: str) -> Target | None:
        """DEST as it was typed, a URL of this scheme or no URL at all. None: it is not for us.

        Raises UsageError, whose message never holds any part of DEST that may be a password.
        """

    def be_told(
        self, target: Target, flags: Mapping[str, Any], *, timeout: float | None, interactive: bool
    ) -> tuple[Target, object]:
        """What ``TAKES`` names of the flags, as far as it was given: the target, and the job's ``login``.

        ``timeout``: seconds that connecting may take. ``interactive``: the user may be asked for secrets.
        Raises UsageError for what can be known to be wrong.
        """

    def own_files(self, login: object) -> Iterable[Own]:
        """Files of this machine that the flags name, by their paths in full: they are never sent."""

    def doubt(self, text: str) -> str | None:
        """What a valid DEST may have been meant to be, where that is likely another place."""

    def folders(self, target: Target, workdir: str | None) -> Mapping[str, str]:
        """What of DEST lies on this machine, and what it is: never sent there, nor may SRC lie in it.

        ``workdir``: what ``--remote-workdir`` names.
        """

    def may_open_early(self, job: Job) -> bool:
        """Whether it is of use to open it beside other work, and does no harm should that not be needed."""

    def load(self) -> None:
        """Import what opening needs and is slow to import."""

    def recall_caps(self, job: Job, memory: Memory) -> Caps:
        """What the job's remote is known to be able to do, without a look at it."""

    def make_opener(self) -> Opener:
        """What opens the remotes of one run."""


# By what is written before ://. A DEST that is no URL is for the first that knows it.
SCHEMES = {
    "sftp": "reconcile.remotes.sftp.scheme",
    "file": "reconcile.remotes.local.scheme",
    "s3": "reconcile.remotes.s3.scheme",
}


def scheme_of(target: Target) -> Scheme:
    """What kind of place it is."""
    return _find(target.scheme)


def strange_flags(target: Target) -> frozenset[str]:
    """The flags about connecting that mean nothing there, though they do elsewhere."""
    return frozenset[str]().union(*(_find(name).TAKES for name in SCHEMES)) - scheme_of(target).TAKES


def _find(name: str) -> Scheme:
    return cast("Scheme", import_module(SCHEMES[name]))


def parse_target(text: str) -> Target:
    """DEST in any of its forms. Raises UsageError; what may be a password is never in its message."""
    url = URL.fullmatch(text)
    name = url[1].lower() if url is not None else ""
    if not text or "\0" in text:
        refuse(f"DEST is empty or holds a NUL; write {_forms()}")
    if url is not None and name not in SCHEMES:
        refuse(f"DEST: {name}:// is not supported; write {_forms()}")
    found = (_find(each).parse(text) for each in (SCHEMES if url is None else [name]))
    target = next((target for target in found if target is not None), None)
    return target or refuse(f"DEST has none of the forms that are known; write {_forms()}")


def _forms() -> str:
    return ", or ".join(_find(name).FORMS for name in SCHEMES)


def open_remote(job: Job, reporter: Reporter, memory: Memory = FORGETFUL) -> Remote:
    """Open a job's remote once. See ``Opener``."""
    return scheme_of(job.target).make_opener()(job, reporter, memory)
