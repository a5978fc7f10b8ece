"""Include and exclude patterns → a predicate on paths. Pure.

The syntax is that of gitignore(5), as pathspec reads it: one pattern a line, the
last match wins, ``!`` takes a path back in, and nothing below an excluded
directory can be taken back in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconcile.errors import UsageError

if TYPE_CHECKING:  # slow to import, and most runs have no patterns
    from pathspec import GitIgnoreSpec


@dataclass(frozen=True, slots=True)
class Filter:
    """Says which paths are not to be looked at. Made by :func:`make_filter`."""

    lines: tuple[str, ...] = ()
    _spec: GitIgnoreSpec | None = field(default=None, compare=False, repr=False)
    _known: dict[str, bool] = field(default_factory=lambda: {"": False}, compare=False, repr=False)

    @property
    def empty(self) -> bool:
        """Whether it excludes nothing whatever the path."""
        return self._spec is None

    def excludes(self, path: str, is_dir: bool) -> bool:
        """Whether ``path``, relative to the base, or a directory above it is excluded."""
        if self._spec is None:
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
        assert self._spec is not None
        # A pattern is a regular expression for text there, in which a newline ends the line.
        return self._spec.match_file(path.replace("\n", "\ufdd0"))


def make_filter(lines: Sequence[str]) -> Filter:
    """Compile gitignore lines, in order. Raises UsageError for a line that is no pattern."""
    patterns = [line for line in lines if line.strip(" ") and not line.startswith("#")]
    if not patterns:
        return Filter(lines=tuple(lines))
    from pathspec import GitIgnoreSpec

    for line in patterns:
        if "[[" in line:
            raise _refusal(line, "named classes such as [[:digit:]] would be taken for something else")
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError as error:
            raise _refusal(line, str(error)) from None
    return Filter(tuple(lines), GitIgnoreSpec.from_lines(map(_spare_directory, patterns)))


def _refusal(line: str, why: str) -> UsageError:
    return UsageError(f"The filter pattern {line!r} can't be understood: {why}")


def _spare_directory(line: str) -> str:
    """``x/**`` is all that is in x, and not x itself, which pathspec takes it for: ``x/*`` says the same."""
    return line[:-1] if line.endswith("/**") and line != "/**" else line
