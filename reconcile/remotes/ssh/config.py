"""Where a target really is, and by what rules it is reached: DEST first, then SSH's configuration.

What may live here: which files count, who is asked what they say, and what becomes of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence

from reconcile.core.errors import UsageError
from reconcile.home import is_moved, login_home
from reconcile.remotes.ssh import keywords, reader
from reconcile.remotes.ssh.known_hosts import DEFAULT_PORT
from reconcile.remotes.ssh.lines import PARAMIKO
from reconcile.remotes.ssh.reader import ConfigFile
from reconcile.remotes.ssh.settings import NONE, Setting, Settings, Strict
from reconcile.remotes.ssh.target import CLIENT, Login, SshTarget
from reconcile.remotes.ssh.tokens import expand_path, own_name, tokens

USER_FOLDER = ".ssh"  # in the home folder that the system's list has: ssh(1). Else see login_home
SYSTEM_FOLDER = "/etc/ssh"

_CLIENTS = ("/usr/bin/ssh", "/bin/ssh")  # of which we know that their configuration is in SYSTEM_FOLDER
_YES = ("yes", "true")
_NAME_IT = (
    "Not connected: OpenSSH's client, which can follow it, reads no configuration of a home folder that only "
    "HOME names. Give it that file: --ssh-config FILE."
)


def find_settings(target: SshTarget, login: Login, say: Callable[[str], None]) -> Settings:
    """All that is to be known before the host is called. Takes ``login.timeout`` seconds at most.

    Raises UsageError if the configuration can't be read or understood, or can't be followed without
    OpenSSH's client and there is none, or is not to be used; TurnedAway if it takes too long to tell.
    """
    client = _find_client(login)
    files = list(_files(login.ssh_config))
    said: Sequence[Setting] | None = None
    elsewhere = login.ssh_config is None and is_moved()
    if client and not elsewhere and not _is_plain(files, client, login):
        from reconcile.remotes.ssh.asked import ask  # it starts processes: most need none

        said = ask(client, target, login.ssh_config, login.timeout)
    if said is not None:
        settings = _settle(said, target, login, say)
        if login.transport == PARAMIKO:
            _refuse_for_paramiko(settings.others, say)
        return settings
    try:
        return _read_alone(files, target, login, say)
    except UsageError as error:
        if not elsewhere:
            raise
        raise UsageError(str(error).replace(reader.WAY_OUT, _NAME_IT)) from None


def _read_alone(
    files: Sequence[ConfigFile], target: SshTarget, login: Login, say: Callable[[str], None]
) -> Settings:
    """Read them ourselves. Raises UsageError for what only OpenSSH's client can follow."""
    settings = _settle(reader.read(files, target, login_home()), target, login, say)
    for setting in settings.others:
        raise UsageError(f"{setting.where}: {setting} can't be followed. {reader.WAY_OUT}")
    return settings


def _refuse_for_paramiko(others: Sequence[Setting], say: Callable[[str], None]) -> None:
    """Raises UsageError for what only the client does, if it decides where we go or whom we trust."""
    for setting in others:
        beyond = keywords.beyond(keywords.plain(setting.keyword))
        if beyond is not None and beyond.may_be_missed:
            say(f"{setting.keyword}, as configured for SSH, is not followed by paramiko (--transport)")
        else:
            raise UsageError(
                f"{setting.where}: {setting} can't be followed. Not connected: OpenSSH's client alone does "
                "that. Leave --transport paramiko out, or give a configuration without it (--ssh-config)."
            )


def _find_client(login: Login) -> Sequence[str]:
    """OpenSSH's client, with what it is always given. Empty: there is none."""
    if login.ssh_command is not None:
        from reconcile.remotes.ssh.client.arguments import program_of

        return program_of(login)
    client = shutil.which(CLIENT)
    return () if client is None else (client,)


def _files(given: str | None) -> Iterable[ConfigFile]:
    """Those that count, in turn: ssh_config(5)."""
    home = login_home()
    own = os.path.join(home, USER_FOLDER)
    if given is not None:
        if given != NONE:
            yield ConfigFile(given, own, home, needed=True)
        return
    if home:
        yield ConfigFile(os.path.join(own, "config"), own, home, private=True)
    yield ConfigFile(os.path.join(SYSTEM_FOLDER, "ssh_config"), SYSTEM_FOLDER)


