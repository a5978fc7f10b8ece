"""Our own reader of SSH's configuration, for where no OpenSSH is there to be asked: ssh_config(5).

What may live here: which lines apply to a host. As with OpenSSH the first value counts. What it can't
follow and would make a difference it refuses; what may or may not apply is refused if it would matter.
"""

from __future__ import annotations

import glob
import os
import re
import socket
import stat
from collections.abc import Iterator, Sequence

from msgspec import Struct

from reconcile.core.errors import UsageError
from reconcile.remotes.ssh import keywords
from reconcile.remotes.ssh.settings import NONE, Setting
from reconcile.remotes.ssh.spelling import fits, next_word, seconds, split_line, words_of
from reconcile.remotes.ssh.target import SshTarget
from reconcile.remotes.ssh.tokens import expand, expand_home, expand_path, own_name, tokens

CORRECT = "Not connected. Correct it, or give another configuration (--ssh-config FILE; 'none' to use none)."
WAY_OUT = (
    "Not connected: OpenSSH's client, which can follow it, is not on this machine. Install it (ssh), or "
    "give a configuration without that (--ssh-config FILE, or 'none' to use none at all)."
)
_DEPTH = 16  # of files that include others, as in OpenSSH
_MANY = ("identityfile", "certificatefile")  # each line adds one
_LISTS = ("userknownhostsfile", "globalknownhostsfile")  # one line has several
_RAW = ("proxyjump", "proxycommand")  # with quotes and comments: "none" and none # here are hosts
# What may be lost where it may or may not apply: no other host is reached, none is trusted.
_UNIMPORTANT = ("connecttimeout", "hashknownhosts")
_CHOICES = {
    "identitiesonly": ("yes", "no", "true", "false"),
    "hashknownhosts": ("yes", "no", "true", "false"),
    "stricthostkeychecking": ("yes", "no", "true", "false", "ask", "off", "accept-new"),
}
_EXPANDED = ("userknownhostsfile", "identityagent")  # as ``ssh -G`` shows them
_VARIABLE = re.compile(r"\$\w+")  # that holds the path of an agent
_ALONE = ("all", "canonical", "final")  # of Match: those without an argument
_NOTHING_NEW = ("host", "include", "hashknownhosts")


class ConfigFile(Struct, frozen=True):
    """One that is read, and by what rules."""

    path: str
    folder: str  # that a relative Include is in
    home: str = ""  # for ~ in an Include: in a user's file only
    private: bool = False  # nobody else may be able to write to it
    needed: bool = False  # it was asked for by name


class Line(Struct, frozen=True):
    """One that says something."""

    file: str
    number: int
    keyword: str  # its plain name
    text: str  # all behind it
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}, line {self.number}"


class _Scope(Struct, frozen=True):
    """What a Host or a Match leaves of the lines below it."""

    applies: bool = True
    doubt: str = ""  # why it may not, after all


def says_little(files: Sequence[ConfigFile]) -> bool:
    """Whether all that is written there is harmless, for any host. Raises UsageError as ``read``."""
    return all(
        line.keyword in _NOTHING_NEW or keywords.is_harmless(line.keyword)
        for file in files
        for line in _all_lines(file, 0)
    )


def read(files: Sequence[ConfigFile], target: SshTarget, home: str) -> list[Setting]:
    """What they say of a host. Raises UsageError for what can't be read, understood or followed."""
    reading = _Reading(target, home)
    reading.go_through(files)
    if reading.wants_final:
        reading.take_name()
        reading.go_through(files)
    return reading.finish()


