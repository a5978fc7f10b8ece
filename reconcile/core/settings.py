"""What a snapshot was made under, as it records that itself: read, and told where it is otherwise now. Pure.

Where a laptop and a CI job bring to one DEST, or a flag was forgotten, each undoes what the other has set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from reconcile.core.filters import Filter
from reconcile.core.job import Options, Perms
from reconcile.core.model import Kind
from reconcile.core.units import show_some

_WORDS = {
    "True": "keep",
    "False": "ignore",
    "(True, False)": "keep of files only",
    "(False, True)": "keep of directories only",
}


class Settings(Struct, frozen=True):
    """What is told of, in the words of the flags."""

    times: str
    perms: str
    links: str
    chmod: str
    lines: Sequence[str]  # of filters, our own left out


def fingerprint(options: Options, filter: Filter) -> str:
    """Names the options under which equal bytes of a directory mean that nothing is to be done."""
    files, dirs = options.keeps_mode(Kind.FILE), options.keeps_mode(Kind.DIR)
    modes = files if files is dirs else (files, dirs)
    kept = (modes, options.keep_times, options.links, options.ignore_inode, options.ignore_ctime)
    more: dict[str, object] = {"own": filter.own} if filter.own else {}
    if options.chmod:
        more["chmod"] = options.chmod.text
    if Perms.REMOTE in (options.file_perms, options.dir_perms):
        more["perms"] = Perms.REMOTE.value
    return repr((*map(str, kept), filter.lines, *([more] if more else [])))


def tell_changed(before: str, now: str, asked: str) -> str | None:
    """What is set otherwise than in the run before; None: nothing, or it is not known. Of each its
    fingerprint; ``asked``: of what was typed, where DEST does not do ``now`` all of it."""
    if not before or before == now:
        return None
    old, new, wish = _parse(before), _parse(now), _parse(asked)
    if old is None or new is None or wish is None:
        return None
    told = [*_changed_flags(old, new, wish), *_changed_filters(old, new)]
    return f"the run before this had other settings: {'; '.join(told)}" if told else None


def _changed_flags(old: Settings, new: Settings, wish: Settings) -> Iterator[str]:
    for name in ("times", "perms", "links", "chmod"):
        was, now, asked = (getattr(each, name) for each in (old, new, wish))
        if was not in (now, asked):
            yield f"--{name} {was}, now {asked or 'none'}" if was else f"no --{name}, now {asked}"


def _changed_filters(old: Settings, new: Settings) -> Iterator[str]:
    gone = [line for line in old.lines if line not in new.lines]
    come = [line for line in new.lines if line not in old.lines]
    if gone:
        yield f"without {_patterns(gone)}"
    if come:
        yield f"with {_patterns(come)}"
    if not gone and not come and old.lines != new.lines:
        yield "its patterns in another order"


def _patterns(lines: Sequence[str]) -> str:
    return f"the pattern{'s' if len(lines) > 1 else ''} {show_some(lines)}"


def _parse(recorded: str) -> Settings | None:
    """None for what no version of us has recorded."""
    from ast import literal_eval  # late: a run that is set as the one before needs none of it

    try:
        modes, times, links, _, _, lines, *more = literal_eval(recorded)
        also = dict(*more)
        chosen = lines[: len(lines) - also.get("own", 0)]
        perms = also.get("perms") or _WORDS[modes]
        filters = [line for line in chosen if line.strip() and not line.startswith("#")]
        return Settings(_WORDS[times], perms, links, also.get("chmod", ""), filters)
    except (ValueError, TypeError, LookupError, AttributeError, SyntaxError, MemoryError, RecursionError):
        return None
