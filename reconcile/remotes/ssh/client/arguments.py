"""How OpenSSH's client is told what to do: its command line, and its environment.

What may live here: options, each with its reason, and how they are quoted. Nothing is started here.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from reconcile.core.errors import UsageError
from reconcile.remotes.ssh.client import helper
from reconcile.remotes.ssh.known_hosts import Pin, algorithms_of
from reconcile.remotes.ssh.settings import Settings, Strict
from reconcile.remotes.ssh.target import CLIENT, Login, SshTarget
from reconcile.remotes.ssh.tokens import expand

Version = tuple[int, int]

KEEPALIVE = 30  # seconds of silence after which the server is asked whether it is there
_MISSED = 3  # such questions without an answer, after which the connection counts as broken
_ASKS = (8, 4)  # SSH_ASKPASS_REQUIRE came with it
_VOUCHES = (8, 5)  # KnownHostsCommand did
_TAGS = (8, 5)  # so did the account in front of what a server asks
_USUAL = re.compile(r"ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)")  # types of key
_JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<host>\[[^\]]+\]|[^:@\[\]]+)(?::(?P<port>\d+))?/?")

# What a jump needs to know too: it is connected to by a client of its own.
_SHARED = (
    "ControlMaster=no",  # nobody else's connection, which knows none of this
    "ControlPath=none",
    "PermitLocalCommand=no",
    "VisualHostKey=no",
    "NoHostAuthenticationForLocalhost=no",  # the key is checked, wherever the host is
    "UpdateHostKeys=no",  # what is known of hosts is changed only where that was confirmed
    f"ServerAliveInterval={KEEPALIVE}",
    f"ServerAliveCountMax={_MISSED}",
)
# A config may be made for people at a terminal, or to be left alone.
_SINCE = {"RemoteCommand=none": (7, 6), "ForkAfterAuthentication=no": (8, 7), "StdinNull=no": (8, 7)}
_OURS = (
    "RequestTTY=no",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "Tunnel=no",
)


class Client(Struct, frozen=True):
    """OpenSSH's ``ssh`` on this machine, and what of it may be used."""

    program: tuple[str, ...]  # with what it is always given
    version: Version | None  # None: it does not tell
    config: str | None = None  # a file in the place of both of SSH's own
    asks: bool = False  # prompts reach us

    def __str__(self) -> str:
        return self.program[0].rpartition("/")[2]

    @property
    def can_ask(self) -> bool:
        """Whether it hands prompts to a program, whatever the desktop is."""
        return self.version is not None and self.version >= _ASKS

    @property
    def can_vouch(self) -> bool:
        """Whether it asks a program for a host's key."""
        return self.version is not None and self.version >= _VOUCHES


class Jump(Struct, frozen=True):
    """A host on the way."""

    host: str
    user: str | None = None
    port: int | None = None

    @property
    def target(self) -> SshTarget:
        """As any other is written."""
        return SshTarget(self.host, "/", self.user, self.port)


Before = Callable[[Jump], Sequence[Jump]]  # the jumps on the way to one, by the config


