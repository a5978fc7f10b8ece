"""What a run of a reviewed plan makes sure of beyond what any run does: that DEST is as the plan saw it."""

from __future__ import annotations

from reconcile.core.ends import as_known
from reconcile.core.model import UNSEEN, Action, Kind, Op, Plan
from reconcile.core.observe import matches, questions
from reconcile.core.paths import is_ours, join, lookup
from reconcile.core.reviewed import changed
from reconcile.phases.held import Held


def check_there(run: Held, plan: Plan) -> None:
    """Raises Refused where DEST does not hold what the snapshot says at a path that the plan touches.

    What nobody here put there, beside what the plan touches, is no difference. RACE: what comes between this
    look and the write is met as in any run (``--on-drift``).
    """
    paths = dict.fromkeys(path for action in plan.actions for path in _touched(action) if not is_ours(path))
    if not paths:
        return
    run.connect()
    with run.phase("survey"):
        seen = dict(run.remote.look(paths))
        known = [(path, lookup(run.old.dirs, path)) for path in paths]
        seen |= as_known(seen, ((path, entry) for path, entry in known if entry is not None))
        differences = {}
        for path, entry in known:
            shown = seen.get(path)
            is_dir = entry is not None and entry.kind is Kind.DIR
            if shown is UNSEEN or (is_dir and not run.caps.dirs):
                continue
            if entry is None and shown is not None:
                differences[path] = "is there, and was not"
            elif entry is not None and shown is None:
                differences[path] = "is gone there"
            elif entry is not None and not matches(shown, entry, run.remote):
                differences[path] = "is not as it was left there"
    if differences:
        raise changed("DEST", differences)


def _touched(action: Action) -> list[str]:
    """All that is to be as it was left: of a directory that moves, too, what is in it."""
    paths = [*questions(action)]
    origin = action.home or action.source
    if action.op is Op.MOVE and origin is not None:
        paths += [origin, *(join(origin, name) for name, _ in action.inside)]
    return paths
