"""A remote that outlives its connections: opened when it is first needed, and again when one is lost.

What may live here: when to connect, when to try again, and what then is to be asked or done once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, MutableMapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from reconcile.apply.levels import find_out
from reconcile.apply.opening import Aside, Opening
from reconcile.apply.steady import SteadyStore
from reconcile.core.errors import ConnectionLost, ProtocolError, TurnedAway, Unreachable, Untrusted
from reconcile.core.job import Job, Reporter, Stop
from reconcile.core.model import (
    Action,
    Brought,
    Caps,
    Entry,
    Footing,
    Outcome,
    Plan,
    Problem,
    Range,
    Seen,
    Stats,
    Tag,
)
from reconcile.remotes import NO_ENTRIES, NOTHING, Lease, Memory, Remote, Store, scheme_of
from reconcile.source.files import Source
from reconcile.state.names import name_run

if TYPE_CHECKING:
    from reconcile.apply.turn import RemoteLock

T = TypeVar("T")

Connect = Callable[[Job, Reporter, Memory], Remote]

FIRST_WAIT = 0.5  # seconds before the first attempt that is not made at once


class Retrying:
    """A ``Remote`` over as many connections as it takes. Raises ConnectionLost once they are too many."""

    def __init__(self, job: Job, reporter: Reporter, connect: Connect, stop: Stop, memory: Memory) -> None:
        self._job = job
        self._reporter = reporter
        self._connect = connect
        self._stop = stop
        self._memory = memory
        self._remote: Remote | None = None
        self._opening: Opening | None = None
        self._footing: Footing | None = None  # None: nothing was prepared yet
        self._sought: Footing | None = None  # what dead runs have parked was looked for, to be left there
        self._plan = NOTHING
        self._before_us: Iterable[Action] = ()  # what dead runs were about to do
        self._before = Stats()  # of connections before
        self._lock: RemoteLock | None = None
        self._fruitless = 0  # losses in a row without an outcome, or content read back, between them
        self._staged: dict[int, tuple[Brought, Remote]] = {}  # by the id of its action; and over what
        self._leaving: Container[str] = ()
        self.was_open = False
        self.in_doubt = False  # a connection broke while it was prepared

    def open(self) -> Remote:
        """The remote to use now, connected after some attempts perhaps.

        Raises Unreachable, or Refused where DEST is no directory.
        """
        if self._remote is None:
            opening, self._opening = self._opening, None
            try:
                self._remote = opening.wait() if opening is not None else self._open()
            except (ProtocolError, TurnedAway):
                raise  # no SFTP that we speak, or not for us: another attempt would not change that
            except Unreachable as failed:
                self._reopen(failed)
            self.was_open = True
        assert self._remote is not None
        return self._remote

    def open_soon(self) -> None:
        """It will be needed: begin to connect beside what is going on, as connecting is mostly waiting.

        But for the imports, at which nothing else here gains by taking turns; another process may.
        """
        if self._remote is not None or self._opening is not None:
            return
        scheme = scheme_of(self._job.target)
        if scheme.may_open_early(self._job):
            aside = Aside(self._reporter)
            self._opening = Opening(lambda: self._connect(self._job, aside, self._memory), aside)
        scheme.load()

    def _open(self) -> Remote:
        return self._connect(self._job, self._reporter, self._memory)

    def ask(self, question: Callable[[Remote], T]) -> T:
        """What not every remote can be asked, and may be more than once."""
        return self._insist(question)

    def _insist(self, question: Callable[[Remote], T]) -> T:
        """Ask, over as many connections as it takes, what may be asked more than once."""
        while True:
            try:
                return question(self.open())
            except ConnectionLost as lost:
                self._reopen(lost)

    def _ask(
        self,
        question: Callable[[Remote], Iterator[tuple[str, T]]],
        left: MutableMapping[str, Any] | None = None,
    ) -> Iterator[tuple[str, T]]:
        """The same for one that is answered path by path. ``left``: those that it still asks for."""
        while left is None or left:
            try:
                for path, answer in question(self.open()):
                    if left is not None:
                        del left[path]
                    yield path, answer
                break
            except ConnectionLost as lost:
                self._reopen(lost)

    @property
    def caps(self) -> Caps:
        """See ``Remote``; as remembered while there is no connection."""
        if self._remote is not None:
            return self._remote.caps
        return scheme_of(self._job.target).recall_caps(self._job, self._memory)

    @property
    def stats(self) -> Stats:
        """What it took over all connections."""
        return _add(self._before, self._remote.stats) if self._remote is not None else self._before

    @property
    def marks(self) -> tuple[str, ...]:
        """See ``Remote``; none while there is no connection."""
        return self._remote.marks if self._remote is not None else ()

    @property
    def store(self) -> Store:
        """See ``Remote``."""
        return SteadyStore(self._insist)

    @property
    def base(self) -> str:
        """See ``Remote``."""
        return self.open().base

    @property
    def workdir(self) -> str:
        """See ``Remote``."""
        return self.open().workdir

    def take_turn(self, lock: RemoteLock, lineage: str) -> None:
        """Have the lock on the server from now on, over as many connections as it takes. Raises Locked."""
        if self._lock is None:
            lock.take(self, lineage)
            self._lock = lock
            self.open().mind(lock)
        elif lock.is_late():  # files were read meanwhile, say
            self._insist(lock.confirm)
        lock.check()

    def end_turn(self, *, tell: bool) -> None:
        """Let others have it. ``tell``: the connection is as it should be."""
        if self._lock is not None:
            lock, self._lock = self._lock, None
            lock.release(self._remote.store if self._remote is not None and tell else None)

    def mind(self, lease: Lease) -> None:
        """See ``Remote``. Over this connection only: see ``take_turn``."""
        self.open().mind(lease)

    def fence(self, lineage: str) -> None:
        """See ``Remote``."""
        self._insist(lambda remote: remote.fence(lineage))

    def begin(
        self,
        footing: Footing,
        run: str,
        plan: Plan = NOTHING,
        *,
        resume: bool = False,
        before: Iterable[Action] = (),
    ) -> None:
        """See ``Remote``. Over another connection it is done again, under a name that no run had."""
        self._footing, self._plan, self._before_us = footing, plan, before
        self.in_doubt = False
        try:
            self._begin_on(self.open(), footing, run, resume=resume)
        except ConnectionLost as lost:
            self.in_doubt = True
            self._reopen(lost)

    def _begin_on(self, remote: Remote, footing: Footing, run: str, *, resume: bool) -> None:
        before = chain(self._before_us, self._plan.actions)
        remote.begin(footing, run, self._plan, resume=resume, before=before)
        self._footing = replace(footing, known=True, filled=False)

    def check(self, footing: Footing, *, resume: bool = False) -> None:
        """See ``Remote``."""
        self._insist(lambda remote: remote.check(footing, resume=resume))
        self._sought = footing if resume else None

    def is_torn(self) -> bool:
        """See ``Remote``."""
        return self._insist(lambda remote: remote.is_torn())

    def rescue(self, actions: Sequence[Action]) -> Iterator[Outcome]:
        """See ``Remote``."""
        return self._go_on(actions, lambda remote, left: remote.rescue(left), Stop())

    def room(self) -> int | None:
        """See ``Remote``."""
        return self._insist(lambda remote: remote.room())

    def stage(
        self,
        actions: Sequence[Action],
        source: Source,
        stop: Stop | None = None,
        known: Mapping[str, Entry] = NO_ENTRIES,
        leaving: Container[str] = (),
    ) -> Iterator[Brought | Outcome]:
        """See ``Remote``. After a loss what was staged is taken over, and the rest is sent."""
        left = {id(action): action for action in actions}
        known, is_over = dict(known), False
        self._leaving = leaving
        while not is_over:
            try:
                remote = self.open()
                for each in remote.stage(list(left.values()), source, stop, known, leaving):
                    self._fruitless = 0
                    action = each.action
                    if isinstance(each, Outcome):
                        del left[id(action)]
                    else:
                        self._staged[id(action)] = each, remote
                        known[action.path] = each.held
                    yield each
                is_over = True
            except ConnectionLost as lost:
                self._reopen(lost)

    def perform(
        self, actions: Sequence[Action], source: Source, stop: Stop | None = None
    ) -> Iterator[Outcome]:
        """See ``Remote``. What was staged over a connection that is lost is taken over before."""
        return self._go_on(
            actions,
            lambda remote, left: self._perform(remote, left, source, stop),
            Stop() if stop is None else stop,
        )

    def _perform(
        self, remote: Remote, actions: Sequence[Action], source: Source, stop: Stop | None
    ) -> Iterator[Outcome]:
        if self._lock is not None:
            self._lock.look_soon()
        staged = (self._staged.get(id(action)) for action in actions) if self._staged else ()
        lost = [each for each, where in filter(None, staged) if where is not remote]
        if lost:
            known = {each.action.path: each.held for each in lost}
            for each in remote.stage([each.action for each in lost], source, None, known, self._leaving):
                if isinstance(each, Brought):  # the others are told of once they are sent after all
                    self._staged[id(each.action)] = each, remote
        yield from remote.perform(actions, source, stop)

    def _go_on(
        self,
        actions: Sequence[Action],
        work: Callable[[Remote, Sequence[Action]], Iterator[Outcome]],
        stop: Stop,
    ) -> Iterator[Outcome]:
        """After a loss the remote is asked what became of what was under way; the rest is begun again."""
        left = actions
        lost: ConnectionLost | None = None
        while left and not stop.requested:
            ended: set[int] = set()
            try:
                if lost is not None:
                    self._reopen(lost)
                for outcome in work(self.open(), left) if lost is None else find_out(left, self.open()):
                    ended.add(id(outcome.action))
                    self._fruitless = 0
                    yield outcome
                if lost is None:
                    return
                lost = None
            except ConnectionLost as error:
                if error is lost:  # no more retries
                    raise
                lost = error
            left = [action for action in left if id(action) not in ended]

    def look(self, paths: Iterable[str]) -> Iterator[tuple[str, Seen | None]]:
        """See ``Remote``."""
        left = dict.fromkeys(paths)
        return self._ask(lambda remote: remote.look(list(left)), left)

    def walk(self, top: str) -> Iterator[tuple[str, Seen]]:
        """See ``Remote``. It begins anew after a loss, so that a path may come twice."""
        return self._ask(lambda remote: remote.walk(top))

    def read(self, ranges: Sequence[Range]) -> Iterator[tuple[str, bytes | None]]:
        """See ``Remote``. It goes on from the byte that was the last to come."""
        turn = done = 0
        while turn < len(ranges):
            path, start, length = ranges[turn]
            left = [(path, start + done, length - done), *ranges[turn + 1 :]]
            try:
                for path, piece in self.open().read(left):
                    done += len(piece or b"")
                    self._fruitless = 0
                    if piece is None or done >= ranges[turn][2]:
                        turn, done = turn + 1, 0
                    yield path, piece
                break
            except ConnectionLost as lost:
                self._reopen(lost)

    def recognise(
        self, files: Sequence[tuple[str, Entry, Seen]], source: Source
    ) -> Iterator[tuple[str, bool]]:
        """See ``Remote``."""
        left = {path: (path, entry, seen) for path, entry, seen in files}
        return self._ask(lambda remote: remote.recognise(list(left.values()), source), left)

    def is_wished(self, shown: Tag, wish: Entry, *, by_others: bool = False) -> bool:
        """See ``Remote``."""
        return self.open().is_wished(shown, wish, by_others=by_others)

    def is_left(self, shown: Tag, entry: Entry) -> bool:
        """See ``Remote``."""
        return self.open().is_left(shown, entry)

    def noted(self, shown: Tag, entry: Entry) -> Tag | None:
        """See ``Remote``."""
        return self.open().noted(shown, entry)

    def end(self, mark: str = "") -> Iterator[Problem]:
        """See ``Remote``. Over another connection, preparing clears what the last one left, too."""
        return iter(self._insist(lambda remote: list(remote.end(mark))))

    def _reopen(self, lost: Unreachable) -> None:
        """Connect again after a loss, fence the old folder off and take over what was parked.

        Or for the first time, after an attempt that failed. Waits longer and longer, with jitter, up to
        ``--retry-max-wait`` seconds; a signal need not wait for that. Raises the loss again once
        ``--retries`` attempts in a row were in vain, and at once what no attempt will change.
        """
        self._stop.check()
        most = self._job.options.retries
        self._fruitless += 1
        if self._fruitless > most:
            raise lost
        graceful, self._stop.graceful = self._stop.graceful, False
        try:
            for number in range(1, most + 1):
                # A bucket is opened without a word: that it is open again says nothing of who is there.
                pause = self._pause_before(max(number, self._fruitless))
                self._reporter.retrying(_why(lost), number, most, pause)
                time.sleep(pause)
                try:
                    return self._renew()
                except Unreachable as failed:
                    lost = failed
                    if not self._may_pass(failed):
                        break
            raise lost
        finally:
            self._stop.graceful = graceful

    def _pause_before(self, number: int) -> float:
        """Seconds: none where a connection has just broken, else more each time, and in step with nobody."""
        doublings = min(number - (2 if self.was_open else 1), 30)
        if doublings < 0:
            return 0.0
        import random  # who waits has the time

        pause: float = FIRST_WAIT * 2**doublings + random.random()  # noqa: S311 - no secret
        return min(pause, self._job.options.retry_max_wait)

    def _may_pass(self, error: Unreachable) -> bool:
        """Whether another attempt may go better. A server that is starting up lets nobody in for a while."""
        lasting = (Untrusted, ProtocolError) if self.was_open else (TurnedAway, ProtocolError)
        return not isinstance(error, lasting)

    def _renew(self) -> None:
        self._hang_up()
        self._remote = self._open()
        if self._lock is not None:
            try:
                self._lock.confirm(self._remote)
            finally:  # if it is lost nothing more is asked for
                self._remote.mind(self._lock)
        if self._footing is not None:
            self._begin_on(self._remote, self._footing, name_run(self._job.state), resume=True)
        elif self._sought is not None:
            self._remote.check(self._sought, resume=True)

    def close(self) -> None:
        """Hang up; may be called twice."""
        if self._opening is not None:
            self._opening.abandon()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._remote is not None:
            self._before = _add(self._before, self._remote.stats)
            self._remote.close()
            self._remote = None


def _why(failed: BaseException | None) -> str:
    said = str(failed).partition(" Nothing was done.")[0]  # by this attempt; by those before it may be
    what = "the connection was lost" if isinstance(failed, ConnectionLost) else "not connected"
    return f"{what} ({said})"


def _add(one: Stats, other: Stats) -> Stats:
    return Stats(
        one.requests + other.requests,
        one.bytes_sent + other.bytes_sent,
        one.bytes_received + other.bytes_received,
        one.unsynced + other.unsynced,
    )
