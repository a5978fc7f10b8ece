"""``reconcile.toml``, as a person would write it: a new one with what is good to know, or one more job in it.

What is there already is left as it is, comments and all: a job is only ever added at the end.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from typing import Any

import click

from reconcile.core.errors import ReconcileError, UsageError
from reconcile.home import absolute, in_home
from reconcile.jobs.file import SNAPSHOTS, JobFile, read_file, show_path
from reconcile.jobs.settings import settings_of

_INTRODUCTION = """\
# What reconcile sends where. `reconcile plan` shows what would be done, `reconcile run` does it, for all jobs
# or for those that are named. Every option of `reconcile run` may stand here by its long name, max_delete for
# --max-delete: see `reconcile run --help`. What is in force: `reconcile config show`.

[defaults]
"""
_HINTS = (  # key, value, what it is good for
    ("max_delete", "50%", "refuse to delete more than that at once"),
    ("keep", "30d", "for how long what others wrote there is kept"),
    ("on_drift", "backup", "or skip, overwrite: where DEST holds what we did not put there"),
    ("ping", "https://hc-ping.com/${PING_KEY}/name", "told of each start, success and failure"),
    ("on_failure", "mail -s failed me@example.org", "run where a job fails, with what it said"),
)
_JOB_HINTS = (
    ("mirror", True, "delete there what was deleted here"),
    ("exclude", ("*.tmp", "node_modules/"), "as in .gitignore"),
)


def spell(value: Any) -> str:
    """A value as the file has it: nothing in it acts on a terminal."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(spell, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}"
    spelled = json.dumps(str(value).encode("utf-8", "backslashreplace").decode(), ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in spelled)


def spell_text(text: str) -> str:
    """The same for a string that was typed, and means what it says. Raises UsageError if it is no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{show_path(text)} is no UTF-8, and can't be written into a file of TOML") from None
    return spell(text.replace("${", "$${"))


def spell_path(path: str, folder: str, *, plain: bool = False) -> str:
    """A path of this machine, as a file in ``folder`` names it best; ``plain``: with no ``./`` before it."""
    full = absolute(in_home(path) or path)
    if full == folder or full.startswith(f"{folder.rstrip('/')}/"):
        inside = os.path.relpath(full, folder)
        return inside if plain or inside == "." else f"./{inside}"
    home = in_home("~")
    return f"~{full.removeprefix(home)}" if home and full.startswith(f"{home}/") else full


def add_job(
    path: str, command: click.Command, name: str, source: str, target: str, said: Mapping[str, Any]
) -> str:
    """Write a job into the file at ``path``, which is made if it is not there; the text that was added.

    ``said``: values by key, in order. Raises UsageError where that would make no file that can be read, and
    leaves all as it was.
    """
    there = os.path.lexists(path)
    before: JobFile | None = read_file(path, command) if there else None
    if before is not None and name in before.tables:
        raise UsageError(
            f"there is a job {name!r} in {show_path(path)} already; take another --name, or change it"
        )
    known = settings_of(command)
    lines = [f"[jobs.{name}]", f"source = {source}", f"target = {target}"]
    lines += [f"{key} = {text}" for key, text in said.items()]
    lines += _hint([each for each in _JOB_HINTS if each[0] not in said], known)
    job = "\n".join(lines) + "\n"
    head = before.text.rstrip("\n") if before is not None else _INTRODUCTION + "\n".join(_hint(_HINTS, known))
    _put(path, f"{head}\n\n{job}" if head else job, command)
    return job


def _hint(hints: Any, known: Mapping[str, click.Option]) -> list[str]:
    texts = [(f"# {key} = {spell(value)}", why) for key, value, why in hints if key in known]
    width = max((len(text) for text, _ in texts), default=0)
    return [f"{text:{width}}  # {why}" for text, why in texts]


def _put(path: str, text: str, command: click.Command) -> None:
    """In the place of what is there, once it was read and found right."""
    real = os.path.realpath(path)
    mode = os.stat(real).st_mode & 0o777 if os.path.exists(real) else 0o644
    try:
        os.makedirs(os.path.dirname(real), mode=0o700, exist_ok=True)
        fd, fresh = tempfile.mkstemp(prefix=".reconcile-", suffix=".toml", dir=os.path.dirname(real))
        try:
            with open(fd, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(fd, mode)
                file.flush()
                os.fsync(fd)
            read_file(fresh, command)
            os.replace(fresh, real)
        except BaseException:
            os.unlink(fresh)
            raise
    except OSError as error:
        raise ReconcileError(
            f"{show_path(path)} can't be written: {error.strerror}. Nothing was done."
        ) from error


def ignore_snapshots(folder: str) -> str | None:
    """Have git leave alone what is kept beside the file, if git is used there; the file that says so now."""
    path = os.path.join(folder, ".gitignore")
    above = folder
    while not (os.path.lexists(path) or os.path.lexists(os.path.join(above, ".git"))):
        if above == os.path.dirname(above):
            return None
        above = os.path.dirname(above)
    try:
        with open(path, "a+", encoding="utf-8", errors="surrogateescape") as file:
            file.seek(0)
            text = file.read()
            if re.search(rf"(?m)^/?{SNAPSHOTS}/?\s*$", text):
                return None
            file.write(f"{'' if text.endswith(chr(10)) or not text else chr(10)}{SNAPSHOTS}/\n")
    except OSError:
        return None  # it is in nobody's way
    return path
