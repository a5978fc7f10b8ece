"""``reconcile.toml``: found, checked whole, and read.

    [defaults]                      options of `run` by their long names, for all jobs
    max_delete = "20%"

    [jobs.photos]                   and for one, with what it sends where
    source = "~/photos"
    target = "me@nas:photos"
    inherit = "other"               what that one says, unless it is said here

A file is found like ``pyproject.toml``, from the current folder upwards, else in the user's config folder.
It may name commands that are run, so it has to be ours or root's, and nobody else's to write to.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import click
from msgspec import Struct

from reconcile.config import check_name
from reconcile.core.errors import Refused, UsageError
from reconcile.home import absolute, expand_option, in_home
from reconcile.jobs.lines import find_line, meant
from reconcile.jobs.settings import TYPED_ONLY, WORDS, BadValueError, is_path, read_value, settings_of
from reconcile.remotes.urls import URL

NAME = "reconcile.toml"
SNAPSHOTS = "snapshots"  # beside it: the state of its jobs
_OWN_KEYS = ("source", "target", "inherit")
_TOP = ("defaults", "jobs")
_MOST = 10  # mistakes that are told
_LARGE = 1 << 20  # bytes: nobody writes that by hand


class Table(Struct, frozen=True):
    """What one table of the file says: ``[defaults]``, or a job's own."""

    path: tuple[str, ...]  # where it is in the file
    values: Mapping[str, Any]  # by key, as the options take them
    raw: Mapping[str, Any]  # the same, as they are written


class Entry(Struct, frozen=True):
    """One job of the file."""

    name: str
    source: str
    target: str
    tables: tuple[Table, ...]  # that say something of it, what weighs least first


class JobFile(Struct, frozen=True):
    """A file that was read, and found right."""

    path: str
    text: str
    jobs: Mapping[str, Entry]
    tables: frozenset[str]  # names of all its [jobs.NAME], also of those that are only inherited from
    is_users: bool  # the one in the user's config folder

    @property
    def folder(self) -> str:
        """What its relative paths are relative to."""
        return os.path.dirname(self.path)

    def line_of(self, table: Table, key: str) -> int:
        """On which line a table says something."""
        return find_line(self.text, (*table.path, key))


def find_file(named: str | None) -> str | None:
    """The file that holds, ``named`` by ``--config`` or found; None: there is none. Raises UsageError."""
    if named is not None:
        path = absolute(expand_option(named, "--config"))
        if not os.path.lexists(path):
            raise UsageError(f"--config: there is no {show_path(path)}")
        return path
    folder = absolute(".")
    while True:
        if os.path.lexists(path := os.path.join(folder, NAME)):
            return path
        if folder == os.path.dirname(folder):
            break
        folder = os.path.dirname(folder)
    users = users_file()
    return users if users is not None and os.path.lexists(users) else None


def users_file() -> str | None:
    """Where the user's own is, if there is one; None for a user without a home folder."""
    import platformdirs

    try:
        folder = platformdirs.user_config_dir()
    except RuntimeError:
        return None
    return os.path.join(folder, NAME) if os.path.isabs(folder) else None


