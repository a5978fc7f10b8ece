"""The few errors that end a run, each with its exit code. Pure.

What befalls a single path is a :class:`reconcile.core.model.Problem`, not an error.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes, the same for ``plan`` and ``run``."""

    OK = 0
    FATAL = 1
    USAGE = 2
    PROBLEMS = 3
    REFUSED = 4
    LOCKED = 5
    UNREACHABLE = 6
    CHANGES = 10
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class ReconcileError(Exception):
    """Something that ends the run. The message says what happened, what state
    things are in and what to do next."""

    exit_code = Exit.FATAL
    status = "error"


def amend(error: ReconcileError, truth: str) -> None:
    """Correct what an error says: it did not come up before anything was done."""
    error.args = (str(error).replace("Nothing was done.", truth),)


class UsageError(ReconcileError):
    """Wrong usage or config."""

    exit_code = Exit.USAGE


class Refused(ReconcileError):
    """A guard, or the state found, forbids to go on. Nothing was done."""

    exit_code = Exit.REFUSED
    status = "refused"


class Stale(Refused):
    """The mark on the remote is not one that the snapshot knows: they are not of one age."""

    def __init__(self, why: str, marks: tuple[str, ...]) -> None:
        super().__init__(
            f"What was saved here does not fit DEST: {why}. Nothing was done. Bring the newer state here, or "
            "run with --on-stale refresh, which lists DEST first and goes on with what it shows."
        )
        self.why = why
        self.marks = marks  # those that are there


class Locked(ReconcileError):
    """Another run of this job holds the lock. Nothing was done."""

    exit_code = Exit.LOCKED
    status = "locked"


class Overtaken(Locked):
    """Another run has saved the state that this one has read: before this one has done anything."""

    def __init__(self) -> None:
        super().__init__(
            "Another run of this job has saved its state meanwhile. Nothing was done. Run again."
        )


class Unreachable(ReconcileError):
    """The remote can't be reached or refuses us. Nothing is lost."""

    exit_code = Exit.UNREACHABLE
    status = "unreachable"


class TurnedAway(Unreachable):
    """The remote answers and refuses us. Asking again in a moment will not change that."""


class Untrusted(TurnedAway):
    """Whoever answers could not prove to be the remote. Nothing ever changes that but the user."""


class ConnectionLost(Unreachable):
    """The connection broke in the middle. What was acknowledged is known."""


class ProtocolError(Unreachable):
    """The server sent bytes that are no SFTP v3. It would send them again."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to end. What was acknowledged is saved, or will be found.

    Like its parent no ``Exception``: nothing that expects failures takes it for one.
    """

    status = "interrupted"

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.exit_code = Exit(128 + signum)
