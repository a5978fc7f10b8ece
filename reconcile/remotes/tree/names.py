"""Names that the server does not keep as they are: found out before anything is called so.

What may live here: names that are no UTF-8. A server that handles names as text turns such
bytes into others, so that two names become one, and none is what it is here. And names with
control characters, for which rclone shows signs to all sessions but the one that made them.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from reconcile.core.model import Action, Op, Outcome, Reason
from reconcile.core.paths import parent
from reconcile.remotes.tree.layout import STAGING, inside
from reconcile.remotes.tree.listing import list_directory
from reconcile.remotes.tree.run_folder import try_to_make
from reconcile.remotes.tree.site import Site, problem
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import Close, Handle, Remove, Status

_ODD = "caf\udce9"
_CHANGED = (
    "the name is not UTF-8, and would be changed there; not brought. Give it another here, or exclude it"
)
_SHOWN = (
    "the name holds control characters, and shows as another there; not brought. Give it another "
    "here, or exclude it"
)
_SIGNS = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}


def set_odd_apart(site: Site, actions: Sequence[Action]) -> Recipe[tuple[Sequence[Action], list[Outcome]]]:
    """The actions of a level without those that would give something a name that the server changes."""
    odd = [action for action in actions if _gives_a_name(action) and not action.path.isprintable()]
    if not odd:
        return actions, []
    no_text = [action for action in odd if _is_no_text(action.path)]
    controls = [action for action in odd if action.path.translate(_SIGNS) != action.path]
    if no_text and site.quirks.keeps_bytes is None:
        yield from try_bytes(site)
    if controls and site.quirks.keeps_controls is None:
        yield from _look_for_signs(site, controls)
    refused = dict.fromkeys(map(id, controls if site.quirks.keeps_controls is False else ()), _SHOWN)
    refused |= dict.fromkeys(map(id, no_text if site.quirks.keeps_bytes is False else ()), _CHANGED)
    return [action for action in actions if id(action) not in refused], [
        Outcome(action, problem=problem(action.path, Reason.BAD_NAME, refused[id(action)]))
        for action in odd
        if id(action) in refused
    ]


def _gives_a_name(action: Action) -> bool:
    """What was parked is brought to its place whatever that is called: it may be the only copy."""
    return action.op in (Op.CREATE, Op.MKDIR) or (action.op is Op.MOVE and action.home is None)


def is_changed(site: Site, text: str) -> Recipe[bool]:
    """Whether what a link holds is no UTF-8, and would be made into some."""
    if not _is_no_text(text):
        return False
    if site.quirks.keeps_bytes is None:
        yield from try_bytes(site)
    return site.quirks.keeps_bytes is False


def _is_no_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return True
    return False


def try_bytes(site: Site) -> Recipe[None]:
    """Make a file with such a name in our own folder, and see what it is called then."""
    yield from try_to_make(site, {STAGING})
    folder = site.layout.run + b"/" + STAGING
    path = inside(folder, _ODD)
    opened: Handle | Status = yield site.open_new(path, 0o600)
    if not isinstance(opened, Handle):
        return  # told of each: its name may be refused, or something else
    yield Close(opened.handle)
    listing = yield from list_directory(site, folder)
    yield Remove(path)
    if listing.failed is None:
        site.quirks = replace(site.quirks, keeps_bytes=_ODD in dict(listing.names))


def _look_for_signs(site: Site, actions: Sequence[Action]) -> Recipe[None]:
    """Whether what is to be brought is there under such a name, and not under its own."""
    wanted: dict[str, list[str]] = {}
    for action in actions:
        wanted.setdefault(parent(action.path), []).append(action.path.rpartition("/")[2])
    for directory, names in wanted.items():
        listing = yield from list_directory(site, site.layout.at(directory))
        there = {name for name, _ in listing.names}
        if any(name not in there and name.translate(_SIGNS) in there - {name} for name in names):
            site.quirks = replace(site.quirks, keeps_controls=False)
            return