def read_file(path: str, command: click.Command) -> JobFile:
    """The file, whose keys are the options of ``command``.

    Raises UsageError that tells all that is wrong in it, each with its line, and Refused where others
    could have written it.
    """
    text = read_text(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        number = line[1] if line is not None else text.count("\n") + 1
        raise UsageError(f"{show_path(path)}:{number}: this is no TOML: {error}") from None
    reading = _Reading(path, text, settings_of(command))
    jobs = reading.read(document)
    if reading.mistakes:
        mistakes = sorted(set(reading.mistakes))
        told = mistakes[:_MOST]
        more = len(mistakes) - len(told)
        raise UsageError(
            "\n  ".join(
                [
                    f"nothing was done: {show_path(path)} has {_count(len(mistakes), 'mistake')}",
                    *(f"{show_path(path)}:{line}: {what}" for line, what in told),
                    *([f"… and {more} more"] if more else []),
                ]
            )
        )
    return JobFile(path, text, jobs, frozenset(document.get("jobs", ())), is_users=path == users_file())


class _Reading:
    """One file while it is read: what is wrong is collected, so that all of it is told at once."""

    def __init__(self, path: str, text: str, options: Mapping[str, click.Option]) -> None:
        self.text, self.options = text, options
        self.folder = os.path.dirname(path)
        self.mistakes: list[tuple[int, str]] = []  # line, what

    def read(self, document: Mapping[str, Any]) -> dict[str, Entry]:
        for key in document.keys() - {*_TOP}:
            self._wrong(
                (key,), f"there is no [{key}] here, only [defaults] and [jobs.NAME]{meant(key, _TOP)}"
            )
        defaults = self._table(("defaults",), document.get("defaults", {}))
        jobs = document.get("jobs", {})
        if not isinstance(jobs, dict):
            self._wrong(("jobs",), "[jobs.NAME] is a table for each job")
            jobs = {}
        tables = {name: self._table(("jobs", name), said) for name, said in jobs.items()}
        self._check_names(tables)
        found = {}
        for name in tables:
            if (ancestry := self._ancestry(name, tables)) is None:
                continue
            order = (defaults, *(tables[each] for each in ancestry))
            said = {key: value for table in order for key, value in table.values.items()}
            if "source" in said and "target" in said:
                found[name] = Entry(name, said["source"], said["target"], order)
            elif "source" in said or "target" in said or not self._is_inherited(name, tables):
                lacks = " and ".join(key for key in ("source", "target") if key not in said)
                self._wrong(("jobs", name), f"[jobs.{name}] has no {lacks}")
        return found

    def _check_names(self, tables: Mapping[str, Table]) -> None:
        seen: dict[str, str] = {}
        for name in tables:
            try:
                check_name(name, f"[jobs.{name}]")
            except UsageError as error:
                self._wrong(("jobs", name), str(error))
            if (other := seen.setdefault(name.lower(), name)) != name:
                self._wrong(("jobs", name), f"{name} and {other} would be one folder where case is nothing")

    def _ancestry(self, name: str, tables: Mapping[str, Table]) -> list[str] | None:
        """The job, and before it all that it inherits from, the farthest first; None: that is wrong."""
        line = [name]
        while (parent := tables[line[0]].values.get("inherit")) is not None:
            if parent not in tables:
                known = ", ".join(each for each in tables if each != name)
                said = f"there is no job {parent!r} to inherit from{meant(parent, list(tables))}"
                self._wrong(("jobs", line[0], "inherit"), f"{said} (jobs: {known})")
                return None
            if parent in line:
                self._wrong(("jobs", line[0], "inherit"), f"{name} would inherit from itself")
                return None
            line.insert(0, parent)
        return line

    def _is_inherited(self, name: str, tables: Mapping[str, Table]) -> bool:
        return any(table.values.get("inherit") == name for table in tables.values())

    def _table(self, path: tuple[str, ...], said: object) -> Table:
        values: dict[str, Any] = {}
        if not isinstance(said, dict):
            self._wrong(path, f"[{'.'.join(path)}] has to be a table")
            return Table(path, {}, {})
        for key, raw in said.items():
            try:
                values[key] = self._value(path, key, self._fill_in(raw))
            except BadValueError as error:
                self._wrong((*path, key), f"{key} {error}")
        return Table(path, values, said)

    def _value(self, path: tuple[str, ...], key: str, raw: object) -> Any:
        """What a key is given, as its option takes it. Raises BadValueError."""
        if key in _OWN_KEYS and (key != "inherit" or path[0] == "jobs"):
            if not isinstance(raw, str) or not raw:
                raise BadValueError("takes a string")
            return raw if key == "inherit" else self._locate(raw, is_target=key == "target")
        if key in TYPED_ONLY:
            raise BadValueError("is for one run, and can't stand in a file: type it")
        if key not in self.options:
            keys = [*(_OWN_KEYS if path[0] == "jobs" else ()), *self.options]
            raise BadValueError(f"is no option{meant(key, keys)}")
        option = self.options[key]
        value = read_value(option, raw)
        if not is_path(option):
            return value
        return tuple(map(self._locate, value)) if option.multiple else self._locate(value)

    def _locate(self, text: str, *, is_target: bool = False) -> str:
        """A path of this machine in full: relative ones start at the file's folder. Raises BadValueError."""
        first, slash, _ = text.partition("/")
        if is_target and (not slash or ":" in first or URL.fullmatch(text)):
            return text
        if not is_target and text in WORDS:
            return text
        if (path := in_home(text)) is None:
            raise BadValueError(f"is in {first}, and no such home folder is known")
        return absolute(os.path.join(self.folder, path))

    def _fill_in(self, raw: object) -> object:
        """Strings with what ``${NAME}`` in them stands for; ``$${`` is ``${``. Raises BadValueError."""
        if isinstance(raw, list):
            return [self._fill_in(each) for each in raw]
        return fill_in(raw) if isinstance(raw, str) else raw

    def _wrong(self, path: Sequence[str], what: str) -> None:
        self.mistakes.append((find_line(self.text, path), what))


def fill_in(text: str) -> str:
    """``text`` with what ``${NAME}`` in it stands for in the environment. Raises BadValueError."""

    def look_up(match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        if match[1] is None:
            raise BadValueError("holds a ${ that begins no ${NAME}; write $${ for the characters themselves")
        if match[1] not in os.environ:
            raise BadValueError(f"needs {match[1]}, which is not set in the environment")
        return os.environ[match[1]]

    return re.sub(r"\$?\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?", look_up, text)


def read_text(path: str) -> str:
    """What is in the file. Raises UsageError, and Refused where others could have written it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise UsageError(f"{show_path(path)} is no file")
            if (why := why_unsafe(info)) is not None:
                raise Refused(
                    f"{show_path(path)} {why}: what it says, commands among it, could be somebody else's. "
                    f"Nothing was done. If it is as it should be: chmod go-w {show_path(path)}, as its owner."
                )
            data = file.read(_LARGE + 1)
    except OSError as error:
        raise UsageError(f"{show_path(path)} can't be read: {error.strerror}") from None
    if len(data) > _LARGE:
        raise UsageError(f"{show_path(path)} is larger than 1 MiB; it is none of ours")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{show_path(path)}:{line}: this is no UTF-8") from None


def why_unsafe(info: os.stat_result) -> str | None:
    """Why a file may be written by others than this user and root; None: it may not."""
    if info.st_uid not in (0, os.geteuid()):
        return f"is owned by another user (uid {info.st_uid}, and this is {os.geteuid()})"
    if info.st_mode & stat.S_IWOTH:
        return "may be written by everybody"
    if info.st_mode & stat.S_IWGRP and not _is_own_group(info.st_gid):
        return "may be written by a group"
    return None


def _is_own_group(gid: int) -> bool:
    """Whether nobody but this user is in the group, as where each has one of their own."""
    import grp
    import pwd

    try:
        me = pwd.getpwuid(os.geteuid()).pw_name
        members = {
            *grp.getgrgid(gid).gr_mem,
            *(each.pw_name for each in pwd.getpwall() if each.pw_gid == gid),
        }
    except KeyError:
        return False
    return members <= {me, "root"}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def show_path(path: str) -> str:
    """For a message: nothing in it acts on a terminal, and the home folder is ``~``."""
    shown = repr(path)[1:-1]
    home = in_home("~")
    return f"~{shown.removeprefix(home)}" if home and shown.startswith(f"{home}/") else shown
