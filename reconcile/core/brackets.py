"""``[a-z]`` of gitignore patterns → regular expressions, as git's wildmatch reads them. Pure.

pathspec reads some of them otherwise, and breaks on others.
"""

from __future__ import annotations

import re

_CLASSES = {  # ASCII, as git has them
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\t-\\r ",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
NEWLINE = "\ufdd0"  # in its place: to a regular expression, a newline is the end of the line
_FIRST_SPARE = 0xE000  # characters for private use


def take_out(line: str) -> tuple[str, str, list[str]]:
    """The line with a character that is not in it for each bracket; that character; the regular expressions.

    So with blanks that are none to git, and with more stars than two, which are two.

    Raises ValueError for brackets that git takes to match nothing.
    """
    spare = next(
        char for char in map(chr, range(_FIRST_SPARE, _FIRST_SPARE + len(line) + 1)) if char not in line
    )
    plain: list[str] = []
    found: list[str] = []
    at = 0
    while at < len(line):
        if line[at] == "[":
            expression, at = _read(line, at + 1)
            found.append(expression)
            plain.append(spare)
            continue
        end = at + (2 if line[at] == "\\" else 1)
        if line[at] == "*":
            while line[end : end + 1] == "*":
                end += 1
            plain.append("**" if end - at > 1 else "*")
        elif line[end - 1 : end].isspace() and line[end - 1] != " ":
            found.append(re.escape(line[end - 1].replace("\n", NEWLINE)))
            plain.append(spare)
        else:
            plain.append(line[at:end])
        at = end
    return "".join(plain), spare, found


def put_back(pattern: re.Pattern[str], spare: str, found: list[str]) -> re.Pattern[str]:
    """The pattern with the expressions in the places that were kept for them."""
    if not found:
        return pattern
    expressions = iter(found)
    return re.compile(re.sub(spare, lambda _: next(expressions), pattern.pattern))


def _read(line: str, at: int) -> tuple[str, int]:
    """One bracket from behind its ``[``, and where it ends."""
    start, members, before = at, "", ""
    negated = line[at : at + 1] in ("!", "^")
    at += negated
    while not members or line[at : at + 1] != "]":  # as the first member it is one
        member, at, before = _member(line, at, before)
        members += member
    if "/" in line[start:at]:
        raise ValueError("brackets never match a slash")
    return (f"[^/{members}]" if negated else f"(?!/)[{members}]"), at + 1


def _member(line: str, at: int, before: str) -> tuple[str, int, str]:
    """Part of a set, where the next begins, and what may begin a range; ``before`` is that of the last."""
    if before and line[at : at + 1] == "-" and line[at + 1 : at + 2] != "]":
        last, end = _char(line, at + 1)
        return (f"{re.escape(before)}-{re.escape(last)}" if before <= last else ""), end, ""
    if line.startswith("[:", at):
        name, colon, _ = line[at + 2 :].partition(":]")
        if not colon or name not in _CLASSES:
            raise ValueError(f"the named classes are {', '.join(_CLASSES)}, such as in [[:digit:]]")
        return _CLASSES[name], at + len(name) + 4, ""
    char, end = _char(line, at)
    return re.escape(char), end, char


def _char(line: str, at: int) -> tuple[str, int]:
    at += line[at : at + 1] == "\\"
    if at >= len(line):
        raise ValueError("a bracket is not closed; write \\[ for the character itself")
    return line[at], at + 1
