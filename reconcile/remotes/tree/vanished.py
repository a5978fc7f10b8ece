"""What is true of the paths of an action that failed: the snapshot must not go on asking in vain."""

from __future__ import annotations

from msgspec.structs import replace

from reconcile.core.model import Action, Entry, Op, Outcome, Reason
from reconcile.core.paths import is_ours, parent
from reconcile.remotes.tree.link import look
from reconcile.remotes.tree.parents import missing, trouble_above
from reconcile.remotes.tree.site import Site, absent
from reconcile.remotes.tree.steps import Recipe

# With these nothing was done there: the source was at fault, or there was no space.
_UNDONE = frozenset(
    {
        Reason.UNREADABLE,
        Reason.VANISHED,
        Reason.CHANGED,
        Reason.GROWING,
        Reason.SPECIAL,
        Reason.LOOP,
        Reason.NO_SPACE,
    }
)


def settle(site: Site, outcome: Outcome) -> Recipe[Outcome]:
    """Add to the effects of a failure what has vanished: the paths we believed in, and directories above."""
    action, effects = outcome.action, dict(outcome.effects)
    trouble = outcome.problem
    if trouble is None or trouble.reason in _UNDONE or trouble_above(site, action) is not None:
        return outcome
    for path, believed in _believed(action):
        if path in effects or not (believed is not None or trouble.reason is Reason.MISSING):
            continue
        if not absent((yield from look(site, site.layout.at(path)))):
            continue
        if believed is not None:
            effects[path] = None
        lost = yield from _lost_above(site, path)
        if lost is not None:
            effects[lost] = None
            site.memory.parents[lost] = missing(lost)
    return replace(outcome, effects=effects)


def _believed(action: Action) -> list[tuple[str, Entry | None]]:
    """The paths of users that the action touches, each with what we thought was there."""
    believed = [(action.path, action.old)]
    if action.op is Op.MOVE and action.source is not None:
        believed.append((action.source, action.moved))
    return [(path, entry) for path, entry in believed if not is_ours(path)]


def _lost_above(site: Site, path: str) -> Recipe[str | None]:
    """The topmost directory above ``path`` that is not there any more, DEST itself aside."""
    lost = None
    while path := parent(path):
        if not absent((yield from look(site, site.layout.at(path)))):
            break
        lost = path
    return lost
