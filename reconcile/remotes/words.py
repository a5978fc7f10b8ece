"""Words of others, fit for a line of ours."""

from __future__ import annotations

MOST = 300  # characters


def one_line(text: str, most: int = MOST) -> str:
    """``text`` as part of a line: what could end the line, or command a terminal, is escaped.

    Else a server could write lines into a log that look like ours.
    """
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() else _escape(char) for char in shown)


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
