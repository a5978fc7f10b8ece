"""From settings to an open SFTP channel by OpenSSH's own client: start it, answer it, hear that we are in.

What may live here: that story, and more channels of the same connection.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from reconcile.core.errors import TurnedAway, Unreachable, Untrusted, UsageError
from reconcile.remotes.ssh import known_hosts
from reconcile.remotes.ssh.client.arguments import (
    Client,
    Jump,
    Version,
    another,
    connecting,
    parse_jumps,
    split_command,
    surroundings,
)
from reconcile.remotes.ssh.client.attend import Errand, attend
from reconcile.remotes.ssh.client.corner import find_corner
from reconcile.remotes.ssh.client.pipe import Pipe, wait_for_any
from reconcile.remotes.ssh.client.process import Process
from reconcile.remotes.ssh.client.prompts import Prompts
from reconcile.remotes.ssh.client.talk import Talk
from reconcile.remotes.ssh.config import find_settings
from reconcile.remotes.ssh.lines import SSH, Channel
from reconcile.remotes.ssh.secret import Secrets
from reconcile.remotes.ssh.settings import Settings
from reconcile.remotes.ssh.target import Login, SshTarget
from reconcile.remotes.ssh.trust import why_not

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

PROGRAM = "ssh"
_TELLS = 5.0  # seconds for it to tell its version
_NO_SUBSYSTEM = "subsystem request failed"
_NO_CHANNEL = "open failed"
_REFUSED = re.compile(r"channel \d+: open failed")  # one more than the server grants: that is done without
_OWN_END = 255  # ssh's exit status where it is not the other end's: ssh(1)


class Connection:
    """See ``lines.Connection``. Made by `connect`."""

    transport_name = SSH

    def __init__(self, call: _Call, process: Process, why: str) -> None:
        self.settings = call.settings
        self.where = str(call.settings)
        self.why = why
        self._call = call
        self._take(process)
        self._more: list[tuple[Process, Pipe]] = []

    def _take(self, process: Process) -> None:
        self._process = process
        self.channel = Pipe(process.sock, self._at_end)
        process.listen()
        self._talk = process.talk
        self._call.tell(self._talk)

    @property
    def server_version(self) -> str:
        """What the server says it is."""
        return self._talk.server_version

    @property
    def agreed(self) -> Mapping[str, str]:
        """What the two ends agreed on."""
        return self._talk.agreed

    def _at_end(self, heard: bool) -> None:
        """Nothing more comes. Raises Unreachable or ConnectionError, if it is known what that means."""
        status = self._process.ended()
        said = [*self._talk.warnings]
        self._talk.warnings.clear()
        text = "\n".join(said)
        if not heard and _NO_CHANNEL in text:
            raise Unreachable(
                f"{self.where}, let us in but opened no channel: {said[-1]}. "
                "It may allow this user no session, or no more of them."
            )
        if not heard and (_NO_SUBSYSTEM in text or status not in (_OWN_END, None)):
            raise TurnedAway(
                f"{self.where}, let us in but offers no SFTP subsystem. An administrator has to enable it "
                "(sshd_config: Subsystem sftp internal-sftp), for this user too."
            )
        if said:
            raise ConnectionError(said[-1])

    @property
    def has_only_lost_its_channel(self) -> bool:
        """Whether the first channel has ended by itself."""
        status = self._process.ended(0.0) if self.channel.recv_ready() else None
        return status not in (_OWN_END, None)

    def renew_channel(self) -> Pipe:
        """Another in the place of the first, by another connection."""
        self._process.end()
        self._take(self._call.make())
        return self.channel

    def ask_for_more(self, count: int, greet: Callable[[Channel], T]) -> list[Future[T | None]]:
        """Up to ``count`` more, over the connection that there is."""
        from concurrent.futures import ThreadPoolExecutor

        def ask(process: Process, pipe: Pipe) -> T | None:
            try:
                return greet(pipe)
            except Unreachable:
                process.end()
                return None

        started = [self._call.make_another() for _ in range(count)]
        fresh = [(process, Pipe(process.sock, lambda _: None)) for process in started if process is not None]
        for process, _ in fresh:
            process.listen()
        self._more += fresh
        pool = ThreadPoolExecutor(count)
        asked = [pool.submit(ask, *each) for each in fresh]
        pool.shutdown(wait=False)
        return asked

    def wait(self, seconds: float) -> None:
        """Until something may have come on one of several channels, or for so long."""
        pipes = [self.channel, *(pipe for _, pipe in self._more)]
        wait_for_any([pipe for pipe in pipes if pipe.fileno() >= 0], seconds)

    def close(self) -> None:
        """Hang up. May be called twice."""
        processes = [*(process for process, _ in self._more), self._process]
        for process in processes:
            process.sock.close()
        for process in processes:
            process.end()
        self._call.tell(self._talk)
        self._call.close()


class _Call:
    """One server, and how it is called, as often as need be."""

    def __init__(
        self,
        target: SshTarget,
        settings: Settings,
        login: Login,
        say: Callable[[str], None],
        secrets: Secrets,
        why: str,
    ) -> None:
        self.settings = settings
        self._target, self._login, self._say, self._secrets = target, login, say, secrets
        asks = secrets.interactive or secrets.is_given or login.passphrase_command is not None
        self._client = find_client(login, versed=asks or bool(login.host_keys))
        self._pins = [pin.fingerprint for text in login.host_keys for pin in known_hosts.parse_pins(text)]
        if self._pins and not self._client.can_vouch:
            raise UsageError(
                f"--host-key needs OpenSSH 8.5 or newer where its client connects ({why}), and "
                f"{self._client} is older. Put the host's key into a file, and name that with --known-hosts."
            )
        self._corner = find_corner()
        if asks and self._client.can_ask and self._corner is not None and self._corner.asks:
            self._client = replace(self._client, asks=True)

    def make(self) -> Process:
        """Let in. Raises Unreachable, UsageError."""
        jumps = parse_jumps(self.settings.proxy_jump) if self.settings.proxy_jump is not None else ()
        command = connecting(
            self._client,
            self._target,
            self._login,
            jumps=jumps,
            before=self._before,
            pins=self._pins,
            strict=self.settings.strict_host_key,
            control=None if self._corner is None else self._corner.control,
        )
        return self._attend(Process(command, self._env()), raw=False)

    def _attend(self, process: Process, *, raw: bool) -> Process:
        settings, secrets, seconds = self.settings, self._secrets, self._login.timeout
        started = time.monotonic() - secrets.paused
        errand = Errand(
            str(self._client),
            str(settings),
            settings.user,
            seconds,
            lambda: started + secrets.paused + seconds - time.monotonic(),
            self._say,
        )
        name = settings.host_key_alias or settings.host
        keys = [each for each in (self._login.identity, *(settings.identities or ())) if each is not None]
        spelled = [f"{settings.user}@{each}" for each in (name, name.lower())]
        account = f"{settings.user}@{settings.host}"
        prompts = Prompts(secrets, account, spelled, keys, lambda: process.talk.partly)
        try:
            attend(process, self._corner, prompts, errand, raw=raw)
        except BaseException as error:
            process.end(at_once=True)
            if isinstance(error, Untrusted):
                self._accuse(process.talk)
            raise
        return process

    def _accuse(self, talk: Talk) -> None:
        """Say the same as always of the server's own key, if it was that. Raises Untrusted."""
        kind, _, shown = talk.host_key.partition(" ")
        known = known_hosts.look_up(self.settings, self._login, self._secrets.read)
        if shown and (why := why_not(known, kind, shown)) is not None:
            raise Untrusted(why) from None

    def make_another(self) -> Process | None:
        """One more channel of the connection that was made last, if that can be."""
        if self._corner is None:
            return None
        return Process(another(self._client, self._target, self._corner.control), self._env())

    def _before(self, jump: Jump) -> tuple[Jump, ...]:
        """The jumps on the way to one, by the config."""
        jumps = find_settings(jump.target, self._login, lambda _: None).proxy_jump
        return () if jumps is None else parse_jumps(jumps)

    def _env(self) -> dict[str, str]:
        asking = "" if self._corner is None else self._corner.asking
        return surroundings(self._client, os.environ, self._login, asking)

    def tell(self, talk: Talk) -> None:
        """Show what it had to say, once."""
        while talk.warnings:
            if not _REFUSED.match(line := talk.warnings.popleft()):
                self._say(f"ssh: {line}")

    def close(self) -> None:
        """No more calls."""
        if self._corner is not None:
            self._corner.close()


