"""Where a run pushes to. Every remote looks the same from above.

The remote owns its concurrency, ``apply`` owns order and retries: it hands over
one level of actions and iterates over the outcomes, so that SFTP can
pipeline, another remote can use threads, and a local folder can be plain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from reconcile.core.job import Job, Reporter, Stop
from reconcile.core.model import (
    Action,
    Capabilities,
    Entry,
    Footing,
    Outcome,
    Plan,
    Problem,
    RemoteStat,
    Tag,
    Traffic,
)
from reconcile.source.files import Source

if TYPE_CHECKING:  # with it comes all of what is slow to import
    from reconcile.remotes.ssh.secret import Secrets

NOTHING = Plan()


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


class Remote(Protocol):
    """An open DEST. All paths are relative to it. One method at a time: an iterator
    is read to its end, or closed, before the next call.

    Any method may raise ConnectionLost: what has no outcome by then is unknown.
    """

    @property
    def caps(self) -> Capabilities:
        """What the remote can do, as far as it is known by now."""

    @property
    def traffic(self) -> Traffic:
        """What went over the wire so far."""

    @property
    def unsynced(self) -> int:
        """Files brought so far that are acknowledged, but may not have reached the remote's disk."""

    @property
    def parked(self) -> frozenset[int] | None:
        """Numbers of the parking places that held something when ``prepare`` took them over.

        Or when ``find_parked`` looked. None: neither did, and nobody knows.
        """

    @property
    def marks(self) -> tuple[str, ...]:
        """Names of our mark that are there, as far as ``prepare``, ``find_marks`` or ``finish`` saw."""

    @property
    def base(self) -> str:
        """Where DEST is."""

    @property
    def workdir(self) -> str:
        """Where our folder is, for the ``Footing`` of the next run."""

    def prepare(
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
        over, each under its number. ``before``: what those runs were about to do, if
        it is known: of what they had deleted no more than that is purged.

        Raises Refused where something stands in our way or our mark is gone,
        Stale where it is none that ``footing`` names, Unreachable where DEST
        can't be written to.
        """

    def find_marks(self, footing: Footing) -> None:
        """Look, and change nothing: whether the mark is one that ``footing`` names. Raises as ``prepare``."""

    def find_parked(self, lineage: str) -> None:
        """Look, and change nothing: which parking places of this job's earlier runs hold something."""

    def rescue(self, actions: Sequence[Action]) -> Iterator[Outcome]:
        """Bring to their end uploads of new files that a dead run had sent whole; others get no outcome."""

    def perform(
        self, actions: Sequence[Action], source: Source, stop: Stop | None = None
    ) -> Iterator[Outcome]:
        """Carry out one level (see ``Plan``); outcomes come in any order.

        Once ``stop`` is requested none is begun any more; those under way end, or,
        if that takes long, ``Interrupted`` is raised.
        """

    def observe(self, paths: Iterable[str]) -> Iterator[tuple[str, RemoteStat | None]]:
        """What is at each path now, links not followed, their targets read.

        None: nothing. UNSEEN: the server does not say.
        """

    def walk(self, top: str) -> Iterator[tuple[str, RemoteStat]]:
        """Everything below ``top``, parents first, our own files left out. Nothing if ``top`` is absent."""

    def read_digests(self, files: Sequence[tuple[str, int]]) -> Iterator[tuple[str, bytes | None]]:
        """The xxh3-128 of each file's content, read back; with its size in bytes. None: it can't be read.

        No path may be a link, or lead through one: a walk has shown that.
        """

    def tag_of(self, wish: Entry) -> Tag | None:
        """What a file will show that has arrived as wished. None: that can't be known before."""

    def finish(self, mark: str = "") -> Iterator[Problem]:
        """Purge the run's trash and remove its folder; what could not be removed is told.

        The mark gets this name, if it is given and that costs no time.
        """

    def close(self) -> None:
        """Close the connection; may be called twice."""


def recall_caps(memory: Memory) -> Capabilities:
    """What the remote is known to keep of modes and times, without a look at it."""
    from reconcile.remotes.sftp.quirks import caps_of  # which is light

    return caps_of(memory.recall())


def load() -> None:
    """Import what ``open_remote`` needs and is slow to import. A thread that is at it is waited for."""
    import reconcile.remotes.ssh.auth  # noqa: F401 - only for it to be there


class Opener:
    """Opens a job's remote as often as it takes: what the user had to give is asked for once."""

    def __init__(self) -> None:
        self._secrets: Secrets | None = None

    @property
    def waited(self) -> float:
        """Seconds that the user took to type."""
        return self._secrets.waited if self._secrets is not None else 0.0

    def __call__(self, job: Job, reporter: Reporter, memory: Memory = FORGETFUL) -> Remote:
        """Connect to the job's target. Raises Unreachable, or Refused where DEST is no directory."""
        from reconcile.remotes.sftp.remote import open_sftp  # imports paramiko: only now is it needed
        from reconcile.remotes.ssh.secret import Secrets

        self._secrets = self._secrets or Secrets(job.login, reporter.asking)
        return open_sftp(job, reporter, memory, self._secrets)


def open_remote(job: Job, reporter: Reporter, memory: Memory = FORGETFUL) -> Remote:
    """Connect once. See ``Opener``."""
    return Opener()(job, reporter, memory)
