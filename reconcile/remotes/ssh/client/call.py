"""How one server is called by OpenSSH's client, as often as need be: to be let in, or only to be led there.

What may live here: which client there is, and what it is started with.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from functools import cache

from msgspec.structs import replace

from reconcile.core.errors import Untrusted, UsageError
from reconcile.remotes.ssh import known_hosts
from reconcile.remotes.ssh.client.arguments import (
    Client,
    Jump,
    Version,
    another,
    by_way_of,
    connecting,
    in_a_shell,
    jumps_of,
    program_of,
    surroundings,
)
from reconcile.remotes.ssh.client.attend import Errand, attend
from reconcile.remotes.ssh.client.corner import find_corner
from reconcile.remotes.ssh.client.process import Process
from reconcile.remotes.ssh.client.prompts import Prompts
from reconcile.remotes.ssh.client.talk import Talk
from reconcile.remotes.ssh.config import find_settings
from reconcile.remotes.ssh.known_hosts import Known, Pin
from reconcile.remotes.ssh.secret import Secrets
from reconcile.remotes.ssh.settings import Settings, Strict
from reconcile.remotes.ssh.target import Login, SshTarget
from reconcile.remotes.ssh.trust import why_not

_ODD = re.compile(r"['`\";&<>|(){}]")  # in no name since OpenSSH 9.6; before it took them
_TELLS = 5.0  # seconds for it to tell its version
_UNKEPT = re.compile("Failed to add the host to the list of known hosts")
_REFUSED = re.compile(r"channel \d+: open failed")  # one more than the server grants: that is done without


class Call:
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
        self._target, self._say, self._secrets, self._why = target, say, secrets, why
        self._login = login = replace(login, timeout=settings.connect_timeout or login.timeout)
        asks = secrets.interactive or secrets.is_given or login.passphrase_command is not None
        self._client = find_client(login)
        if settings.proxy is not None and (odd := _ODD.search(f"{target.user or ''}{target.host}")):
            raise UsageError(
                f"DEST: a name with {odd[0]} in it is not told to what leads there ({settings.proxy}), "
                "as to a shell it is more than a name. Give the host a plain name in your SSH config."
            )
        self._corner = find_corner()
        if asks and self._client.can_ask and self._corner is not None and self._corner.asks:
            self._client = replace(self._client, asks=True)

    def make(self) -> Process:
        """Let in. Raises Unreachable, UsageError."""
        if self._login.host_keys and not self._client.can_vouch:
            raise UsageError(
                f"--host-key needs OpenSSH 8.5 or newer where its client connects ({self._why}), and "
                f"{self._client} is older. Put the host's key into a file, and name that with --known-hosts."
            )
        self._refuse_pipe("--identity", self._login.identity)
        self._refuse_pipe("--known-hosts", self._login.known_hosts)
        command = connecting(
            self._client,
            self._target,
            self._login,
            jumps=self._jumps,
            before=self._before,
            pins=self._find_pins(),
            strict=self._find_strictness(),
            control=None if self._corner is None else self._corner.control,
        )
        process = self._attend(Process(command, self._env()), raw=False)
        if (line := next(filter(_UNKEPT.match, process.talk.lines), None)) is not None:
            process.end(at_once=True)
            raise Untrusted(
                f"{self.settings}, was left, as the key of a host is new and nothing keeps it: it would "
                f"be as new the next time, whoever shows one. ssh says: {line} "
                "Name a file with --known-hosts, or the key itself with --host-key."
            )
        return process

    def _refuse_pipe(self, option: str, path: str | None) -> None:
        """Raises UsageError for what the client, which has no such descriptor, could not read."""
        if path is not None and os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode):
            raise UsageError(
                f"{option} is a pipe, which OpenSSH's client, by which we connect here ({self._why}), can't "
                "read. Name a file."
            )

    def _look_up(self) -> Known:
        return known_hosts.look_up(self.settings, self._login, self._secrets.read)

    def _find_pins(self) -> list[Pin] | None:
        """Keys of which the host has to have one. None: it has to be known."""
        if not self._login.host_keys:
            return None
        known = self._look_up()
        revoked = {known_hosts.fingerprint(line.key) for line in known.revoked}
        return [pin for pin in known.pins if pin.fingerprint not in revoked]

    def _find_strictness(self) -> Strict:
        """What is done about a host that is not known: where nothing would keep its key, it stays so."""
        accepts = self._login.accept_new_host_key
        strict = Strict.ACCEPT_NEW if accepts else self.settings.strict_host_key
        if strict is not Strict.ACCEPT_NEW:
            return strict
        file = self._look_up().file
        keeps = file is not None and (os.path.isfile(file) or not os.path.exists(file))
        return strict if keeps else Strict.YES

    def make_way(self) -> Process:
        """A way to the server, which has been heard to speak there. Raises Unreachable, UsageError."""
        command = self.settings.proxy_command
        if command is None:
            command = by_way_of(self._client, self._jumps, self._login, self._before)
        return self._attend(Process(in_a_shell(command, self.settings, os.environ), self._env()), raw=True)

    @property
    def _jumps(self) -> tuple[Jump, ...]:
        return jumps_of(self.settings)

    def _attend(self, process: Process, *, raw: bool) -> Process:
        settings, secrets, seconds = self.settings, self._secrets, self._login.timeout
        started = time.monotonic() - secrets.paused
        errand = Errand(
            f"what leads there ({settings.proxy})" if raw else str(self._client),
            str(settings),
            settings.user,
            seconds,
            lambda: started + secrets.paused + seconds - time.monotonic(),
            settings.proxy_command is not None,
            self._say,
        )
        name = settings.host_key_alias or settings.host
        keys = [each for each in (self._login.identity, *(settings.identities or ())) if each is not None]
        account = f"{settings.user}@{settings.host}"
        # Who asks on a mere way is never the server.
        spelled = [] if raw else [account, *(f"{settings.user}@{each}" for each in (name, name.lower()))]
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
        known = replace(self._look_up(), authorities=())  # which the client has asked
        if shown and (why := why_not(known, kind, shown)) is not None:
            raise Untrusted(why) from None

    def make_another(self) -> Process | None:
        """One more channel of the connection that was made last, if that can be."""
        if self._corner is None:
            return None
        return Process(another(self._client, self._target, self._corner.control), self._env())

    def _before(self, jump: Jump) -> tuple[Jump, ...]:
        """The jumps on the way to one, by the config."""
        return jumps_of(find_settings(jump.target, self._login, lambda _: None))

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


def find_client(login: Login) -> Client:
    """The client on this machine. Raises UsageError if there is none."""
    program = program_of(login)
    return Client(program, version_of(program, min(_TELLS, login.timeout / 2)), login.ssh_config)


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
