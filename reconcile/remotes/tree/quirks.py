"""What a server does otherwise than another, as far as it was learned: by trying, never from its name.

What may live here: the facts, with the words for each, and how they are remembered. How they
are learned is in ``probe``, or beside what shows them.
"""

from __future__ import annotations

from typing import Any, TypeAlias, get_type_hints

from msgspec import Struct
from msgspec.structs import asdict, replace

from reconcile.core.model import Caps

Version: TypeAlias = list[str]  # of a server: all that it says of itself


class Quirks(Struct, frozen=True):
    """Plain values, each None until it is known: nothing relies on it, and the careful way is taken."""

    ordered: bool | None = None  # requests of a channel are carried out in the order in which they are sent
    renames: bool | None = None  # False: RENAME is denied even in our own folder: looked at again in each run
    refuses: bool | None = None  # RENAME of a file to where another is fails, and leaves both
    makes_links: bool | None = None  # SYMLINK makes one that leads where it says
    path_first: bool | None = None  # SYMLINK takes the path of the link before what it leads to
    lstat_shows: bool | None = None  # LSTAT of a link tells of the link; else of what it leads to
    readdir_shows: bool | None = None  # READDIR does
    moves_links: bool | None = None  # RENAME of a link, or over one, means the link; else what it leads to
    removes_links: bool | None = None  # REMOVE of a link means the link; else what it leads to
    handles: int | None = None  # that may be open at a time, where a server tells none and refused more
    channels: int | None = None  # that are granted at a time, where more were refused
    channels_agree: bool | None = None  # what is made over one channel is seen over another at once
    keeps_bytes: bool | None = None  # a name that is no UTF-8 is listed as it was given
    keeps_controls: bool | None = None  # False: a name with control characters is listed as another
    folds_case: bool | None = None  # a name is found whatever its case
    folds_forms: bool | None = None  # a name is found in whatever form its accents are composed
    composes: bool | None = None  # a name is listed in another such form than it was given in
    keeps_ends: bool | None = None  # a dot or a blank at the end of a name stays
    name_bytes: int | None = None  # of the longest name
    refuses_chars: str | None = None  # characters that no name may hold, or that come out as others
    truncates: bool | None = None  # OPEN makes a new file only where it is told to truncate it, too
    verbatim: bool | None = None  # READLINK tells what the link holds; else where it leads, as a whole path
    takes_modes: bool | None = None  # SETSTAT of a mode is not refused
    keeps_modes: bool | None = None  # and what was set shows
    takes_times: bool | None = None  # SETSTAT of a time is not refused
    keeps_times: bool | None = None  # and what was set shows, by rule
    takes_fsync: bool | None = None  # False: what is announced for bringing a file to the disk is refused
    time_step: int | None = None  # seconds that times are rounded down to; negative: up
    time_shift: int | None = None  # seconds that they are off then
    late_times: bool | None = None  # a time holds only where it is set after CLOSE
    doubted: bool | None = None  # something else was seen since: to be tried again, and believed until then

    def shown(self, time: int) -> int:
        """What time shows where ``time`` was set."""
        return rounded(time, self.time_step or 1) + (self.time_shift or 0)

    def within(self, caps: Caps) -> Caps:
        """Of what a tree of files may be able to do, what is not known to fail."""
        return replace(
            caps,
            links=caps.links and self.makes_links is not False,
            modes=caps.modes and self.keeps_modes is not False,
            times=caps.times and self.keeps_times is not False,
            fsync=caps.fsync and self.takes_fsync is not False,
        )

    @property
    def lacking(self) -> bool:
        """Whether something was found not to work that whoever runs the server may allow."""
        return self.channels is not None or False in (self.makes_links, self.keeps_modes, self.keeps_times)

    @property
    def untried(self) -> bool:
        """Whether what is found out by trying has not been yet."""
        if self.doubted or self.keeps_modes is None or self.keeps_times is None:
            return True
        listed = self.readdir_shows is not None or self.makes_links is False
        return self.ordered is None or self.refuses is None or self.makes_links is None or not listed


def rounded(time: int, step: int) -> int:
    """A time in steps of so many seconds, rounded down; of a negative step, up."""
    return time // step * step


def pack(quirks: Quirks, version: Version) -> object:
    """What is to be remembered."""
    known = {name: value for name, value in asdict(quirks).items() if value is not None}
    return {"version": version, "quirks": known}


def unpack(value: object, version: Version, otherwise: Quirks) -> Quirks:
    """What was remembered, if it is about the same server and as ``pack`` made it."""
    if not isinstance(value, dict) or value.get("version") != version:
        return otherwise
    known: Any = value.get("quirks")
    types = get_type_hints(Quirks)
    if not isinstance(known, dict) or not known.keys() <= types.keys():
        return otherwise
    if not all(isinstance(fact, types[name]) for name, fact in known.items()):
        return otherwise
    return Quirks(**known)


def caps_of(value: object) -> Caps:
    """What can be done by what was remembered, of whatever version of the server."""
    version = value.get("version") if isinstance(value, dict) else None
    quirks = unpack(value, version, Quirks()) if isinstance(version, list) else Quirks()
    return quirks.within(Caps())