def connect(
    target: SshTarget,
    settings: Settings,
    login: Login,
    say: Callable[[str], None],
    secrets: Secrets,
    why: str,
) -> Connection:
    """Connect to ``target`` by OpenSSH's client, which checks the host key and authenticates.

    All of it takes ``login.timeout`` seconds at most, not counting those spent at prompts. Raises
    Unreachable, and UsageError for options that can't work.
    """
    call = _Call(target, settings, login, say, secrets, why)
    try:
        return Connection(call, call.make(), why)
    except BaseException:
        call.close()
        raise


def find_client(login: Login, *, versed: bool) -> Client:
    """The client on this machine; ``versed``: with its version. Raises UsageError if there is none."""
    program = split_command(login.ssh_command) if login.ssh_command is not None else (PROGRAM,)
    version = version_of(program, min(_TELLS, login.timeout / 2)) if versed else None
    return Client(program, version, login.ssh_config)


@cache
def version_of(program: tuple[str, ...], seconds: float = _TELLS) -> Version | None:
    """Of OpenSSH; None if it does not tell. Raises UsageError if there is no such program."""
    process = Process([*program, "-V"], os.environ)
    try:
        process.hear_all(seconds)
    finally:
        process.end(at_once=True)
    found = re.match(r"OpenSSH_(?:for_Windows_)?(\d+)\.(\d+)", process.talk.program)
    return (int(found[1]), int(found[2])) if found else None
