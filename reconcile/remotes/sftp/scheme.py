"""What there is to know of SFTP before anything is opened: how DEST is written, and what opens it.

What may live here: see ``remotes.Scheme``. Light to import: a run with nothing to do needs no more.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from reconcile.core.job import Job, Own, Reporter, Target
from reconcile.core.model import Caps
from reconcile.home import expand_option
from reconcile.remotes import FORGETFUL, SCHEMES, Memory, Opener, Remote
from reconcile.remotes.ssh.target import Login, SshTarget, of_job
from reconcile.remotes.urls import URL, decode, fold_path, refuse

if TYPE_CHECKING:  # with it comes what is slow to import
    from reconcile.remotes.ssh.secret import Secrets

FORMS = "sftp://[user@]host[:port]/absolute/path, sftp://host/~/path/in/home or user@host:path"
TAKES = frozenset(
    {
        *("port", "identity", "known_hosts", "host_key", "ssh_config", "accept_new_host_key", "compress"),
        *("channels", "password_env", "password_command", "passphrase_command"),
        *("transport", "ssh_command"),
    }
)

_OWN_HOME = "~ is your own home folder there; write that of others in full, such as /home/somebody/path"
_SCP = r"(?s)(?:([^:/]*)@)?(\[[^\]/]*\]|[^:/@\[\]]*):(.*)"
_PORT_IN_PATH = r"(?s)([^:/]*@)?(\[[^\]/]*\]|[^:/@\[\]]+):([0-9]{2,5})/+(.*)"
_IPV6 = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[\w.-]+)?"


def parse(text: str) -> SshTarget | None:
    """``sftp://…``, or the form of scp, in which there is a colon before the first slash.

    In a URL ``%XX`` is a byte of the path, whatever its encoding; the ``user@host:path`` form is taken
    as it is. A path without a leading slash is relative to the login folder (``~/…``). Doubled and
    trailing slashes and ``.`` are folded; ``..`` is refused, since what it means hangs on remote links.
    """
    if url := URL.fullmatch(text):
        return _parse_url(url[2])
    return _parse_scp(text)


def be_told(
    target: Target, flags: Mapping[str, Any], *, timeout: float | None, interactive: bool
) -> tuple[SshTarget, Login]:
    """See ``Scheme``. The port that a flag names wins over the one in DEST."""
    assert isinstance(target, SshTarget)
    login = dict(flags)
    if (port := login.pop("port", None)) is not None:
        target = SshTarget(target.host, target.path, target.user, _check_port(str(port), "--port"))
    for name, check in _CHECKS.items():
        if name in login:
            login[name] = check(login[name])
    if {"password_env", "password_command"} <= login.keys():
        refuse("--password-env and --password-command are two passwords; leave one of them out")
    login["host_keys"] = login.pop("host_key", ())
    return target, Login(**login, timeout=timeout or Login().timeout, interactive=interactive)


def own_files(login: object) -> Iterator[Own]:
    """The key and the known hosts that flags name."""
    assert isinstance(login, Login)
    if login.identity is not None:
        private = login.identity.removesuffix(".pub").removesuffix("-cert")
        for name in {login.identity, private, f"{private}.pub", f"{private}-cert.pub"}:
            yield Own(name, "belongs to the key that --identity names")
    if login.known_hosts is not None:
        yield Own(login.known_hosts, "is what --known-hosts names")
    if login.ssh_config not in (None, "none"):
        yield Own(login.ssh_config, "is what --ssh-config names")


def doubt(text: str) -> str | None:
    """What a valid DEST may have been meant to be, where that is likely another place."""
    match = re.fullmatch(_PORT_IN_PATH, text)
    if match is None:
        return None
    user, host, port, path = match.groups()
    return (
        f"DEST is the folder {port}/{path} in the home folder on {host}. "
        f"If {port} is the port, write sftp://{user or ''}{host}:{port}/{path}"
    )


def folders(target: Target, workdir: str | None) -> Mapping[str, str]:  # noqa: ARG001 - wherever they are
    """Nothing, as far as we can know."""
    return {}


def may_open_early(job: Job) -> bool:
    """A key is not enrolled before that is sure to be needed. What is to be asked waits until then."""
    return not of_job(job)[1].accept_new_host_key


def load() -> None:
    """Import what connecting needs, and what comes after it while the server has to do its part.

    A thread that is at it is waited for.
    """
    for module in ("reconcile.remotes.ssh.auth", "reconcile.remotes.sftp.open"):
        import_module(module)


def recall_caps(job: Job, memory: Memory) -> Caps:  # noqa: ARG001 - it is the memory's
    """What the server is known to be able to do."""
    from reconcile.remotes.tree.quirks import caps_of  # which is light

    return caps_of(memory.recall())


def make_opener() -> Opener:
    """See ``Scheme``."""
    return _Opener()


class _Opener:
    """Asks the user for a secret once, however often it connects."""

    def __init__(self) -> None:
        self._secrets: Secrets | None = None

    @property
    def waited(self) -> float:
        """Seconds that the user took to type."""
        return self._secrets.waited if self._secrets is not None else 0.0

    def __call__(self, job: Job, reporter: Reporter, memory: Memory = FORGETFUL) -> Remote:
        """Connect to the job's target."""
        from reconcile.remotes.ssh.reach import reach  # imports what connects: only now is it needed
        from reconcile.remotes.ssh.secret import Secrets

        self._secrets = self._secrets or Secrets(of_job(job)[1], reporter.asking)
        connection = reach(*of_job(job), reporter.say, job.options.timeout, self._secrets)
        from reconcile.remotes.sftp.open import open_sftp  # the rest, which somebody may be at by now

        return open_sftp(connection, job, reporter, memory)