class _Reading:
    """What was found so far."""

    def __init__(self, target: SshTarget, home: str) -> None:
        self.host = self.typed = target.host
        self.wants_final = self.is_final = False
        self._found: dict[str, list[Setting]] = {}
        self._home = home
        self._target = target
        self._ignored: list[str] = []  # patterns of IgnoreUnknown
        if target.user is not None:
            self._found["user"] = [Setting("User", target.user)]
        if target.port is not None:
            self._found["port"] = [Setting("Port", str(target.port))]

    def go_through(self, files: Sequence[ConfigFile]) -> None:
        """Read them in turn."""
        for file in files:
            self._read(file, _Scope(), 0)

    def take_name(self) -> None:
        """Go on by the name that was found, for what nothing was said of yet; that name stays."""
        self.host, self.is_final = _whole(self.hostname), True
        self._found["hostname"] = [
            Setting("HostName", self.host.replace("%", "%%"), *self._where("hostname"))
        ]

    @property
    def hostname(self) -> str:
        """As far as it is known. Addresses are as they are, names in small letters."""
        said = self._first("hostname")
        name = self.host if said is None else expand(said.value, {"%": "%", "h": self.host})
        return name if ":" in name else name.lower()

    def finish(self) -> list[Setting]:
        """All of it, with tokens expanded where ``ssh -G`` shows them so."""
        host = Setting("HostName", _whole(self.hostname), *self._where("hostname"))
        port, user, alias = (self._first(name) for name in ("port", "user", "hostkeyalias"))
        known = tokens(
            home=self._home,
            host=host.value,
            port=22 if port is None else int(port.value),
            user=own_name() if user is None else user.value,
            name=self.typed,
            alias=None if alias is None else alias.value,
        )
        found = [host]
        for name, settings in self._found.items():
            if name == "hostname" or name in _RAW or not keywords.is_followed(name):
                continue  # a proxy was refused, unless there is to be none
            for setting in settings:
                value = setting.value
                if name in _EXPANDED and not _VARIABLE.fullmatch(value):
                    value = self._expand(setting, known)
                found.append(Setting(setting.keyword, value, setting.where))
        return found

    def _first(self, name: str) -> Setting | None:
        return next(iter(self._found.get(name, ())), None)

    def _where(self, name: str) -> tuple[str, ...]:
        said = self._first(name)
        return () if said is None else (said.where,)

    def _expand(self, setting: Setting, known: dict[str, str]) -> str:
        try:
            return expand_path(setting.value, known)
        except ValueError as error:
            raise UsageError(f"{setting.where}: {setting}: {error}. {CORRECT}") from None

    def _read(self, file: ConfigFile, outer: _Scope, depth: int) -> None:
        scope = outer
        for line in _lines(file, depth):
            if line.keyword == "host":
                scope = _Scope(outer.applies and fits(self.host, line.words), outer.doubt)
            elif line.keyword == "match":
                applies, doubt = self._judge(line)
                scope = _Scope(outer.applies and applies, outer.doubt or doubt)
            elif line.keyword == "include":
                for each in _included(line, file, strict=scope.applies):
                    self._read(each, scope, depth + 1)
            else:
                self._take(line, scope)

    def _take(self, line: Line, scope: _Scope) -> None:
        name = line.keyword
        if keywords.is_harmless(name):
            if name == "ignoreunknown" and scope.applies and not scope.doubt:
                self._ignored = self._ignored or line.words[0].lower().split(",")
            return
        beyond = keywords.beyond(name)
        if beyond is None and not keywords.is_followed(name):
            if fits(name, self._ignored):
                return
            raise UsageError(f"{line}: {name} is no keyword that is known here. {CORRECT}")
        values = _values(line)
        if not scope.applies or (name in self._found and name not in _MANY):
            return
        if name == "proxyjump" and "proxycommand" in self._found:
            return  # the other way round it counts, after 'ProxyJump none' too
        says_nothing = values[0].lower() in ((NONE,) if name in _RAW else beyond.usual if beyond else ())
        if (name in _RAW or beyond is not None) and not says_nothing:
            reason = "the host is reached through another" if beyond is None else beyond.reason
            self._refuse(line, values[0], reason, scope)
        if scope.doubt:
            if not says_nothing and name not in _UNIMPORTANT:
                self._refuse(line, values[0], "it would make a difference", scope)
            return
        known = self._found.setdefault(name, [])
        settings = (Setting(keywords.spelled(name), value, str(line)) for value in values)
        known += (setting for setting in settings if setting.value not in [each.value for each in known])

    def _refuse(self, line: Line, value: str, reason: str, scope: _Scope) -> None:
        perhaps = f", which may or may not apply here ({scope.doubt})" if scope.doubt else ""
        what = f"{keywords.spelled(line.keyword)} {value}"
        raise UsageError(f"{line}: {what} can't be followed{perhaps}: {reason}. {WAY_OUT}")

    def _judge(self, line: Line) -> tuple[bool, str]:
        """Whether a Match applies, and what of it can't be told."""
        applies, doubt, rest, seen = True, "", line.text, list[str]()
        while rest and not rest.startswith("#"):
            word, rest = next_word(rest)
            criterion = word.lower().lstrip("!")
            argument = ""
            if criterion not in _ALONE:
                if not rest or rest.startswith("#"):
                    raise UsageError(f"{line}: Match {word} needs an argument. {CORRECT}")
                argument, rest = next_word(rest)
            seen.append(criterion)
            said = self._fulfils(criterion, argument)
            if said is None:
                doubt = doubt or f"{line}: Match {word} can't be judged"
            elif said == word.startswith("!"):
                applies = False
        if "all" in seen and (seen[-1] != "all" or set(seen[:-1]) - {"canonical", "final"}):
            raise UsageError(f"{line}: of what a Match asks for, all stands alone. {CORRECT}")
        return applies, doubt

    def _fulfils(self, criterion: str, argument: str) -> bool | None:
        """None: that can't be told."""
        user = self._first("user")
        name = {
            "host": self.hostname.lower(),
            "originalhost": self.typed.lower(),
            "user": own_name() if user is None else user.value,
            "localuser": own_name(),
        }.get(criterion)
        if criterion == "final":
            self.wants_final = True
        if criterion in ("final", "canonical"):
            return self.is_final
        if criterion == "all":
            return True
        if name is None or "'" in argument:  # which some versions take for a quote
            return None
        return fits(name, (argument.lower() if "host" in criterion else argument).split(","))


