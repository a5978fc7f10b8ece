"""How a line of an SSH config is spelled, in all the ways that OpenSSH takes: ssh_config(5). Pure.

What may live here: words, quotes, comments, patterns. What the words mean is none of its business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

BLANKS = " \t\r\n"
_END_OF_WORD = re.compile(r'[ \t\r\n"=]')


def next_word(text: str) -> tuple[str, str]:
    """The first word, and what is left: a keyword, or a word of Match. One = may stand between.

    Raises ValueError if a quote is not closed.
    """
    found = _END_OF_WORD.search(text)
    if found is None:
        return text, ""
    at = found.start()
    if text[at] == '"':
        end = text.find('"', at + 1)
        if end < 0:
            raise ValueError("a quote is not closed")
        return text[:at] + text[at + 1 : end], text[end + 1 :].lstrip(BLANKS)
    rest = text[at + 1 :].lstrip(BLANKS)
    if text[at] != "=" and rest.startswith("="):
        rest = rest[1:].lstrip(BLANKS)
    return text[:at], rest


def split_line(line: str) -> tuple[str, str] | None:
    """The keyword, and what stands behind it. None: a comment, or nothing at all. Raises ValueError."""
    text = line.partition("\0")[0].rstrip(BLANKS + "\f").lstrip(BLANKS)
    if not text or text.startswith("#"):
        return None
    keyword, rest = next_word(text)
    return keyword, rest


def words_of(text: str) -> list[str]:
    """The arguments without their quotes, up to a comment. Raises ValueError if a quote is not closed."""
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in " \t":
            at += 1
            continue
        if text[at] == "#":
            break
        word, quote = "", ""
        while at < len(text) and (quote or text[at] not in " \t"):
            char = text[at]
            if char == "\\" and text[at + 1 : at + 2] in ('"', "'", "\\", *([] if quote else [" "])):
                at += 1
                word += text[at]
            elif char == quote or (not quote and char in "\"'"):
                quote = "" if quote else char
            else:
                word += char
            at += 1
        if quote:
            raise ValueError("a quote is not closed")
        words.append(word)
    return words


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns says yes, and none that begins with ! says no."""
    said_yes = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        if _glob(pattern[negated:], name):
            if negated:
                return False
            said_yes = True
    return said_yes


def _glob(pattern: str, name: str) -> bool:
    # fnmatch won't do: to it brackets, as of [host]:port, are a set of characters.
    if "*" not in pattern and "?" not in pattern:
        return pattern == name
    pattern = re.sub(r"\*+", "*", pattern)  # which else would take its time
    expression = "".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in pattern)
    return re.fullmatch(expression, name, re.DOTALL) is not None


def seconds(text: str) -> int | None:
    """A time as sshd_config(5) spells it, 1h30m, in seconds. None: it is none."""
    if not re.fullmatch(r"([0-9]+[smhdw]?)+", text, re.IGNORECASE):
        return None
    units = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    return sum(
        int(count) * units[unit.lower()] for count, unit in re.findall(r"([0-9]+)([smhdwSMHDW]?)", text)
    )
