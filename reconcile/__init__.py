"""Push a folder to an SFTP server, and remember what was sent.

    scan(folder)              what is here            source/scan.py
    diff(snapshot, scan)      what differs            core/diff.py
    make_plan(changes)        the fewest steps        core/plan.py, moves.py, order.py
    apply(plan, remote)       outcomes, as they come  apply/levels.py, remotes/
    fold(snapshot, outcomes)  what is now true        core/fold.py
    save_snapshot(...)        for the next run        state/

``pipeline.py`` is this; ``core/model.py`` has what goes through it, ``core/job.py`` what it is told.

For programs there are ``job``, ``plan`` and ``run``, and what they return and raise::

    result = reconcile.run(reconcile.job("~/photos", "me@nas:photos", mirror=True))
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from reconcile.core.errors import Locked, ReconcileError, Refused, Unreachable, UsageError

if TYPE_CHECKING:
    from reconcile.core.job import Job, Result

__all__ = [
    "Job",
    "Locked",
    "ReconcileError",
    "Refused",
    "Result",
    "Unreachable",
    "UsageError",
    "job",
    "plan",
    "run",
]
__version__ = "0.1.0"


def job(name_or_source: str | PathLike[str], target: str | None = None, /, **options: object) -> Job:
    """The job of that name in ``reconcile.toml``, or one that brings a folder here to ``target``.

    ``options`` are those of ``reconcile run`` by the names that they have in the file: ``mirror=True``,
    ``exclude=["*.tmp"]``, ``max_delete="20%"``; also ``config``, and what is for one run, as ``only``. They
    win over ``RECONCILE_*`` in the environment, and that over the file. Nothing is looked at yet, here or
    there. Raises UsageError, and Refused for a file that somebody else could have written.
    """
    from reconcile.commands.called import find

    return find(name_or_source, target, options)


def plan(job: Job) -> Result:
    """What ``run`` would do now. Changes nothing, here or there. Raises the same errors.

    ``done`` of the result has the actions, ``problems`` what could not be brought.
    """
    from reconcile.commands.called import make_plan

    return make_plan(job)


def run(job: Job) -> Result:
    """Bring the remote up to the source, and save what it then holds.

    What befalls single paths is in ``problems`` of the result, ``done`` has what was done. Raises Refused,
    Locked or UsageError before anything was done, Unreachable if the server can't be reached, or no longer:
    what was done by then is known, and the next run goes on. A job is run by one thread or process at a time.
    """
    from reconcile.commands.called import run

    return run(job)


def __getattr__(name: str) -> object:
    """The nouns, which are imported once they are asked for: ``--version`` needs none of them."""
    if name in ("Job", "Result"):
        from reconcile.core import job

        return getattr(job, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