def split_command(text: str) -> tuple[str, ...]:
    """What ``--ssh-command`` was given. Raises UsageError."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"--ssh-command: {error}") from None
    if not words:
        raise UsageError("--ssh-command is empty; leave it out, or name a program that is used as ssh is")
    return words


def program_of(login: Login) -> tuple[str, ...]:
    """The client, with what it is always given. Raises UsageError."""
    return (CLIENT,) if login.ssh_command is None else split_command(login.ssh_command)


def jumps_of(settings: Settings) -> tuple[Jump, ...]:
    """The hosts on the way, the first to be called first. Raises UsageError."""
    if settings.proxy_jump is None:
        return ()
    try:
        return parse_jumps(expand(settings.proxy_jump, _tokens(settings)))
    except ValueError as error:
        raise UsageError(f"ProxyJump {settings.proxy_jump}: {error}. Correct it.") from None


def parse_jumps(text: str) -> tuple[Jump, ...]:
    """The same of what a ProxyJump says, once tokens are put in."""
    jumps = []
    for word in text.split(","):
        match = _JUMP.fullmatch(word.strip())
        if match is None or match["host"].startswith("-"):
            raise UsageError(f"ProxyJump {text}: {word!r} names no host. Write [user@]host[:port].")
        port = int(match["port"]) if match["port"] else None
        jumps.append(Jump(match["host"].strip("[]"), match["user"], port))
    return tuple(jumps)


def connecting(
    client: Client,
    target: SshTarget,
    login: Login,
    *,
    jumps: Sequence[Jump] = (),
    before: Before = lambda _: (),
    control: str | None = None,
    pins: Sequence[Pin] | None = None,
    strict: Strict = Strict.ASK,
) -> list[str]:
    """The command that connects, and then is a channel of SFTP.

    ``control``: a socket at which it opens more of them. ``pins``: keys of which the host has to
    have one; None: it has to be known.
    """
    options = [*_ours(client), *_identity(login)]
    options += [f"ControlMaster={'yes' if control else 'no'}", f"ControlPath={_quoted(control or 'none')}"]
    if jumps:
        options += _led(by_way_of(client, jumps, login, before))
    options += _known(login, strict) if pins is None else _pinned(pins)
    options += _shared(client, login, patient=bool(jumps) and login.interactive)
    command = [*client.program, "-v", *_config(client), *_where(target), *_given(options)]
    if login.compress:
        command.append("-C")
    return [*command, "-s", "--", target.host, "sftp"]


def another(client: Client, target: SshTarget, control: str) -> list[str]:
    """The command that is one more channel of a connection that there is; it makes none of its own."""
    options = [*_ours(client), "ControlMaster=no", f"ControlPath={_quoted(control)}", "ProxyCommand=false"]
    options += [each for each in _SHARED if not each.startswith("Control")]
    return [
        *client.program,
        *_config(client),
        *_where(target),
        *_given(options),
        "-s",
        "--",
        target.host,
        "sftp",
    ]


def by_way_of(client: Client, jumps: Sequence[Jump], login: Login, before: Before, depth: int = 0) -> str:
    """A ProxyCommand that goes over the last of ``jumps``, and to that over those before it.

    It is our own, as the one that ``ssh -J`` starts knows nothing of what the first was told.
    """
    if depth > 8:
        raise UsageError("ProxyJump goes in circles: the hosts on the way name each other. Correct it.")
    *earlier, jump = jumps
    strict = Strict.ACCEPT_NEW if login.accept_new_host_key else Strict.ASK
    options = [
        *_ours(client),
        *_known(login, strict),
        *_shared(client, login, asked=client.asks and login.interactive),
    ]
    if way := earlier or before(jump):
        options += _led(by_way_of(client, way, login, before, depth + 1))
    words = ["env", f"RECONCILE_HOP={jump.host}", *client.program, *_config(client), *_where(jump.target)]
    words += _given(options)
    kept = [word.replace("%", "%%") for word in words]  # ssh puts in what follows a %: of ours nothing does
    return shlex.join([*kept, "-W", "[%h]:%p", "--", jump.host])


def _led(command: str) -> list[str]:
    return [f"ProxyCommand={command}", "ProxyUseFdpass=no"]  # which is for those who hand a connection over


def in_a_shell(command: str, settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """A ProxyCommand as ssh starts it: tokens put in, by the user's shell, and in the place of that."""
    tokens = _tokens(settings)
    whole = re.sub(r"%(.)", lambda match: tokens.get(match[1], match[0]), command)
    return [environ.get("SHELL") or "/bin/sh", "-c", f"exec {whole}"]


def _tokens(settings: Settings) -> dict[str, str]:
    """What stands for what in a proxy: ssh_config(5), "TOKENS"."""
    return {"h": settings.host, "p": str(settings.port), "n": settings.name, "r": settings.user, "%": "%"}


