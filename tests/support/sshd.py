"""A real OpenSSH server on a free loopback port, with throwaway keys.

``with start_sshd(folder) as sshd: … sshd.url(path) …``. The same server can be
stopped and started again on its port, can run the SFTP shim, which counts
requests, and can be bound by permissions although root runs it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from reconcile.remotes.ssh.target import Login, SshTarget
from tests.support import shim
from tests.support.accounts import Account
from tests.support.faults import Fault, read_faults, write_faults
from tests.support.processes import alive, bound_by_permissions, end_tree, wait_for

HOST = "127.0.0.1"
# By what all tests go that don't say: with ``ssh`` by OpenSSH's own client.
TRANSPORT = os.environ.get("TRANSPORT")
# As it is used then. Of ways to exchange keys the one that OpenSSH prefers takes a tenth of a second.
CLIENT = "ssh -o KexAlgorithms=curve25519-sha256"
SYSTEM_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin:/sbin"
SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
)


@dataclass(frozen=True)
class Endpoint:
    """Where a server is and how to log in to it."""

    port: int
    user: str
    identity: Path  # private key
    known_hosts: Path
    host: str = HOST
    transport: str | None = None  # as ``--transport`` has it; None: as all do that don't say

    def url(self, path: str | os.PathLike[str]) -> str:
        """DEST for an absolute path on the server."""
        return f"sftp://{self.user}@{self.host}:{self.port}{os.fspath(path)}"

    def target(self, path: str | os.PathLike[str]) -> SshTarget:
        """The same as the model's type."""
        return SshTarget(self.host, os.fspath(path), self.user, self.port)

    def login(self, **changes: object) -> Login:
        """How to prove ourselves, as the model's type."""
        login = Login(identity=str(self.identity), known_hosts=str(self.known_hosts), ssh_config="none")
        if transport := self.transport or TRANSPORT:
            login = replace(login, transport=transport, ssh_command=CLIENT)
        return replace(login, **changes)  # the names are checked at run time

    def flags(self) -> list[str]:
        """The same as command-line flags of ``reconcile``."""
        files = ["--identity", str(self.identity), "--known-hosts", str(self.known_hosts)]
        transport = self.transport or TRANSPORT
        how = ["--transport", transport, "--ssh-command", CLIENT] if transport else []
        return [*files, "--ssh-config", "none", *how]

    def by(self, transport: str) -> Self:
        """The same by another way."""
        return dataclasses.replace(self, transport=transport)

    def ssh_options(self) -> list[str]:
        """The same for OpenSSH's own clients and rsync's ``-e``; the port is not among them."""
        options = [
            f"IdentityFile={self.identity}",
            "IdentitiesOnly=yes",
            f"UserKnownHostsFile={self.known_hosts}",
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            "LogLevel=ERROR",
        ]
        return ["-F", "/dev/null", *(part for option in options for part in ("-o", option))]


@dataclass(frozen=True, slots=True)
class Requests:
    """What the shim counted, all ended sessions together."""

    requests: Counter[str] = field(default_factory=Counter)  # by type; extended ones by the extension's name
    replies: Counter[str] = field(default_factory=Counter)
    sent: int = 0  # bytes of plain SFTP from the client
    received: int = 0  # and to it
    sessions: int = 0

    @property
    def total(self) -> int:
        """All requests but INIT, which every session begins with."""
        return self.requests.total() - self.requests["INIT"]


