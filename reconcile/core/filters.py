"""Include and exclude patterns → a predicate on paths. Pure.

The syntax is that of gitignore(5), as pathspec reads it: one pattern a line, the
last match wins, ``!`` takes a path back in, and nothing below an excluded
directory can be taken back in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from msgspec import Struct, field

from reconcile.core.brackets import NEWLINE, put_back, take_out
from reconcile.core.errors import UsageError

_Rule = tuple[re.Pattern[str], bool]  # what matches it is excluded, or not
# No name is empty, so git matches nothing by these, nor by two slashes in a row. pathspec takes some of them
# for every directory.
_NOTHING = ("", "/", "!/")


class Filter(Struct, frozen=True, eq=False):
    """Says which paths are not to be looked at. Made by :func:`make_filter`."""

    lines: tuple[str, ...] = ()
    own: int = 0  # how many of them, at the end, are about what is ours
    _rules: Sequence[_Rule] = ()  # the last one first
    _known: dict[str, bool] = field(default_factory=lambda: {"": False})

    @property
    def empty(self) -> bool:
        """Whether it excludes nothing whatever the path."""
        return not self._rules

    def excludes(self, path: str, is_dir: bool) -> bool:
        """Whether ``path``, relative to the base, or a directory above it is excluded."""
        if not self._rules:
            return False
        if is_dir:
            return self._excludes_directory(path)
        return self._excludes_directory(path.rpartition("/")[0]) or self._matches(path)

    def _excludes_directory(self, path: str) -> bool:
        """The same for a directory, remembered: every file in it asks."""
        unknown = []
        while (excluded := self._known.get(path)) is None:
            unknown.append(path)
            path = path.rpartition("/")[0]
        for below in reversed(unknown):
            excluded = excluded or self._matches(f"{below}/")
            self._known[below] = excluded
        return excluded

    def _matches(self, path: str) -> bool:
        """Whether the last pattern for ``path`` itself excludes it; a directory's ends in a slash."""
        path = path.replace("\n", NEWLINE)
        for pattern, excludes in self._rules:
            found = pattern.search(path)
            # A group is a slash that ends a name: if more follows, the pattern is for a directory above.
            if found and (found.lastindex is None or found.end(found.lastindex) == len(path)):
                return excludes
        return False


def make_filter(lines: Sequence[str], own: Sequence[str] = ()) -> Filter:
    """Compile gitignore lines, in order, the last of them ``own``. Raises UsageError for one that is no
    pattern."""
    lines = (*lines, *own)
    rules = [rule for line in lines if (rule := _compile(line)) is not None]
    return Filter(lines, len(own), rules[::-1])


def check_patterns(lines: Sequence[str], file: str) -> None:
    """Raises UsageError for a line that is no pattern, naming the file and the number of the line."""
    for number, line in enumerate(lines, 1):
        try:
            _compile(line)
        except UsageError as error:
            raise UsageError(f"{file}, line {number}: {error}") from None


@cache
def _compile(line: str) -> _Rule | None:
    """None: a comment, or what matches nothing."""
    if line.startswith("#") or line.rstrip(" ") in _NOTHING:
        return None
    from pathspec import GitIgnoreSpec

    try:
        plain, spare, brackets = take_out(line)
        if "//" in plain:
            return None
        [pattern] = GitIgnoreSpec.from_lines([_spare_directory(plain)]).patterns
    except ValueError as error:
        raise _refusal(line, str(error)) from None
    assert pattern.regex is not None
    assert pattern.include is not None
    return put_back(_narrow(pattern.regex), spare, brackets), pattern.include


def _refusal(line: str, why: str) -> UsageError:
    return UsageError(f"The filter pattern {line!r} can't be understood: {why}")


def _spare_directory(line: str) -> str:
    """``x/**`` is all that is in x, and not x itself, which pathspec takes it for; so with ``x/**/``."""
    if line.endswith("/**") and line != "/**":
        return f"{line}/*"
    return f"{line}*/" if line.endswith("/**/") and line != "/**/" else line


def _narrow(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """``*/`` becomes a search for any slash; the one that counts is at the end."""
    any_slash = pattern.search("/")
    return re.compile("(/)$") if any_slash and any_slash.lastindex else pattern
