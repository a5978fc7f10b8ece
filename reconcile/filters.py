"""Include and exclude patterns → a predicate on paths. Pure.

The syntax is that of gitignore(5): one pattern a line, the last match wins,
``!`` takes a path back in, and nothing below an excluded directory can be taken
back in. We translate the patterns ourselves and hold the result against git in
a test: regular expressions made for text treat a newline in a name as the end
of it, and names are bytes here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from reconcile.errors import UsageError

# POSIX classes as git's wildmatch has them in the C locale.
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \\t-\\r",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


@dataclass(frozen=True, slots=True)
class _Rule:
    """One line: which names or paths it is about, and what it says of them."""

    pattern: re.Pattern[str]
    excludes: bool
    dirs_only: bool
    by_name: bool  # without a slash a pattern is about the last component, at any depth


@dataclass(frozen=True, slots=True)
class Filter:
    """Says which paths are not to be looked at. Made by :func:`make_filter`."""

    lines: tuple[str, ...] = ()
    _rules: tuple[_Rule, ...] = field(default=(), compare=False, repr=False)  # last line first
    _names: re.Pattern[str] | None = field(default=None, compare=False, repr=False)
    _paths: re.Pattern[str] | None = field(default=None, compare=False, repr=False)
    _known: dict[str, bool] = field(default_factory=lambda: {"": False}, compare=False, repr=False)

    @property
    def empty(self) -> bool:
        """Whether it excludes nothing whatever the path."""
        return not self._rules

    def excludes(self, path: str, is_dir: bool) -> bool:
        """Whether ``path``, relative to the base, or a directory above it is excluded."""
        if not self._rules:
            return False
        parent, _, name = path.rpartition("/")
        return self._excludes_directory(parent) or self._matches(path, name, is_dir)

    def _excludes_directory(self, path: str) -> bool:
        """The same for a directory, remembered: every file in it asks."""
        unknown = []
        while (excluded := self._known.get(path)) is None:
            unknown.append(path)
            path = path.rpartition("/")[0]
        for below in reversed(unknown):
            excluded = excluded or self._matches(below, below.rpartition("/")[2], True)
            self._known[below] = excluded
        return excluded

    def _matches(self, path: str, name: str, is_dir: bool) -> bool:
        # Most paths match no line at all: two combined patterns tell that without going through the lines.
        if not (self._names and self._names.fullmatch(name)) and not (
            self._paths and self._paths.fullmatch(path)
        ):
            return False
        for rule in self._rules:
            if (is_dir or not rule.dirs_only) and rule.pattern.fullmatch(name if rule.by_name else path):
                return rule.excludes
        return False


def make_filter(lines: Sequence[str]) -> Filter:
    """Compile gitignore lines, in order. Raises UsageError for a line that could never match."""
    rules = [rule for line in lines if (rule := _compile(line)) is not None]
    return Filter(
        lines=tuple(lines),
        _rules=tuple(reversed(rules)),
        _names=_join([rule for rule in rules if rule.by_name]),
        _paths=_join([rule for rule in rules if not rule.by_name]),
    )


def _join(rules: Sequence[_Rule]) -> re.Pattern[str] | None:
    """One pattern that matches what any of the rules matches."""
    if not rules:
        return None
    return re.compile("|".join(f"(?:{rule.pattern.pattern})" for rule in rules), re.DOTALL)


def _compile(line: str) -> _Rule | None:
    """One line → its rule; None for comments and blank lines."""
    text = _strip_spaces(line)
    if not text or text.startswith("#"):
        return None
    excludes = not text.startswith("!")
    text = text if excludes else text[1:]
    dirs_only = text.endswith("/")
    text = text[:-1] if dirs_only else text
    by_name = "/" not in text
    text = text.removeprefix("/")
    if not text:
        raise UsageError(f"The filter pattern {line!r} names nothing. Remove it, or write what it is about.")
    try:
        pattern = re.compile(_translate(text), re.DOTALL)
    except (ValueError, re.error) as error:
        raise UsageError(f"The filter pattern {line!r} can't be understood: {error}.") from None
    return _Rule(pattern, excludes, dirs_only, by_name)


def _strip_spaces(line: str) -> str:
    """Trailing spaces don't count unless the first of them is escaped."""
    text = line.rstrip(" ")
    escapes = len(text) - len(text.rstrip("\\"))
    return text + " " if escapes % 2 and len(text) < len(line) else text


def _translate(text: str) -> str:
    """A glob in git's sense → a regular expression for the whole name or path."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char == "*":
            end = at
            while text[end : end + 1] == "*":
                end += 1
            # Two stars cross slashes only where they stand alone between them.
            alone = end - at > 1 and text[at - 1 : at] in ("", "/") and text[end : end + 1] in ("", "/")
            if not alone:
                parts.append("[^/]*")
            elif end == len(text):
                parts.append(".*")
            else:
                parts.append("(?:.*/)?")
                end += 1
            at = end
        elif char == "?":
            parts.append("[^/]")
            at += 1
        elif char == "[":
            piece, at = _translate_set(text, at + 1)
            parts.append(piece)
        elif char == "\\":
            if at + 1 == len(text):
                raise ValueError("it ends in a lone backslash")
            parts.append(re.escape(text[at + 1]))
            at += 2
        else:
            parts.append(re.escape(char))
            at += 1
    return "".join(parts)


def _translate_set(text: str, at: int) -> tuple[str, int]:
    """The set that opens before ``at`` → a regular expression, and where the set ends. Never matches "/"."""
    negated = text[at : at + 1] in ("!", "^")
    at += negated
    items: list[str] = []
    first = True
    while first or text[at : at + 1] != "]":
        first = False
        if text.startswith("[:", at) and (end := text.find(":]", at)) > 0:
            name = text[at + 2 : end]
            if name not in _CLASSES:
                raise ValueError(f"there is no character class [:{name}:]")
            items.append(_CLASSES[name])
            at = end + 2
            continue
        low, at = _set_char(text, at)
        if text[at : at + 1] == "-" and text[at + 1 : at + 2] not in ("", "]"):
            high, at = _set_char(text, at + 1)
            if low <= high:  # else the range is empty, as in git
                items.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            items.append(re.escape(low))
    body = "".join(items)
    if negated:
        return f"[^/{body}]", at + 1
    return (f"(?!/)[{body}]" if body else "(?!)"), at + 1


def _set_char(text: str, at: int) -> tuple[str, int]:
    """One character of a set, perhaps escaped, and where the next begins."""
    if text[at : at + 1] == "\\":
        at += 1
    if at >= len(text):
        raise ValueError("it has no closing bracket")
    return text[at], at + 1
