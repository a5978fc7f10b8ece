"""What is left of us when a signal ends us while we connect: nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from reconcile.remotes.ssh import lines
from tests.support.doors import answering
from tests.support.processes import alive, descendants, wait_for
from tests.support.sshd import HOST, Sshd, start_sshd

ROOT = Path(__file__).parents[3]
SIGNALS = pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
BOTH = pytest.mark.parametrize("transport", [lines.SSH, lines.PARAMIKO])


def start(tmp_path: Path, dest: str, *flags: str) -> subprocess.Popen[bytes]:
    """A run that has something to send."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_text("one")
    command = [sys.executable, "-m", "reconcile", "run", str(tmp_path / "source"), dest, "--timeout", "60"]
    command += ["--state", str(tmp_path / "state"), *flags]
    quiet = subprocess.DEVNULL
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)


def end(process: subprocess.Popen[bytes], signum: int) -> None:
    """It ends at once, with all that it has started."""
    began = descendants(process.pid)
    assert began
    process.send_signal(signum)
    assert process.wait(timeout=30) == 128 + signum
    wait_for(lambda: not any(map(alive, began)), "what it has started to end")


@SIGNALS
@pytest.mark.usefixtures("place")
def test_at_a_server_that_says_nothing(tmp_path: Path, signum: int) -> None:
    held: list[socket.socket] = []
    flags = ["--transport", lines.SSH, "--ssh-config", "none"]
    with answering(held.append) as port, start(tmp_path, f"sftp://{HOST}:{port}/dest", *flags) as process:
        wait_for(lambda: bool(held), "a call")
        end(process, signum)
    for each in held:
        each.close()


def waiting(file: Path) -> str:
    """A command that takes its time, and leaves its number in ``file``."""
    return f"echo $$ >{file}; exec sleep 600"


@SIGNALS
@BOTH
@pytest.mark.usefixtures("place")
def test_at_a_command_that_is_to_print_a_password(tmp_path: Path, transport: str, signum: int) -> None:
    with start_sshd(
        tmp_path, settings=("AuthenticationMethods password", "PasswordAuthentication yes")
    ) as sshd:
        _end_at(
            tmp_path, sshd, signum, "--transport", transport, "--password-command", waiting(tmp_path / "pid")
        )


@SIGNALS
@pytest.mark.usefixtures("place")
def test_at_a_command_of_the_configuration(tmp_path: Path, sshd: Sshd, signum: int) -> None:
    config = tmp_path / "config"
    config.write_text(f'Match exec "{waiting(tmp_path / "pid")}"\n')
    _end_at(tmp_path, sshd, signum, "--ssh-config", str(config))


def _end_at(tmp_path: Path, sshd: Sshd, signum: int, *flags: str) -> None:
    known: Sequence[str] = ("--known-hosts", str(sshd.endpoint.known_hosts))
    with start(tmp_path, sshd.endpoint.url("/dest"), *known, *flags) as process:
        file = tmp_path / "pid"
        wait_for(lambda: file.exists() and file.read_text().endswith("\n"), "the command to begin")
        end(process, signum)
