"""Files that were published on trust: looked at again once the server has lost it.

What may live here: which these are, and what is told of one that came out short.
"""

from __future__ import annotations

from msgspec.structs import replace

from reconcile.core.model import Action, Outcome, Reason
from reconcile.remotes.tree.link import look
from reconcile.remotes.tree.site import Site, problem
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.tags import note
from reconcile.remotes.tree.verbs import Attrs


def note_published(site: Site, action: Action) -> None:
    """Remember a file that nobody need have looked at since it was sent: the trust may have gone meanwhile.

    One that changed while it was read is as it was then; it is read again in the next run anyway.
    RACE: where the connection is lost before the trust is, they are forgotten: then a file
    that was cut short is found by ``--refresh``.
    """
    if site.quirks.ordered and action.path not in site.memory.otherwise:
        site.memory.unproven.append(action)


def look_again(site: Site, action: Action) -> Recipe[Outcome | None]:
    """What takes back the outcome that was told of an upload, if the file came out short."""
    there = yield from look(site, site.layout.at(action.path))
    if not isinstance(there, Attrs) or there.size == action.size:
        return None  # gone, or replaced: not by us
    assert action.new is not None
    text = f"{site.who} took {action.size:,} bytes and holds {there.size:,}; the next run sends it again"
    held = replace(action.new, size=there.size, digest=None, stamp=None, tag=None)
    held = replace(held, tag=note(there.size, there.mtime, held))
    return Outcome(action, {action.path: held}, problem(action.path, Reason.FAILED, text), again=True)
