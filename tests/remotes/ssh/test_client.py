"""OpenSSH's own client as the way to a server: real ones, and programs that only claim to be it."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconcile.core.errors import (
    ConnectionLost,
    ReconcileError,
    TurnedAway,
    Unreachable,
    Untrusted,
    UsageError,
)
from reconcile.remotes.sftp.channel import SftpChannel
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.ssh import lines
from reconcile.remotes.ssh.known_hosts import fingerprint
from reconcile.remotes.ssh.reach import reach
from tests.support.doors import answering
from tests.support.processes import alive, descendants, wait_for
from tests.support.sshd import CLIENT, Endpoint, Sshd, make_key, start_sshd

pytestmark = pytest.mark.usefixtures("place")

LONG = 20.0  # seconds that connecting may take: it fails at once
SHORT = 1.5  # the same where it fails because they are over


def quiet(_: str) -> None:
    """Nobody listens."""


@pytest.fixture
def there(sshd: Sshd) -> Endpoint:
    return sshd.endpoint.by(lines.SSH)


def connect(there: Endpoint, say: Callable[[str], None] = pytest.fail, **login: Any) -> lines.Connection:
    return reach(there.target("/"), there.login(**login), say)


def refusal(kind: type[ReconcileError], there: Endpoint, **login: Any) -> str:
    """The message with which connecting fails, in time."""
    seconds = login.setdefault("timeout", LONG)
    began = time.monotonic()
    with pytest.raises(kind) as caught, closing(connect(there, quiet, **login)) as connection:
        Session(connection.channel).handshake()
    assert time.monotonic() - began < seconds + 5  # for a process that won't end, and a machine that is slow
    return str(caught.value)


# The way in


def test_it_speaks_sftp_and_tells_what_it_agreed_on(there: Endpoint, sshd: Sshd) -> None:
    with closing(connect(there)) as connection:
        assert connection.transport_name == lines.SSH
        assert connection.server_version.startswith("SSH-2.0-OpenSSH_")
        assert connection.agreed["key exchange"] == "curve25519-sha256"
        assert connection.agreed["host key"] == "ssh-ed25519"
        assert b"posix-rename@openssh.com" in Session(connection.channel).handshake()


def test_more_channels_go_over_the_same_connection(there: Endpoint, sshd: Sshd) -> None:
    logins = sshd.log.read_text().count("Accepted publickey")
    with closing(connect(there)) as connection:
        Session(connection.channel).handshake()

        def greet(channel: lines.Channel) -> SftpChannel:
            more = SftpChannel(channel, 10)
            more.greet()
            return more

        granted = [each.result() for each in connection.ask_for_more(3, greet)]
        assert all(granted)
        assert granted[0] is not None
        granted[0].queue_greeting()  # it is answered, if only by a refusal
        granted[0].push()
        connection.wait(10)
        assert granted[0].pipe.recv_ready()
    assert sshd.log.read_text().count("Accepted publickey") == logins + 1


def test_channels_that_the_server_refuses_are_none(tmp_path: Path) -> None:
    with start_sshd(tmp_path, settings=("MaxSessions 2",)) as own:
        with closing(connect(own.endpoint.by(lines.SSH))) as connection:
            Session(connection.channel).handshake()
            asked = connection.ask_for_more(3, lambda channel: SftpChannel(channel, 10).greet())
            assert [bool(each.result()) for each in asked].count(True) == 1
        assert own.log.read_text().count("Accepted publickey") == 1


def test_compression_is_spoken(there: Endpoint) -> None:
    with closing(connect(there, compress=True)) as connection:
        assert connection.agreed["compression"].startswith("zlib")


def test_a_first_key_is_enrolled_if_that_was_asked_for(there: Endpoint, tmp_path: Path) -> None:
    known, said = tmp_path / "known hosts", list[str]()
    login: dict[str, Any] = {"known_hosts": str(known), "accept_new_host_key": True}
    connect(there, said.append, **login).close()
    assert known.read_text().startswith(f"[{there.host}]:{there.port} ssh-ed25519 ")
    assert len(said) == 1
    assert "Permanently added" in said[0]
    connect(there, **login).close()


# What is in the way


def test_an_unknown_host(there: Endpoint, sshd: Sshd, tmp_path: Path) -> None:
    message = refusal(Untrusted, there, known_hosts=str(tmp_path / "none"))
    assert "is not known: not connected" in message
    assert f"shown:    ssh-ed25519 {_fingerprint(sshd)}" in message
    assert not (tmp_path / "none").exists()


def test_a_changed_key(there: Endpoint, sshd: Sshd, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    known = tmp_path / "known_hosts"
    known.write_text(f"[{there.host}]:{there.port} {other}\n")
    for accepts in (False, True):
        message = refusal(Untrusted, there, known_hosts=str(known), accept_new_host_key=accepts)
        assert f"THE HOST KEY OF [{there.host}]:{there.port} HAS CHANGED" in message
        assert f"shown:    ssh-ed25519 {_fingerprint(sshd)}" in message
        assert f"expected: {known}, line 1: ssh-ed25519 SHA256:" in message


@pytest.mark.parametrize("form", ["fingerprint", "line"])
def test_a_key_that_is_given_by_value(there: Endpoint, sshd: Sshd, form: str) -> None:
    pin = _fingerprint(sshd) if form == "fingerprint" else f"some.name {sshd.host_key}"
    connect(there, known_hosts="/dev/null", host_keys=(f"SHA256:{'A' * 43}", pin)).close()
    message = refusal(Untrusted, there, host_keys=(f"SHA256:{'A' * 43}",))
    assert "IS NOT THE ONE THAT --host-key NAMES" in message
    assert _fingerprint(sshd) in message


def _fingerprint(sshd: Sshd) -> str:
    return fingerprint(base64.b64decode(sshd.host_key.split()[1]))


def test_a_key_that_is_refused(there: Endpoint, tmp_path: Path) -> None:
    make_key(tmp_path / "stranger")
    message = refusal(TurnedAway, there, identity=str(tmp_path / "stranger"))
    assert f"key {tmp_path / 'stranger'} ED25519 SHA256:" in message
    assert "the server allows: publickey" in message


def test_a_host_that_is_not_there(there: Endpoint) -> None:
    there = replace(there, host="no-such-host.invalid")
    assert "can't find the host 'no-such-host.invalid'" in refusal(Unreachable, there)


def test_a_port_at_which_nobody_listens(there: Endpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    assert "Connection refused" in refusal(Unreachable, replace(there, port=port))


def test_a_server_that_says_nothing(there: Endpoint) -> None:
    held: list[socket.socket] = []
    with answering(held.append) as port:
        assert f"port {port}" in refusal(Unreachable, replace(there, port=port), timeout=SHORT)
    for each in held:
        each.close()


def test_no_sftp(tmp_path: Path) -> None:
    with start_sshd(tmp_path, settings=("ForceCommand /bin/false",)) as own:
        assert "offers no SFTP subsystem" in refusal(TurnedAway, own.endpoint.by(lines.SSH))


def test_no_session(tmp_path: Path) -> None:
    with start_sshd(tmp_path, settings=("MaxSessions 0",)) as own:
        assert "opened no channel" in refusal(Unreachable, own.endpoint.by(lines.SSH))


# A command that is no ssh


def program(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("command", ["", "'", "/does/not/exist", "/etc/hostname -x"])
def test_a_command_that_can_not_be_started(there: Endpoint, command: str) -> None:
    assert "--ssh-command" in refusal(UsageError, there, ssh_command=command)


@pytest.mark.parametrize(
    "text", ["exit 0", "exit 3", "echo hello", "exec sleep 600", "exec cat", "echo one; sleep 600"]
)
def test_a_command_that_is_something_else(there: Endpoint, tmp_path: Path, text: str) -> None:
    message = refusal(Unreachable, there, ssh_command=program(tmp_path, text), timeout=SHORT)
    assert "has to take the options of OpenSSH's ssh" in message


def test_a_command_that_does_not_end_when_it_is_asked_to(there: Endpoint, tmp_path: Path) -> None:
    stubborn = program(tmp_path, "trap '' TERM HUP; while :; do sleep 0.1; done")
    refusal(Unreachable, there, ssh_command=stubborn, timeout=SHORT)


def test_what_it_says_is_shown_but_can_not_command_a_terminal(there: Endpoint, tmp_path: Path) -> None:
    message = refusal(
        Unreachable, there, ssh_command=program(tmp_path, r"printf 'bad \033[2J thing\n' >&2; exit 1")
    )
    assert r"bad \x1b[2J thing" in message


def test_an_option_that_it_does_not_know(there: Endpoint) -> None:
    message = refusal(UsageError, there, ssh_command=f"{CLIENT} -o NoSuchThing=yes")
    assert "nosuchthing" in message.lower()


# Its end, and ours


def test_a_server_that_dies_is_a_lost_connection(own_sshd: Sshd) -> None:
    with closing(connect(own_sshd.endpoint.by(lines.SSH), quiet)) as connection:
        session = Session(connection.channel)
        session.handshake()
        own_sshd.stop()
        with pytest.raises(ConnectionLost):
            session.handshake()


CHILD = """
import sys, time
from pathlib import Path
from typing import Any
from reconcile.remotes.ssh.reach import reach
from reconcile.remotes.ssh.target import Login, SshTarget
port, user, identity, known_hosts, command = sys.argv[1:]
login = Login(identity=identity, known_hosts=known_hosts, transport="ssh", ssh_command=command)
connection = reach(SshTarget("127.0.0.1", "/", user, int(port)), login, print)
connection.ask_for_more(2, lambda channel: channel.recv(1))
print("connected", flush=True)
time.sleep(600)
"""


def test_when_we_are_killed_it_ends(there: Endpoint, place: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(there.port), there.user, str(there.identity)]
    command += [str(there.known_hosts), CLIENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"connected\n"
        clients = descendants(process.pid)
        assert len(clients) >= 3
        process.kill()
        process.wait()
        wait_for(lambda: not any(map(alive, clients)), "clients to end")
    (left,) = place.iterdir()  # which only we could have taken away
    shutil.rmtree(left)
