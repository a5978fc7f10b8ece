"""Whom to tell that jobs were not even begun: of a file in which something is wrong, if it is TOML at all."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconcile.core.errors import ReconcileError
from reconcile.jobs.file import fill_in, find_file, read_text
from reconcile.jobs.settings import BadValueError

_KEY = "ping"


def find_pings(names: Sequence[str], config: str | None) -> list[str]:
    """The URLs of the jobs of these names, or of all if there are none, in the file that holds.

    ``config`` names that, else it is found. None of a file that somebody else may have written.
    """
    try:
        path = find_file(config)
        document = {} if path is None else tomllib.loads(read_text(path))
    except (ReconcileError, tomllib.TOMLDecodeError):
        return []
    jobs = document.get("jobs")
    if not isinstance(jobs, dict):
        return []
    chosen = [name for name in jobs if name in names] if names else list(jobs)
    found = (_ping_of(name, jobs, document.get("defaults")) for name in chosen)
    return list(dict.fromkeys(url for url in found if url))


def _ping_of(name: str, jobs: Mapping[str, Any], defaults: object) -> str:
    """As ``file`` has it: the job's own, that of what it inherits from, that of all."""
    for table in (*_line_of(name, jobs), defaults):
        if isinstance(table, dict) and isinstance(url := table.get(_KEY), str):
            try:
                return fill_in(url)
            except BadValueError:
                return ""
    return ""


def _line_of(name: str, jobs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    seen: set[str] = set()
    while name not in seen and isinstance(table := jobs.get(name), dict):
        seen.add(name)
        yield table
        name = str(table.get("inherit"))