class Sshd:
    """A server that can be started and stopped. Made by `start_sshd`."""

    def __init__(
        self,
        folder: Path,
        *,
        with_shim: bool,
        bound: bool,
        settings: tuple[str, ...],
        account: Account | None,
        user: str | None,
        subsystem: str | None,
    ) -> None:
        self.folder = folder
        self.account = account
        self.user = user or _user()
        self.subsystem = subsystem
        self.with_shim = with_shim
        self.bound = bound
        self.settings = settings
        self.log = folder / "sshd.log"
        self.shim_log = folder / "shim.log"
        self.faults = folder / "faults.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._seen = 0  # bytes of the shim's log that were asked for before
        for name in ("host", "user"):
            make_key(folder / name)
        shutil.copyfile(folder / "user.pub", folder / "authorized_keys")
        self.shim_log.touch()
        self.endpoint = self.via(free_port())

    @property
    def port(self) -> int:
        """The port it listens on, also after it was stopped."""
        return self.endpoint.port

    @property
    def host_key(self) -> str:
        """Type and base64 of the server's key, as known_hosts has them."""
        kind, key = (self.folder / "host.pub").read_text().split()[:2]
        return f"{kind} {key}"

    def url(self, path: str | os.PathLike[str]) -> str:
        """DEST for an absolute path on the server."""
        return self.endpoint.url(path)

    def via(self, port: int) -> Endpoint:
        """The server as it is reached through another port, a proxy's. Its key becomes known there too."""
        known_hosts = self.folder / f"known_hosts_{port}"
        known_hosts.write_text(f"[{HOST}]:{port} {self.host_key}\n")
        return Endpoint(port, self.user, self.folder / "user", known_hosts)

    def start(self) -> None:
        """Start listening, on the same port as before."""
        assert self._process is None, "it runs already"
        for _ in range(10):
            if self._start():
                return
            # Somebody took the port between our looking for a free one and sshd's bind.
            self.endpoint = self.via(free_port())
        raise RuntimeError("no free port for sshd")

    def stop(self) -> None:
        """End the server and all its sessions at once, as a power cut would."""
        if self._process is not None:
            end_tree(self._process)
            self._process = None

    def arm(self, *faults: Fault) -> None:
        """Let these faults happen next, each once and in a session of its own; none: no more."""
        assert self.with_shim, "only a server with the shim goes wrong"
        write_faults(self.faults, *faults)

    @property
    def armed(self) -> bool:
        """Whether a fault still waits for its request."""
        return bool(read_faults(self.faults))

    def end_sessions(self) -> None:
        """Wait until every session that the shim saw begin has ended."""
        wait_for(lambda: not self._running(), "sftp sessions to end")

    def requests(self) -> Requests:
        """What sessions since the last call asked for. Waits until running ones have ended."""
        assert self.with_shim, "only a server with the shim counts"
        self.end_sessions()
        data = self.shim_log.read_bytes()[self._seen :]
        self._seen += len(data)
        ended = [line for line in map(json.loads, data.splitlines()) if line["event"] == "end"]
        return Requests(
            requests=sum((Counter(line["requests"]) for line in ended), Counter()),
            replies=sum((Counter(line["replies"]) for line in ended), Counter()),
            sent=sum(line["sent"] for line in ended),
            received=sum(line["received"] for line in ended),
            sessions=len(ended),
        )

    def _running(self) -> set[int]:
        running: set[int] = set()
        for line in map(json.loads, self.shim_log.read_bytes().splitlines()):
            if line["event"] == "start":
                running.add(line["pid"])
            else:
                running.discard(line["pid"])
        return {pid for pid in running if alive(pid)}

    def _start(self) -> bool:
        """Start once. False if the port is taken."""
        sshd = find_program("sshd")
        config = self.folder / "sshd_config"
        config.write_text("\n".join(self._config()) + "\n")
        _check_config(sshd, config)
        command = [sshd, "-D", "-e", "-f", str(config)]
        if self.account is not None:
            command = self.account.inside(command)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                bound_by_permissions(command) if self.bound else command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt at the terminal is ours to handle
            )
        deadline = time.monotonic() + 15
        while not answers(self.port):
            if self._process.poll() is not None:
                self._process = None
                if "Address already in use" in self.log.read_text():
                    return False
                raise RuntimeError(f"sshd did not start:\n{self.log.read_text()}")
            if time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"sshd does not answer:\n{self.log.read_text()}")
            time.sleep(0.01)
        return True

    def _config(self) -> Iterator[str]:
        yield from self.settings  # sshd takes the first value it finds
        yield from self.account.settings() if self.account is not None else ()
        yield f"ListenAddress {HOST}"
        yield f"Port {self.port}"
        yield f"HostKey {self.folder / 'host'}"
        yield f"AuthorizedKeysFile {self.folder / 'authorized_keys'}"
        yield f"Subsystem sftp {self._subsystem()}"
        yield "PidFile none"
        # The login shell reads ~/.bashrc, which is nobody's business here and may take a tenth of a second.
        yield f"SetEnv HOME={self.folder}"
        yield "StrictModes no"
        yield f"UsePAM {'yes' if _locked() else 'no'}"
        yield "PubkeyAuthentication yes"
        yield "PasswordAuthentication no"
        yield "KbdInteractiveAuthentication no"
        yield "PermitRootLogin yes"
        yield "MaxStartups 200"
        yield "MaxSessions 100"
        yield "MaxAuthTries 100"
        yield "UseDNS no"
        yield "PrintLastLog no"
        yield "PrintMotd no"
        if _version() >= (9, 8):
            yield "PerSourcePenalties no"  # tests fail to log in on purpose, all from one address

    def _subsystem(self) -> str:
        if self.subsystem is not None:
            return self.subsystem
        server = next((path for path in SFTP_SERVERS if os.access(path, os.X_OK)), None)
        if server is None:
            raise RuntimeError(f"no sftp-server in any of {', '.join(SFTP_SERVERS)}; install openssh-server")
        if not self.with_shim:
            return server
        # A script, as sshd's config and the login shell would each take quotes apart in their own way.
        wrapper = self.folder / "sftp"
        wrapper.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -I -S "{shim.__file__}" --log "{self.shim_log}" '
            f'--faults "{self.faults}" {server}\n'
        )
        wrapper.chmod(0o755)
        return str(wrapper)


