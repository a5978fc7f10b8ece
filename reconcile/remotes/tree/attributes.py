"""Whether the modes and times that we set are what the server shows: tried with odd values in our own folder.

What may live here: that, and what it means for what is shown later. A file system may know even
seconds only, or local time; a server may say OK and do nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from reconcile.core.model import PERMISSIONS, Kind
from reconcile.remotes.tree.quirks import Quirks, rounded
from reconcile.remotes.tree.site import Site
from reconcile.remotes.tree.steps import Farewell, Recipe
from reconcile.remotes.tree.verbs import OK, Attrs, Close, Handle, Lstat, Remove, Set, SetHandle, Status

MODES = 0o604, 0o571  # such as no server gives by itself
TIMES = 1_234_567_891, 1_300_000_057  # seconds: odd, and neither full minutes nor tens
_STEPS = 1, 2, -2, 10, 60  # seconds; negative: rounded up, as FAT's are on Windows
_QUARTER = 900  # seconds: what time zones are multiples of
_FARTHEST = 14 * 3600  # seconds that a time zone may be off


def try_attributes(site: Site, path: bytes, opened: Handle, *, together: bool) -> Recipe[None]:
    """Set both as an upload does, and then by path. What can't be told stays unknown."""
    set_open = SetHandle(opened.handle, MODES[0], TIMES[0])
    set_closed = Set(path, MODES[1], TIMES[1])
    if together and site.quirks.ordered:
        by_handle, _, shown, by_path, shown_after = yield [
            *(set_open, Close(opened.handle), Lstat(path)),
            *(set_closed, Lstat(path)),
        ]
    else:
        by_handle = yield set_open
        yield Close(opened.handle)
        shown = yield Lstat(path)
        by_path = yield set_closed
        shown_after = yield Lstat(path)
    modes = times = True
    seen = [shown, shown_after] if by_path is OK else [shown]
    if by_handle is not OK:  # for one of them only, or by handle only
        mode_set: Status = yield Set(path, MODES[0], None)
        time_set: Status = yield Set(path, None, TIMES[0])
        modes, times = mode_set is OK, time_set is OK
        seen = [(yield Lstat(path))]
    attrs = [there for there in seen if isinstance(there, Attrs)]
    if len(attrs) == len(seen):
        before = replace(site.quirks, doubted=None)
        site.quirks = _judge(before, attrs, modes=modes, times=times)
        if site.quirks != before:
            _tell(site)
    yield Farewell(Remove(path))


def _judge(quirks: Quirks, seen: Sequence[Attrs], *, modes: bool, times: bool) -> Quirks:
    """What was learned; ``modes``, ``times``: whether they were not refused."""
    kept = all(there.mode & PERMISSIONS == mode for there, mode in zip(seen, MODES, strict=False))
    quirks = replace(quirks, takes_modes=modes, keeps_modes=modes and kept, takes_times=times)
    quirks = replace(quirks, time_step=None, time_shift=None, late_times=None)
    pairs = [(time, there.mtime) for there, time in zip(seen, TIMES, strict=False)]
    late = len(pairs) > 1 and pairs[0][0] != pairs[0][1] and pairs[1][0] == pairs[1][1]
    if not times:
        return replace(quirks, keeps_times=False)
    if late:  # what is written to an open file overtakes what is set
        return replace(quirks, keeps_times=True, late_times=True)
    fitting = _fit(pairs)
    if fitting is None:
        return replace(quirks, keeps_times=False)
    step, shift = fitting
    return replace(
        quirks,
        keeps_times=True,
        time_step=step if step != 1 else None,
        time_shift=shift or None,
    )


def _fit(pairs: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """The step and shift by which times that were set become those that were shown; None: no rule."""
    off = pairs[0][1] - pairs[0][0]
    zone = round(off / _QUARTER) * _QUARTER
    for shift in (0, zone) if abs(zone) <= _FARTHEST else (0,):
        for step in _STEPS:
            if all(shown == rounded(time, step) + shift for time, shown in pairs):
                return step, shift
    return None


def _tell(site: Site) -> None:
    """Once, as it is remembered."""
    quirks, options = site.quirks, site.options
    if (options.keeps_mode(Kind.FILE) or options.keeps_mode(Kind.DIR)) and quirks.keeps_modes is False:
        site.say_once(
            f"{site.who} does not keep the modes we set: files and directories have its own"
            if quirks.takes_modes
            else f"{site.who} does not let us set modes: files and directories get its own"
        )
    if not options.keep_times:
        return
    if quirks.keeps_times is False:
        site.say_once(
            f"{site.who} does not keep the times we set: files have its own"
            if quirks.takes_times
            else f"{site.who} does not let us set times: files get the time of their upload"
        )
    elif quirks.time_step is not None:
        site.say_once(f"{site.who} keeps times in steps of {abs(quirks.time_step)} s; they are compared so")
    elif quirks.time_shift is not None:
        site.say_once(
            f"{site.who} shows times {quirks.time_shift:+,} s off what was set; they are compared so"
        )
