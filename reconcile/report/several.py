"""Several jobs of one command: whose words are whose, one summary, one document, one exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO, cast

from reconcile.core.errors import Exit
from reconcile.report.outlet import Outlet

# The first of them that one job ended with is what all end with.
_ORDER = (
    *(Exit.HUNG_UP, Exit.INTERRUPTED, Exit.TERMINATED),
    *(Exit.FATAL, Exit.USAGE, Exit.UNREACHABLE, Exit.REFUSED, Exit.LOCKED, Exit.PROBLEMS, Exit.CHANGES),
)
_ENDS = {
    Exit.FATAL: "failed",
    Exit.USAGE: "can't be begun",
    Exit.UNREACHABLE: "unreachable",
    Exit.REFUSED: "refused",
    Exit.LOCKED: "at work already",
    Exit.PROBLEMS: "with problems",
    Exit.HUNG_UP: "hung up",
    Exit.INTERRUPTED: "interrupted",
    Exit.TERMINATED: "terminated",
}
_WELL = {"plan": "planned", "run": "done", "verify": "as left"}


def worst(codes: Iterable[int]) -> int:
    """The exit code of several jobs."""
    ended = set(codes)
    return next((code for code in _ORDER if code in ended), Exit.OK)


def summarise_jobs(command: str, names: Sequence[str], ended: Mapping[str, int]) -> str:
    """One line: how many, and of those that did not end well which."""
    well = [name for name in names if ended.get(name) in (Exit.OK, Exit.CHANGES)]
    parts = [f"{len(well)} {_WELL.get(command, 'done')}"] if well else []
    others = [(how, [name for name in names if ended.get(name) == code]) for code, how in _ENDS.items()]
    others.append(("not begun", [name for name in names if name not in ended]))
    parts += [f"{len(such)} {how} ({', '.join(such)})" for how, such in others if such]
    return f"{len(names)} jobs: {', '.join(parts)}"


class Titled:
    """A stream that says whose words follow, once somebody says something."""

    def __init__(self, stream: TextIO, title: str) -> None:
        self._stream, self._title = stream, title

    @classmethod
    def both(cls, name: str) -> tuple[TextIO, TextIO]:
        """Stdout and stderr, each with the title of its own: they may lead to two places."""
        title = f"── {name} ──\n"
        return cast("TextIO", cls(sys.stdout, title)), cast("TextIO", cls(sys.stderr, title))

    def write(self, text: str) -> int:
        """As a stream's."""
        if self._title and text:
            self._stream.write(self._title)
            self._title = ""
        return self._stream.write(text)

    def flush(self) -> None:
        """As a stream's."""
        self._stream.flush()

    def isatty(self) -> bool:
        """As a stream's."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """As a stream's."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """As a stream's."""
        return self._stream.encoding


class Documents:
    """The documents of several jobs, which become one."""

    def __init__(self, names: Sequence[str], ended: Mapping[str, int]) -> None:
        self._names, self._ended = names, ended
        self._streams: dict[str, io.StringIO] = {}
        self._out = Outlet(sys.stdout)
        self._printed = False

    def of(self, name: str) -> TextIO:
        """Where the document of one job goes."""
        self._streams[name] = io.StringIO()
        return self._streams[name]

    def print(self, code: int) -> bool:
        """All of them as one; whether that arrived."""
        if not self._printed:
            import json  # late: it is there by now, as each of them was made by it

            self._printed = True
            jobs = [
                {"job": name} | json.loads(stream.getvalue())
                for name, stream in self._streams.items()
                if stream.getvalue()
            ]
            left = [name for name in self._names if name not in self._streams]
            status = "ok" if code in (Exit.OK, Exit.CHANGES) else "problems"
            body = {"version": 1, "status": status, "exit_code": int(code), "jobs": jobs, "not_begun": left}
            self._out.line(json.dumps(body))
        return not self._out.lost
