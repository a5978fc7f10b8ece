"""Where in a text of TOML something stands. Slow, and asked only where something is wrong or to be shown."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from difflib import get_close_matches


def find_line(text: str, path: Sequence[str]) -> int:
    """The number of the line on which what is at ``path`` begins; 0: it is not there.

    Of all beginnings of the text the shortest that is TOML and has it ends with its last line.
    """
    lines = text.splitlines(keepends=True)
    begins = 1  # the line after the last that ended something
    for count in range(1, len(lines) + 1):
        try:
            found = tomllib.loads("".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a list, say
        if _has(found, path):
            return begins
        begins = count + 1
    return 0


def _has(found: object, path: Sequence[str]) -> bool:
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return False
        found = found[key]
    return True


def meant(name: str, known: Sequence[str]) -> str:
    """What was probably meant, for the end of a message; "" where nothing is near."""
    near = get_close_matches(name.replace("-", "_").lower(), known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