def _is_plain(files: Sequence[ConfigFile], client: Sequence[str], login: Login) -> bool:
    """Whether nothing is said of any host, so that nobody need be asked: it costs two processes."""
    if login.ssh_config == NONE:
        return True
    if len(client) > 1 or client[0] not in _CLIENTS or not os.path.exists(files[-1].path):
        return False
    try:
        return reader.says_little(files)
    except UsageError:  # OpenSSH may understand it
        return False


def _settle(said: Sequence[Setting], target: SshTarget, login: Login, say: Callable[[str], None]) -> Settings:
    """What becomes of what was said."""
    values: dict[str, list[str]] = {}
    others: list[Setting] = []
    for setting in said:
        name = keywords.plain(setting.keyword)
        if keywords.is_followed(name):
            values.setdefault(name, []).append(setting.value)
        elif not keywords.is_harmless(name):
            others.append(setting)

    def first(name: str) -> str | None:
        return next((value for value in values.get(name, ()) if value.lower() != NONE), None)

    strict = (first("stricthostkeychecking") or Strict.ASK.value).lower()
    if strict in ("no", "off", "false"):
        say(f"StrictHostKeyChecking {strict} is not followed: the key of {target.host} is checked")
    host = values["hostname"][0]
    port = int(first("port") or DEFAULT_PORT)
    user = values["user"][0] if "user" in values else _own_name()
    alias = first("hostkeyalias")
    seconds = float(first("connecttimeout") or 0) if login.timeout == Login().timeout else 0
    known = tokens(home=login_home(), host=host, port=port, user=user, name=target.host, alias=alias)

    def paths(keyword: str) -> tuple[str, ...] | None:
        found: list[str] = []
        name = keyword.lower()
        for value in values.get(name, ()):
            try:
                found += [expand_path(value, known)] if value.lower() != NONE else []
            except ValueError:
                others.extend(
                    setting for setting in said if (setting.keyword, setting.value) == (keyword, value)
                )
        return tuple(found) if name in values else None

    def files(name: str) -> tuple[str, ...] | None:
        if name not in values:
            return None
        return tuple(value for value in values[name] if value.lower() not in (NONE, os.devnull))

    return Settings(
        host=host,
        port=port,
        user=user,
        name=target.host,
        identities=paths("IdentityFile"),
        certificates=paths("CertificateFile") or (),
        identities_only=(first("identitiesonly") or "").lower() in _YES,
        identity_agent=_agent(values.get("identityagent", ())),
        user_known_hosts=files("userknownhostsfile"),
        global_known_hosts=files("globalknownhostsfile"),
        hash_known_hosts=(first("hashknownhosts") or "").lower() in _YES,
        host_key_alias=alias,
        strict_host_key=_strict(strict),
        connect_timeout=seconds or None,
        proxy_jump=next(iter(values.get("proxyjump", ())), None),  # one that is "none" is not told
        proxy_command=next(iter(values.get("proxycommand", ())), None),
        others=tuple(others),
        sources=tuple(
            setting
            for setting in said
            if setting.where and not keywords.is_harmless(keywords.plain(setting.keyword))
        ),
    )


def _strict(value: str) -> Strict:
    if value in _YES:
        return Strict.YES
    return Strict.ACCEPT_NEW if value == Strict.ACCEPT_NEW.value else Strict.ASK


def _agent(values: Sequence[str]) -> str | None:
    """The socket of the agent: a path, or a variable that holds one."""
    value = values[0] if values else ""
    if value in ("", "SSH_AUTH_SOCK"):
        return None
    if value.startswith("$"):
        return os.environ.get(value[1:], NONE)
    return NONE if value.lower() == NONE else value


def _own_name() -> str:
    """The account's, whatever LOGNAME says: ssh(1). Where the system's list has none, what is said."""
    if name := own_name():
        return name
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user here, as in some containers
        raise UsageError("can't tell your name on this machine: put a user into DEST (user@host)") from None
