"""Numbers with their units, and some of many names, as people read them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 3  # of many


def show_some(names: Sequence[str]) -> str:
    """The first of them, and how many there are beside: ``'a', 'b', 'c' and 12 more``."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more


def show_count(count: int, one: str, many: str | None = None) -> str:
    """``1 file``, ``1,204 files``; ``many`` where that is not ``one`` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def show_bytes(count: int) -> str:
    """Decimal units, three digits: ``512 B``, ``4.1 kB``, ``12.3 MB``, ``120 MB``."""
    if count < 1000:
        return f"{count} B"
    units = ["kB", "MB", "GB", "TB", "PB"]
    size = count / 1000
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        units.pop(0)
    digits = 0 if size >= 99.95 else 1
    return f"{size:.{digits}f} {units[0]}"


def show_duration(seconds: float) -> str:
    """``0.3 s``, ``42.0 s``, ``3 min 07 s``, ``2 h 05 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def show_moment(seconds: float) -> str:
    """Of what is short: ``8 µs``, ``0.21 ms``, ``34 ms``, ``1.2 s``."""
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    if seconds < 0.0000995:
        return f"{seconds * 1_000_000:.0f} µs"
    digits = 2 if seconds < 0.000995 else 1 if seconds < 0.00995 else 0
    return f"{seconds * 1000:.{digits}f} ms"
