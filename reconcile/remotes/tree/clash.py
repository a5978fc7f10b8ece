"""Two names of ours that are one on the server: told, and neither content is lost.

What may live here: how that shows, and what becomes of an action whose name is another's there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from reconcile.core.model import Action, Op, Outcome, Reason
from reconcile.core.paths import parent
from reconcile.remotes.tree.link import look
from reconcile.remotes.tree.listing import Listing, list_directory
from reconcile.remotes.tree.site import Site, problem
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import Attrs, Status


def set_twins_apart(site: Site, actions: Iterable[Action]) -> tuple[list[Action], list[Action]]:
    """The actions, and those among them that go one by one: what one has made may be in another's way."""
    if not site.memory.twins:
        return list(actions), []
    apart: list[Action] = []
    twins: list[Action] = []
    for action in actions:
        (twins if action.path in site.memory.twins else apart).append(action)
    return apart, twins


def unless_taken(site: Site, action: Action, recipe: Recipe[Outcome]) -> Recipe[Outcome]:
    """Carry out what makes or removes a name, if it isn't that of another file or directory of ours."""
    for twin in site.memory.twins[action.path]:
        if not (yield from _is_one(site, action.path, twin)):
            continue
        recipe.close()
        one = f"{action.path!r} and {twin!r} are one name there"
        if action.op is Op.DELETE:
            gone = {action.path: None, **{f"{action.path}/{member}": None for member, _ in action.members}}
            note = problem(action.path, Reason.BAD_NAME, f"{one}; what it holds there stays")
            return Outcome(action, gone, note=note)
        text = f"{one}, and {twin!r} is there; not brought. Give one of them another name here"
        return Outcome(action, problem=problem(action.path, Reason.BAD_NAME, text))
    return (yield from recipe)


def _is_one(site: Site, path: str, twin: str) -> Recipe[bool]:
    """Whether both names show something, and the directory does not list them both."""
    here: Attrs | Status
    there: Attrs | Status
    listing: Listing
    here, there, listing = yield [
        look(site, site.layout.at(path)),
        look(site, site.layout.at(twin)),
        list_directory(site, site.layout.at(parent(path))),
    ]
    if not isinstance(here, Attrs) or not isinstance(there, Attrs):
        return False
    listed = {os.fsencode(name) for name, _ in listing.names}
    return not {os.fsencode(each.rpartition("/")[2]) for each in (path, twin)} <= listed