def _parse_url(rest: str) -> SshTarget:
    """What follows ``sftp://``."""
    authority, slash, path = rest.partition("/")
    userinfo, at, address = authority.rpartition("@")
    if ":" in userinfo:
        _refuse_password()
    user = decode(userinfo, "the user") if at else None
    host, port = _split_address(address)
    if not slash:
        refuse("DEST has no path; write sftp://host/absolute/path or sftp://host/~/path/in/home")
    folder = fold_path("/" + decode(path, "the path"))
    if folder == "/~" or folder.startswith("/~/"):
        folder = f"~/{folder[3:]}"
    elif folder.startswith("/~"):
        refuse(f"DEST: {_OWN_HOME}")
    return SshTarget(_check_host(host), folder, _check_user(user), port)


def _parse_scp(text: str) -> SshTarget | None:
    """``[user@]host:path``, as scp takes it: a user may hold an @, a host can't."""
    if re.match(r"[A-Za-z]:", text):
        refuse("DEST looks like a Windows path. Write " + FORMS)
    match = re.fullmatch(_SCP, text)
    if match is None:
        return None
    user, host, path = match.groups()
    if user is None and re.search(r"@[^/@]+:", path):
        _refuse_password()
    if host.lower() in SCHEMES and path.startswith("/"):
        refuse(f"DEST: {host.lower()}: needs two slashes; write {host.lower()}://")
    if host.startswith("["):
        host = _check_ipv6(host[1:-1])
    if not path:
        refuse("DEST has no path after the colon; write host:~ if you mean the home folder itself")
    if re.match(r"~[^/]", path):
        refuse(f"DEST: {_OWN_HOME}")
    if path.startswith("/"):
        folder = fold_path(path)
        if folder == "/~" or folder.startswith("/~/"):
            refuse("DEST: a folder named ~ at the top of the server can't be told from the home folder")
    else:
        folder = f"~{fold_path('/' + re.sub('^~', '', path))}"
    return SshTarget(_check_host(host), folder, _check_user(user))


def _split_address(address: str) -> tuple[str, int | None]:
    """``host``, ``host:port`` or ``[v6]:port``."""
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            refuse("DEST: an IPv6 address is written sftp://[address]:port/path")
        host, port = _check_ipv6(host), rest[1:]
    else:
        host, _, port = address.partition(":")
        if ":" in port:
            refuse("DEST: an IPv6 address goes in brackets: sftp://[address]:port/path")
    return host, _check_port(port, "DEST: the port") if port else None


def _check_ipv6(host: str) -> str:
    host = host.replace("%25", "%")  # RFC 6874: how a zone is written in a URL
    if not re.fullmatch(_IPV6, host):
        refuse("DEST: brackets are for IPv6 addresses, such as [::1]")
    return host


def _check_host(host: str) -> str:
    if not host:
        refuse(f"DEST names no host; write {FORMS}")
    zone = "%" in host and ":" in host
    if host.startswith("-") or not host.isprintable() or re.search(r"[\s\\?#,;%]", "" if zone else host):
        refuse("DEST: this is not the name of a host")
    return host


def _check_user(user: str | None) -> str | None:
    if user is not None and (not user or not user.isprintable() or "/" in user):
        refuse("DEST: the user before the @ is empty or no name")
    return user


def _check_port(text: str, what: str) -> int:
    """A port number. The text is not echoed: a password may have slipped there."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        refuse(f"{what} must be a number from 1 to 65535 (and a password never belongs in a URL)")
    return int(text)


def _identity(text: str) -> str:
    name = expand_option(text, "--identity")
    if os.path.isdir(name) or not os.path.exists(name):  # it may be a pipe, <(…)
        refuse(f"--identity: there is no key file {name}")
    return name


def _known_hosts(text: str) -> str:
    return expand_option(text, "--known-hosts")


def _ssh_config(text: str) -> str:
    if text.lower() == "none":
        return "none"
    name = expand_option(text, "--ssh-config")
    if os.path.isdir(name) or not os.path.exists(name):
        refuse(f"--ssh-config: there is no file {name}")
    if stat.S_ISFIFO(os.stat(name).st_mode):  # for the second connection of a run it would be empty
        refuse("--ssh-config is a pipe, and is read more than once; name a file")
    return name


def _variable(name: str) -> str:
    if not os.environ.get(name):
        # Not echoed: it happens that the password itself is typed here.
        refuse("--password-env takes the name of an environment variable, and none of that name is set")
    return name


def _program(text: str) -> str:
    from reconcile.remotes.ssh.client.arguments import split_command

    split_command(text)
    return text


def _host_keys(texts: Sequence[str]) -> tuple[str, ...]:
    from reconcile.remotes.ssh.known_hosts import parse_pins

    for text in texts:
        parse_pins(text)  # raises UsageError for what is no key
    return tuple(texts)


def _command(option: str, command: str) -> str:
    if not command.strip():
        refuse(f"{option}: the command is empty")
    return command


_CHECKS: Mapping[str, Callable[[Any], object]] = {
    "identity": _identity,
    "known_hosts": _known_hosts,
    "ssh_config": _ssh_config,
    "host_key": _host_keys,
    "password_env": _variable,
    "password_command": partial(_command, "--password-command"),
    "passphrase_command": partial(_command, "--passphrase-command"),
    "ssh_command": _program,
}


def _refuse_password() -> NoReturn:
    refuse(
        "DEST holds a password. It would end up in process lists, logs and the shell's history: "
        "use a key, --password-command CMD or --password-env NAME"
    )