@contextmanager
def start_sshd(
    folder: Path,
    *,
    with_shim: bool = False,
    bound: bool = False,
    settings: tuple[str, ...] = (),
    account: Account | None = None,
    user: str | None = None,
    subsystem: str | None = None,
) -> Iterator[Sshd]:
    """A running server that keeps its keys and logs in ``folder``, which must exist.

    ``with_shim``: count requests. ``bound``: permissions bind it, even if root
    runs the tests. ``settings``: lines for sshd_config that go before ours. ``account``: it takes that
    password too. ``user``: who logs in, if not we. ``subsystem``: what speaks SFTP, if not OpenSSH's own.
    """
    sshd = Sshd(
        folder,
        with_shim=with_shim,
        bound=bound,
        settings=settings,
        account=account,
        user=user,
        subsystem=subsystem,
    )
    sshd.start()
    try:
        yield sshd
    finally:
        sshd.stop()


def make_key(path: Path, *, passphrase: str = "", kind: str = "ed25519", comment: str = "throwaway") -> None:
    """Make a key pair: ``path`` and ``path``.pub."""
    options = ["-q", "-t", kind, "-N", passphrase, "-C", comment, "-f", str(path)]
    subprocess.run([find_program("ssh-keygen"), *options], check=True, stdin=subprocess.DEVNULL)


def find_program(name: str) -> str:
    """Where a program of OpenSSH is."""
    path = shutil.which(name, path=SYSTEM_PATH)
    if path is None:
        raise RuntimeError(
            f"{name} was not found: these tests need an OpenSSH server and client, see .ci/install-openssh"
        )
    return path


def _version() -> tuple[int, int]:
    # Before 9.2 there is no -V; what it says against it begins with the version too.
    output = subprocess.run([find_program("sshd"), "-V"], capture_output=True, text=True, check=False).stderr
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", output)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _check_config(sshd: str, config: Path) -> None:
    """Let sshd judge the config. As root it wants a folder that a service script makes otherwise."""
    for _ in range(2):
        check = subprocess.run([sshd, "-t", "-f", str(config)], capture_output=True, text=True, check=False)
        missing = re.search(r"Missing privilege separation directory: (\S+)", check.stderr)
        if check.returncode == 0 or missing is None:
            break
        Path(missing[1]).mkdir(mode=0o755, parents=True, exist_ok=True)
    if check.returncode != 0:
        raise RuntimeError(f"sshd does not take its config:\n{check.stderr}")


def _locked() -> bool:
    """Whether our account is locked, as root's often is: without PAM sshd refuses it then, keys or not."""
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:
        return False  # then sshd, run by us, can't see it either
    return any(line.startswith(f"{_user()}:!") for line in lines)


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether an SSH server does there."""
    try:
        with socket.create_connection((HOST, port), timeout=5) as probe:
            return probe.recv(4) == b"SSH-"
    except OSError:
        return False