def surroundings(client: Client, environ: Mapping[str, str], login: Login, asking: str) -> dict[str, str]:
    """The environment: as ours, but that who asks asks us, or nobody; without what holds the password."""
    left = {"SSH_ASKPASS", "SSH_ASKPASS_PROMPT", "RECONCILE_HOP", login.password_env}
    env = {name: value for name, value in environ.items() if name not in left}
    if client.asks:
        return env | {"SSH_ASKPASS": asking, "SSH_ASKPASS_REQUIRE": "force"}
    return env | {"SSH_ASKPASS_REQUIRE": "never"}


def _ours(client: Client) -> list[str]:
    known = client.version or (0, 0)
    return [*_OURS, *(option for option, since in _SINCE.items() if known >= since)]


def _config(client: Client) -> list[str]:
    return [] if client.config is None else ["-F", client.config]


def _where(target: SshTarget) -> list[str]:
    """Only what was typed: of the rest the client reads the config itself."""
    user = [] if target.user is None else ["-l", target.user]
    port = [] if target.port is None else ["-p", str(target.port)]
    return [*user, *port]


def _identity(login: Login) -> list[str]:
    """The key that was typed comes first; those that the config names can't be taken back."""
    if login.identity is None:
        return []
    return [f"IdentityFile={_quoted(login.identity)}", "IdentitiesOnly=yes"]


def _known(login: Login, strict: Strict) -> list[str]:
    """Whom to trust; a host's key is always checked, whatever a config says of that."""
    if strict is Strict.ASK and not login.interactive:
        strict = Strict.YES
    files = []
    if login.known_hosts is not None:
        files = [f"UserKnownHostsFile={_quoted(login.known_hosts)}", "GlobalKnownHostsFile=/dev/null"]
    return [f"StrictHostKeyChecking={strict.value}", *files]


def _pinned(pins: Sequence[Pin]) -> list[str]:
    words = [sys.executable, "-I", "-S", helper.__file__, "vouch"]
    shown = [pin.fingerprint for pin in pins]
    command = " ".join([*(_quoted(word) for word in words), "%H", "%t", "%K", *shown])
    # Else a host that has other keys, too, shows one of those.
    first = ",".join(algorithms_of(pin.kind for pin in pins if _USUAL.fullmatch(pin.kind)))
    files = ("UserKnownHostsFile=/dev/null", "GlobalKnownHostsFile=/dev/null")
    nobody = "VerifyHostKeyDNS=no"  # which would be asked before
    order = [f"HostKeyAlgorithms=^{first}"] if first else []
    return ["StrictHostKeyChecking=yes", nobody, *files, *order, f"KnownHostsCommand={command}"]


def _shared(
    client: Client, login: Login, *, patient: bool = False, asked: bool | None = None
) -> Iterable[str]:
    """``patient``: the user may be typing what a host on the way asks. ``asked``: prompts are answered."""
    asks = client.asks if asked is None else asked
    yield f"BatchMode={'no' if asks else 'yes'}"
    if asks and not login.interactive:
        # There is one word only; but a command may print another, where the one before was good for a while.
        yield f"NumberOfPasswordPrompts={1 if login.password_command is None else 2}"
    unseen = (
        not login.interactive or login.passphrase_command is not None
    )  # the user sees not what is answered
    if asks and unseen and client.version is not None and client.version < _TAGS:
        yield "KbdInteractiveAuthentication=no"  # else a server could ask for a passphrase as ssh does
    seconds = max(1, int(login.timeout) - 1)  # so that we hear from it before our own patience ends
    yield f"ConnectTimeout={seconds + (600 if patient else 0)}"
    yield from _SHARED


def _given(options: Iterable[str]) -> list[str]:
    return [word for option in dict.fromkeys(options) for word in ("-o", option)]


def _quoted(path: str) -> str:
    """A path as a config has it: one word, in which nothing is put in."""
    if '"' in path or "${" in path or "\\" in path:
        raise UsageError(f"the path {path!r} can't be told to OpenSSH's client: it holds one of \" \\ ${{")
    escaped = path.replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[\s#']|^~", escaped) else escaped
