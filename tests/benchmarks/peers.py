"""Who copies, and with which command."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.sshd import SYSTEM_PATH, Endpoint

_INSTALLED = Path(sys.executable).parent / "reconcile"
RECONCILE = (str(_INSTALLED),) if _INSTALLED.exists() else (sys.executable, "-m", "reconcile")
OURS = "reconcile"
BY_SSH = "reconcile, ssh"  # by OpenSSH's own client
# Where pip puts a binary, before where the system does.
PATH = os.pathsep.join([str(Path(sys.executable).parent), SYSTEM_PATH])


@dataclass(frozen=True)
class Copy:
    """What a command is to do. ``scratch`` is an empty folder for state or a batch file."""

    source: Path
    target: Path
    endpoint: Endpoint
    scratch: Path


Make = Callable[[Copy], list[str]]


@dataclass(frozen=True)
class Tool:
    """``needs``: programs without which it can't run. ``modes``: whether it promises permission bits."""

    name: str
    upload: Make
    mirror: Make  # the same, and what is gone from the source goes from the target
    needs: Sequence[str] = ()
    modes: bool = True

    @property
    def installed(self) -> bool:
        """Whether all it needs is there."""
        return all(find(name) for name in self.needs)


def find(name: str) -> str | None:
    """Where a program is."""
    return shutil.which(name, path=PATH)


def run_reconcile(copy: Copy, *flags: str) -> list[str]:
    """As a user runs it, who gives a key and a state folder."""
    login = [*copy.endpoint.flags(), "--state", str(copy.scratch / "state")]
    return [*RECONCILE, "run", str(copy.source), copy.endpoint.url(copy.target), *login, *flags]


def _ssh(endpoint: Endpoint) -> list[str]:
    return ["ssh", "-a", "-x", *endpoint.ssh_options()]


def _reconcile(copy: Copy) -> list[str]:
    return run_reconcile(copy)


def _reconcile_mirror(copy: Copy) -> list[str]:
    return run_reconcile(copy, "--mirror", "--allow-mass-delete")


def _by_ssh(*flags: str) -> Make:
    return lambda copy: run_reconcile(copy, "--transport", "ssh", *flags)


def run_rsync(copy: Copy, *flags: str) -> list[str]:
    """``rsync -a`` over ssh."""
    end, shell = copy.endpoint, shlex.join([*_ssh(copy.endpoint), "-p", str(copy.endpoint.port)])
    return ["rsync", "-a", *flags, "-e", shell, f"{copy.source}/", f"{end.user}@{end.host}:{copy.target}/"]


def _rsync(copy: Copy) -> list[str]:
    return run_rsync(copy)


def _rsync_mirror(copy: Copy) -> list[str]:
    return run_rsync(copy, "--delete")


def _rclone(verb: str, *flags: str, md5sum: bool = False) -> Make:
    # By default it starts a shell with md5sum for each file, where the server lets it, and is four times
    # slower. Nobody else reads what was sent once more, and a server without a shell couldn't: left out.
    flags = flags if md5sum else (*flags, "--sftp-disable-hashcheck")

    def make(copy: Copy) -> list[str]:
        end = copy.endpoint
        at = ["--sftp-host", end.host, "--sftp-port", str(end.port), "--sftp-user", end.user]
        keys = ["--sftp-key-file", str(end.identity), "--sftp-known-hosts-file", str(end.known_hosts)]
        what = ["--config", "", "--create-empty-src-dirs", str(copy.source), f":sftp:{copy.target}"]
        return [find("rclone") or "rclone", verb, *what, *at, *keys, *flags]

    return make


def _lftp(*flags: str) -> Make:
    def make(copy: Copy) -> list[str]:
        end = copy.endpoint
        mirror = shlex.join(["mirror", "-R", "--parallel=8", *flags, str(copy.source), str(copy.target)])
        script = [
            f'set sftp:connect-program "{shlex.join(_ssh(end))}"',
            "set cmd:fail-exit yes",
            f"open -u {end.user},none sftp://{end.host}:{end.port}",
            mirror,
        ]
        return ["lftp", "-c", "; ".join(script)]

    return make


def _sftp(copy: Copy) -> list[str]:
    batch = copy.scratch / "batch"
    batch.write_text(f'put -Rp "{copy.source}" "{copy.target}"\n')
    end = copy.endpoint
    return ["sftp", *end.ssh_options(), "-q", "-P", str(end.port), "-b", str(batch), f"{end.user}@{end.host}"]


def _tar(copy: Copy) -> list[str]:
    end, target = copy.endpoint, shlex.quote(str(copy.target))
    unpack = f"mkdir -p {target} && tar -C {target} -xpf -"
    ssh = shlex.join([*_ssh(end), "-p", str(end.port), f"{end.user}@{end.host}", unpack])
    return ["sh", "-c", f"tar -C {shlex.quote(str(copy.source))} -cf - . | {ssh}"]


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(OURS, _reconcile, _reconcile_mirror),
        Tool(BY_SSH, _by_ssh(), _by_ssh("--mirror", "--allow-mass-delete"), ["ssh"]),
        Tool("rsync", _rsync, _rsync_mirror, ["rsync", "ssh"]),
        Tool("tar | ssh tar", _tar, _tar, ["tar", "ssh"]),
        Tool("rclone", _rclone("copy"), _rclone("sync"), ["rclone"], modes=False),
        Tool(
            "rclone, 32",
            _rclone("copy", "--transfers", "32"),
            _rclone("sync", "--transfers", "32", "--checkers", "32"),
            ["rclone"],
            modes=False,
        ),
        Tool(
            "rclone, md5sum",
            _rclone("copy", md5sum=True),
            _rclone("sync", md5sum=True),
            ["rclone"],
            modes=False,
        ),
        Tool("lftp", _lftp(), _lftp("--delete"), ["lftp", "ssh"], modes=False),
        Tool("sftp -b", _sftp, _sftp, ["sftp"]),
    )
}


def versions() -> dict[str, str]:
    """What each tool says of itself; those that are missing say so."""
    asked = {
        "rsync": ["--version"],
        "rclone": ["version"],
        "lftp": ["--version"],
        "s5cmd": ["version"],
        "ssh": ["-V"],
        "tar": ["--version"],
        "find": ["--version"],
    }
    found = {"reconcile": _first_line([*RECONCILE, "--version"]), "Python": platform.python_version()}
    for name, flags in asked.items():
        path = find(name)
        found[name] = _first_line([path, *flags]) if path else "not installed"
    return found


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = (done.stdout or done.stderr).strip().partition("\n")[0]
    number = re.search(r"v?\d+\.\d+[\w.+-]*", line)
    return number[0] if number else line