def _whole(name: str) -> str:
    """An address in its usual form, 127.1 as 127.0.0.1. Any other name as it is."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return socket.getnameinfo(found[0][4], socket.NI_NUMERICHOST)[0]
    except (OSError, ValueError):
        return name


def _values(line: Line) -> list[str]:
    """What a line sets its keyword to. Raises UsageError for what OpenSSH would not take either."""
    name, words = line.keyword, line.words
    if name in _RAW:
        return [line.text.lstrip("= \t")]
    if keywords.beyond(name) is not None:
        return [" ".join(words)]
    if not words or not words[0]:
        raise UsageError(f"{line}: {keywords.spelled(name)} has no argument. {CORRECT}")
    if name in _LISTS:
        if len(words) > 1 and NONE in [word.lower() for word in words]:
            raise UsageError(f"{line}: {NONE} must stand alone. {CORRECT}")
        return list(words)
    value = words[0]
    time = seconds(value)
    if len(words) > 1:
        trouble = "it has more than one argument"
    elif name == "port" and not (value.isascii() and value.isdecimal() and 0 < int(value) < 65536):
        trouble = "it is no port"
    elif name == "hostname" and "%" in value.replace("%%", "").replace("%h", ""):
        trouble = "of tokens it takes %h only"
    elif name == "user" and ("%" in value or "${" in value):
        trouble = "versions of OpenSSH differ in what that means"
    elif name == "connecttimeout" and value != NONE and time is None:
        trouble = "it is no time"
    elif value.lower() not in _CHOICES.get(name, (value.lower(),)):
        trouble = "it is none of the words that are known"
    elif name == "identityagent" and re.match(r"\$(?!\{|\w+$)", value):
        trouble = "it is no variable"
    else:
        if name == "connecttimeout":
            return [NONE if time is None else str(time)]
        return [str(int(value)) if name == "port" else value.lower() if name == "hostkeyalias" else value]
    raise UsageError(f"{line}: {keywords.spelled(name)} {' '.join(words)}: {trouble}. {CORRECT}")


def _lines(file: ConfigFile, depth: int) -> Iterator[Line]:
    if depth > _DEPTH:
        raise UsageError(f"{file.path}: files that include each other go too deep. {CORRECT}")
    for number, text in enumerate(_text(file).split("\n"), 1):
        where = f"{file.path}, line {number}"
        try:
            parsed = split_line(text)
            if parsed is None:
                continue
            keyword, rest = parsed
            words = tuple(words_of(rest))
        except ValueError as error:
            raise UsageError(f"{where}: {error}. {CORRECT}") from None
        if not words and keywords.plain(keyword) not in _RAW:
            raise UsageError(f"{where}: {keyword} has no argument. {CORRECT}")
        yield Line(file.path, number, keywords.plain(keyword), rest, words)


def _text(file: ConfigFile) -> str:
    try:
        with open(file.path, encoding="utf-8", errors="surrogateescape", newline="") as opened:
            found = os.fstat(opened.fileno())
            text = opened.read()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not file.needed:
            return ""
        raise UsageError(f"can't read {file.path}: {error.strerror}. Make it readable.") from None
    others = found.st_uid not in (0, os.getuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if file.private and others:
        raise UsageError(
            f"{file.path} could be changed by others, who would then decide where we connect: not used, as "
            f"OpenSSH would not. Make it yours alone (chmod go-w '{file.path}')."
        )
    return text


def _all_lines(file: ConfigFile, depth: int) -> Iterator[Line]:
    """Those of the included files too, wherever they apply."""
    for line in _lines(file, depth):
        yield line
        if line.keyword == "include":
            for each in _included(line, file):
                yield from _all_lines(each, depth + 1)


def _included(line: Line, file: ConfigFile, *, strict: bool = True) -> Iterator[ConfigFile]:
    """The files that an Include names. ``strict``: what can't be told for sure is refused."""
    for word in line.words:
        path = word
        if strict and ("%" in word or "${" in word):
            raise UsageError(f"{line}: versions of OpenSSH differ in what {word} is. {WAY_OUT}")
        if word.startswith("~"):
            if not file.home:
                raise UsageError(f"{line}: {word} can't be told in the configuration of all. {WAY_OUT}")
            try:
                path = expand_home(word, file.home)
            except ValueError:
                continue  # which OpenSSH passes over too
        for each in sorted(glob.glob(os.path.join(file.folder, path))):
            yield ConfigFile(each, file.folder, file.home, private=True)
