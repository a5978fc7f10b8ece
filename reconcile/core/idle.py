"""Patterns that can never match, or have no effect: told, since who wrote them thinks that they do. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from reconcile.core.filters import Filter

_SPECIAL = frozenset("*?[\\")


def idle_patterns(chosen: Filter, sources: Iterable[str], exists: Callable[[str], bool]) -> Iterator[str]:
    """For each such line of the filter, what is wrong with it.

    ``sources`` are the paths of SRC, as given and where it leads to; ``exists`` says whether
    there is something of that name at its top.
    """
    for number, line in enumerate(chosen.lines):
        pattern = line.removeprefix("!").rstrip(" ")
        if not pattern or line.startswith("#"):
            continue
        why = next(filter(None, (_out_of_reach(pattern, source, exists) for source in sources)), None)
        if why is None and line.startswith("!"):
            why = _needless(chosen.lines[:number]) or _below_excluded(pattern, chosen)
        if why is not None:
            yield f"the pattern {line!r} has no effect: {why}"


def _out_of_reach(pattern: str, source: str, exists: Callable[[str], bool]) -> str | None:
    """Why there is no such path."""
    names = pattern.strip("/").split("/")
    if {".", ".."} & set(names):
        return f"no path holds '.' or '..'; {_write(names)}"
    if names[0] == "~" and len(names) > 1:
        return f"~ is not your home folder there; {_write(names)}"
    above = source.strip("/").split("/")
    if "/" not in pattern.rstrip("/") or exists(names[0]):  # else it is a name at any depth, or is there
        return None
    if names[: len(above)] == above:
        return f"paths are relative to SRC; {_write(names[len(above) :])}"
    if names[0] == above[-1]:
        return f"paths are relative to SRC, and there is no {names[0]!r} in it; {_write(names[1:])}"
    return None


def _write(names: Sequence[str]) -> str:
    """What may have been meant."""
    left = [name for name in names if name not in (".", "..", "~")]
    return f"write {'/' + '/'.join(left)!r}" if left else "write the path below SRC"


def _needless(before: Sequence[str]) -> str | None:
    """Why there is nothing to take back in."""
    if any(line.strip() and not line.startswith(("#", "!")) for line in before):
        return None
    return "it takes back what an earlier pattern excludes, and there is none; '*' would exclude all else"


def _below_excluded(pattern: str, chosen: Filter) -> str | None:
    """Why it comes too late: nothing below an excluded folder is looked at."""
    names = pattern.strip("/").split("/")
    if "/" not in pattern.rstrip("/"):
        return None
    for depth in range(1, len(names)):
        if _SPECIAL & set(names[depth - 1]):
            return None
        folder = "/".join(names[:depth])
        if chosen.excludes(folder, True):
            return (
                f"the folder {folder!r} is excluded with all that is in it; exclude {folder + '/*'!r} instead"
            )
    return None
