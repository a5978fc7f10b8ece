"""A turn at DEST: of all who push there for one job, on whatever machine, one alone has it.

What may live here: taking it, keeping it, and giving it back. How it is written down is in ``core.turns``.

Who holds it may ask for something as long as the last renewal that was answered is fresh by its own clock,
one that goes on while the machine sleeps; who waits for it takes over what was not renewed for longer than
that, by the clock over there. So the two never meet, however long one of them was halted. What had been asked
for before that may come late: it finds the run's folder renamed (see ``fence``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reconcile.ci import ci_url
from reconcile.core import turns
from reconcile.core.errors import ConnectionLost, Locked
from reconcile.core.turns import Holder, Turn, last_turn, name_end, name_turn
from reconcile.remotes import Remote, Store
from reconcile.remotes.words import one_line
from reconcile.state.names import has_died, name_run

if TYPE_CHECKING:
    from reconcile.core.job import Reporter, Stop

# Goes on while the machine sleeps; so does the other where there is none of this name.
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_POLL = 0.25, 3.0  # seconds between looks at somebody else's turn: at first, and at most
_ATTEMPTS = 20  # at a store where of those who ask at once none may get it
_MANY = 8  # names that nobody needs any more, for which it is worth to ask that they go
_SIGNING = 0.1, 8  # seconds between looks at who has made a turn's name, and how many of them

_ENDED: set[str] = set()  # runs of this process: they hold nothing, also where that could not be told


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class RemoteLock:
    """A turn that is held from ``take`` to ``release``. See ``remotes.Lease``.

    ``state``: the folder of state here, whose lock this process holds. ``wait``: seconds to wait for
    somebody else's turn to end.
    """

    def __init__(
        self, job: str, state: str, reporter: Reporter, wait: float = 0.0, stop: Stop | None = None
    ) -> None:
        self._job = job
        self._state = state
        self._reporter = reporter
        self._wait = wait
        self._stop = stop
        self._holder = Holder("")
        self.names: Sequence[str] = ()  # all in the store, as our turn had begun
        self._number = 0  # of our turn; 0: it is somebody else's
        self._renewed = 0.0  # by our clock: when the last renewal that was answered was asked for
        self._asked = 0.0  # when the last one was
        self._confirming = False
        self._lost: Locked | None = None

    @property
    def number(self) -> int:
        """Of our turn: higher than any before; 0: it is not ours."""
        return self._number

    # Before, and after.

    def take(self, remote: Remote, lineage: str = "") -> None:
        """Have the turn, if need be as the next after somebody whose turn has ended without a word.

        What that one has under way is shut off. ``lineage``: of our state. Raises Locked.
        """
        if self._number:
            self.check()
            return
        self._holder = introduce(self._state, lineage)
        give_up, pause, attempts = time.monotonic() + self._wait, _POLL[0], _ATTEMPTS
        while True:
            store = remote.store
            names = store.names()
            turn = last_turn(names, self._job)
            why = "" if turn.is_over else self._obstacle(store, turn)
            if not why:
                if self._make(remote, turn, names):
                    return
                attempts -= 1  # somebody else has it by now, or nobody: then it is there to be had
                if attempts:
                    continue
                why = "Those who want to push there at the same time keep each other from it. "
            if time.monotonic() >= give_up:
                raise Locked(why)
            if self._stop is not None:
                self._stop.check()
            time.sleep(pause)
            pause = min(2 * pause, _POLL[1])

    def is_late(self) -> bool:
        """Whether it was not renewed for so long that it has to be confirmed before anything is asked."""
        return bool(self._number) and _now() - self._renewed > turns.LATE

    def confirm(self, remote: Remote) -> None:
        """Whether the turn is still ours; if it may have expired, take the next one.

        Raises Locked where it is somebody else's.
        """
        if not self._number:
            return
        self._confirming = True
        try:
            self._confirm(remote)
        finally:
            self._confirming = False

    def _confirm(self, remote: Remote) -> None:
        store, began = remote.store, _now()
        names = store.names()
        turn = last_turn(names, self._job)
        if not turn.is_over and self._is_ours(store, turn):
            if began - self._renewed < turns.LATE and store.renew(name_turn(self._job, turn.number)):
                self._number, self._renewed, self._asked = turn.number, began, began
                return
            if self._make(remote, turn, names):
                return
        raise self._lose()

    def release(self, store: Store | None) -> None:
        """Let others have it; None: they can't be told. If it was lost there is nothing to let go."""
        if self._number and self._lost is None:
            _ENDED.add(self._holder.id)
            if store is not None:
                store.claim(name_end(self._job, self._number))
        self._number = 0

    # Meanwhile: see ``Lease``.

    @property
    def name(self) -> str:
        """See ``Lease``."""
        return name_turn(self._job, self._number)

    def check(self) -> None:
        """See ``Lease``. Raises Locked where somebody else has come after us."""
        if self._lost is not None:
            raise self._lost
        if self.is_late() and not self._confirming:
            gap = _now() - self._renewed
            raise ConnectionLost(
                f"the lock on the server was not renewed for {gap:.0f} s; was this machine asleep?"
            )

    def is_due(self) -> bool:
        """See ``Lease``."""
        now = _now()
        if not self._number or self._confirming or now - self._asked < turns.RENEWAL:
            return False
        self._asked = now
        return True

    def look_soon(self) -> None:
        """Be due at once, unless that is a moment ago: much is about to be asked for."""
        now = _now()
        if now - self._asked > turns.RECENT:
            self._asked = now - turns.RENEWAL

    def renewed(self, names: Sequence[str] | None) -> None:
        """See ``Lease``."""
        if names is not None and last_turn(names, self._job) == Turn(self._number, is_over=False):
            self._renewed = self._asked
        else:
            self._lose()

    def _lose(self) -> Locked:
        self._lost = Locked(
            "The lock on the server is no longer ours: somebody has taken it over, or 'reconcile unlock' was "
            "called. Nothing more is done here, and nothing is saved. The next run looks at what this one "
            "left open."
        )
        return self._lost

    # How it is won.

    def _make(self, remote: Remote, before: Turn, names: Sequence[str]) -> bool:
        """Take the turn after ``before``, which is over, ours, or nobody's any more. False: it is not ours.

        RACE: between our look at a turn that has expired and our own name for the next one its holder may
        renew it. So that is looked at once more; then one of the two, or both, step back.
        """
        store, number, began = remote.store, before.number + 1, _now()
        if not store.put_new(name_turn(self._job, number), turns.pack_holder(self._holder)):
            return False
        after = store.names()
        if last_turn(after, self._job) != Turn(number, is_over=False) or (
            not before.is_over and self._obstacle(store, before)
        ):
            store.claim(name_end(self._job, number))
            return False
        self._number, self._renewed, self._asked = number, began, began
        self.names = after
        if not before.is_over:
            self._shut_off(remote, before)
        if len(old := turns.outdated({*names, *after}, self._job, number)) >= _MANY:
            store.drop_all(old)
        return True

    def _shut_off(self, remote: Remote, before: Turn) -> None:
        """What the one before us has asked for, and has not come yet, shall not happen any more."""
        holder = turns.read_holder(remote.store.get(name_turn(self._job, before.number)))
        if holder is None or holder.id == self._holder.id:
            return
        self._reporter.warn(
            f"the lock on the server was held by {describe(holder)}, whose run has died: it is taken over"
        )
        if holder.lineage not in ("", self._holder.lineage):  # that of our own job `begin` shuts off
            remote.fence(holder.lineage)

    def _is_ours(self, store: Store, turn: Turn) -> bool:
        """Also where we have made its name over a connection that broke before we heard of it."""
        if turn.number == self._number:
            return True
        holder = turns.read_holder(store.get(name_turn(self._job, turn.number)))
        return holder is not None and holder.id == self._holder.id

    def _obstacle(self, store: Store, turn: Turn) -> str:
        """Why a turn that has not ended is not to be taken over; "": it is."""
        name = name_turn(self._job, turn.number)
        holder, age = self._look_at(store, name)
        if holder is not None and (
            holder.id in {self._holder.id, *_ENDED} or has_died(holder.id, self._state)
        ):
            return ""
        if age is None or turns.has_expired(age) or (holder is None and age >= turns.NEWBORN):
            return ""
        who = describe(holder) if holder is not None else "a run that does not say whose it is"
        return (
            f"Another run of job {self._job!r} holds the lock on the server: {who}, renewed {age} s ago. "
            "Nothing was done. Wait for it to end, or use --wait SECONDS to do so. If that run is dead, the "
            f"lock is free {turns.EXPIRY // 60} minutes after its last renewal, or by 'reconcile unlock'."
        )

    def _has_ended(self, run: str) -> bool:
        return run in {self._holder.id, *_ENDED} or has_died(run, self._state)

    def _look_at(self, store: Store, name: str) -> tuple[Holder | None, int | None]:
        """Who has a turn, if that is written down; seconds since it was renewed, if it is there at all."""
        pause, looks = _SIGNING
        for _ in range(looks):
            holder = turns.read_holder(store.get(name))
            age = store.age(name)
            if holder is not None or age is None or age >= turns.NEWBORN:
                break
            time.sleep(pause)
        return holder, age


def find_holder(store: Store, job: str, names: Sequence[str] | None = None) -> str | None:
    """Who seems to be at work, for a message; None: nobody. ``names``: those of the store, if known."""
    turn = last_turn(store.names() if names is None else names, job)
    if turn.is_over:
        return None
    holder = turns.read_holder(store.get(name_turn(job, turn.number)))
    age = store.age(name_turn(job, turn.number))
    if age is None or turns.has_expired(age):
        return None
    return f": {describe(holder)}" if holder is not None else ""


def introduce(state: str, lineage: str) -> Holder:
    """Who we are, for others to read."""
    return Holder(name_run(state), os.uname().nodename, os.getpid(), int(time.time()), ci_url(), lineage)


def describe(holder: Holder) -> str:
    """For a message: what others have written can't break a line."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(min(max(holder.since, 0), 2**40)))
    where = f", {one_line(holder.url)}" if holder.url else ""
    return f"process {holder.pid} on {one_line(holder.host)}, since {since}{where}"
