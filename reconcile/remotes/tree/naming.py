"""What a server makes of names: tried in our own folder, with such as some file system refuses or changes.

What may live here: recipes that learn it. A run asks only where a name of its own is in question
(``names``, ``clash``); whoever wants to know beforehand asks all of it.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence

from msgspec.structs import replace

from reconcile.remotes.tree.layout import STAGING, inside
from reconcile.remotes.tree.listing import batches, list_directory
from reconcile.remotes.tree.names import try_bytes
from reconcile.remotes.tree.site import Site
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Attrs, Close, Handle, Lstat, Mkdir, Status

LONGEST = 255  # bytes of a name, on nearly every file system
CHARACTERS = ':?*"<>|\\\n'  # what Windows refuses, or rclone shows as another; the slash is nobody's
BEYOND_ASCII = "\N{LATIN SMALL LETTER E WITH ACUTE}"
_USUAL = "usual"
_CASES = "Case", "cASE"
_FORMS = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "nai\N{COMBINING DIAERESIS}ve"  # one composed, one not
_ENDS = "dot.", "blank "
_CUT = 143, 144  # bytes: of what eCryptfs takes, as NAS have it, the last and the first that is too long
_FEW = 4  # files that are open at a time


def try_names(site: Site) -> Recipe[None]:
    """Learn all of it. What could not be tried stays unknown."""
    folder = site.layout.fresh(STAGING)
    if (yield Mkdir(folder, 0o700)) is not OK:
        return
    odd = {character: f"odd{character}odd" for character in CHARACTERS + BEYOND_ASCII}
    names = [_USUAL, _CASES[0], *_FORMS, *_ENDS, *odd.values()]
    taken = yield from _make(site, folder, names)
    if _USUAL not in taken:
        return
    listing = yield from list_directory(site, folder)
    if listing.failed is not None:
        return
    listed = {name for name, _ in listing.names}
    forms = [_other_form(name) for name in _FORMS]
    other_case, *other_forms = yield [Lstat(inside(folder, name)) for name in (_CASES[1], *forms)]
    quirks = replace(
        site.quirks,
        folds_case=isinstance(other_case, Attrs),
        folds_forms=all(isinstance(there, Attrs) for there in other_forms),
        composes=any(form not in listed and _other_form(form) in listed for form in _FORMS),
        keeps_ends=listed >= set(_ENDS),
        refuses_chars="".join(
            character for character, name in odd.items() if listed.isdisjoint({name, _other_form(name)})
        ),
    )
    site.quirks = replace(quirks, name_bytes=(yield from _measure(site, folder)))
    yield from try_bytes(site)


def look_for_signs(site: Site) -> Recipe[None]:
    """Whether a name with a control character is another over another channel, as rclone shows it."""
    path = site.layout.fresh(STAGING) + b"\n"
    if (yield from _make_one(site, path)):
        there = yield Lstat(path, 1)
        agree = site.quirks.ordered or site.quirks.channels_agree
        if agree:
            site.quirks = replace(site.quirks, keeps_controls=isinstance(there, Attrs))


def _other_form(name: str) -> str:
    """The same, composed if it is not, else taken apart."""
    composed = unicodedata.normalize("NFC", name)
    return composed if composed != name else unicodedata.normalize("NFD", name)


def _make(site: Site, folder: bytes, names: Sequence[str]) -> Recipe[set[str]]:
    """Make files of these names; returns those that were taken."""
    taken: set[str] = set()
    for some in batches(names, site.at_most(_FEW)):
        made: list[bool] = yield [_make_one(site, inside(folder, name)) for name in some]
        taken.update(name for name, done in zip(some, made, strict=True) if done)
    return taken


def _make_one(site: Site, path: bytes) -> Recipe[bool]:
    opened: Handle | Status = yield site.open_new(path, 0o600)
    if not isinstance(opened, Handle):
        return False
    yield Close(opened.handle)
    return isinstance((yield Lstat(path)), Attrs)


def _measure(site: Site, folder: bytes) -> Recipe[int]:
    """How many bytes a name may have, as far as it matters: at most ``LONGEST``."""
    fits, above = len(os.fsencode(_USUAL)), LONGEST + 1
    likely = [LONGEST, *_CUT]
    while above - fits > 1:
        size = likely.pop(0) if likely else (fits + above) // 2
        if not fits < size < above:
            continue
        if (yield from _takes(site, folder, str(size).ljust(size, "n"))):
            fits = size
        else:
            above = size
    return fits


def _takes(site: Site, folder: bytes, name: str) -> Recipe[bool]:
    """Whether a file can be made that is listed by this name: some servers cut what is too long."""
    if not (yield from _make_one(site, inside(folder, name))):
        return False
    listing = yield from list_directory(site, folder)
    return name in {each for each, _ in listing.names}
