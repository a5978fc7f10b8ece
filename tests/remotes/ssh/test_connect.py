"""Connecting for real: to sshd, to the embedded server, and to what is no SSH server at all."""

from __future__ import annotations

import getpass
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import cycle
from pathlib import Path

import paramiko
import pytest
from msgspec.structs import replace

from reconcile.core.errors import TurnedAway, Unreachable, UsageError
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.ssh.connect import Connection, connect
from reconcile.remotes.ssh.known_hosts import fingerprint
from reconcile.remotes.ssh.library import takes_runs
from reconcile.remotes.ssh.packets import Packets, Stream
from reconcile.remotes.ssh.target import Login, SshTarget
from reconcile.remotes.ssh.transport import Transport
from reconcile.remotes.tree.steps import Burst, Recipe
from reconcile.remotes.tree.verbs import OK, Attrs, Close, Handle, Lstat, OpenNew, Verb, Write
from reconcile.serve.server import Server
from tests.support.agents import start_agent
from tests.support.doors import Door, answering, doorkeeper
from tests.support.processes import wait_for
from tests.support.sshd import Sshd, make_key, start_sshd

SECRET = "correct horse"
VARIABLE = "TEST_PASSWORD"


def quiet(_: str) -> None:
    """Nobody listens."""


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Neither paramiko's log nor a thread's traceback reaches the user, and no timer outlives us."""
    yield
    assert capfd.readouterr() == ("", "")
    wait_for(
        lambda: not any(isinstance(thread, threading.Timer) for thread in threading.enumerate()), "timers"
    )


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The embedded server, with a password that is also in a variable."""
    (tmp_path / "shown").mkdir()
    monkeypatch.setenv(VARIABLE, SECRET)
    with Server(tmp_path / "shown", user="me", password=SECRET) as server:
        yield server


def speak(connection: Connection) -> dict[bytes, bytes]:
    """The extensions, as proof that SFTP is spoken."""
    with closing(connection):
        return Session(connection.channel).handshake()


def refusal(target: SshTarget, login: Login) -> str:
    """The message with which connecting fails."""
    with pytest.raises(Unreachable) as caught:
        speak(connect(target, login, quiet))
    message = str(caught.value)
    assert SECRET not in message
    return message


def at(server: Server, user: str = "me") -> SshTarget:
    return SshTarget("127.0.0.1", "/", user, server.port)


def trusting(tmp_path: Path, **changes: object) -> Login:
    login = Login(known_hosts=str(tmp_path / "known_hosts"), accept_new_host_key=True, password_env=VARIABLE)
    return replace(login, **changes)  # the names are checked at run time


# The way in


def test_it_connects_to_openssh(sshd: Sshd) -> None:
    connection = connect(sshd.endpoint.target("/"), sshd.endpoint.login(), pytest.fail)
    assert connection.server_version.startswith("SSH-2.0-OpenSSH_")
    gcm = "aes128-gcm@openssh.com" if takes_runs() else "aes128-ctr"  # older ones of paramiko have none
    assert vars(connection.transport)["remote_cipher"] == gcm
    with closing(connection):
        assert b"posix-rename@openssh.com" in Session(connection.channel).handshake()
        assert b"posix-rename@openssh.com" in Session(connection.open_channel()).handshake()


def test_compression_is_spoken(sshd: Sshd) -> None:
    connection = connect(sshd.endpoint.target("/"), sshd.endpoint.login(compress=True), pytest.fail)
    assert vars(connection.transport)["local_compression"] == "zlib@openssh.com"
    assert speak(connection)


def test_closing_twice_is_fine(sshd: Sshd) -> None:
    connection = connect(sshd.endpoint.target("/"), sshd.endpoint.login(), pytest.fail)
    connection.close()
    connection.close()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_default_keys_are_found(sshd: Sshd, home: Path, tmp_path: Path, kind: str) -> None:
    make_key(home / ".ssh" / f"id_{kind}", kind=kind)
    with authorized(sshd, home / ".ssh" / f"id_{kind}.pub"):
        assert speak(connect(sshd.endpoint.target("/"), sshd.endpoint.login(identity=None), pytest.fail))


@contextmanager
def authorized(sshd: Sshd, public: Path) -> Iterator[None]:
    """The server takes this key too, for a while."""
    file = sshd.folder / "authorized_keys"
    before = file.read_text()
    file.write_text(before + public.read_text())
    try:
        yield
    finally:
        file.write_text(before)


def test_an_agents_key_is_used(
    sshd: Sshd, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_agent(tmp_path, sshd.endpoint.identity) as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        assert speak(connect(sshd.endpoint.target("/"), sshd.endpoint.login(identity=None), pytest.fail))


def test_an_agent_opens_the_encrypted_identity(
    sshd: Sshd, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypted = tmp_path / "key"
    shutil.copy(sshd.endpoint.identity, encrypted)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-N", SECRET, "-f", str(encrypted)], check=True, capture_output=True
    )
    with start_agent(tmp_path, sshd.endpoint.identity) as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        login = sshd.endpoint.login(identity=str(encrypted))
        assert speak(connect(sshd.endpoint.target("/"), login, pytest.fail))


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_an_agent_that_refuses_to_sign_is_named(
    sshd: Sshd, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The server was not asked, so it has refused nothing; and another key may do."""
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
    make_key(tmp_path / "shy", kind=kind)
    with (
        authorized(sshd, tmp_path / "shy.pub"),
        start_agent(tmp_path, tmp_path / "shy", confirm=True) as path,
    ):
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        message = refusal(sshd.endpoint.target("/"), sshd.endpoint.login(identity=None))
        assert "Not used: key throwaway (agent): it did not sign" in message
        assert "Tried: without a proof; the server allows: publickey" in message
        shutil.copy(sshd.endpoint.identity, home / ".ssh" / "id_ed25519")
        assert speak(connect(sshd.endpoint.target("/"), sshd.endpoint.login(identity=None), pytest.fail))


@pytest.mark.parametrize("socket_path", ["/nowhere", ""])
def test_a_dead_agent_is_no_agent(
    sshd: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch, socket_path: str
) -> None:
    shutil.copy(sshd.endpoint.identity, home / ".ssh" / "id_ed25519")
    monkeypatch.setenv("SSH_AUTH_SOCK", socket_path)
    assert speak(connect(sshd.endpoint.target("/"), sshd.endpoint.login(identity=None), pytest.fail))


def test_the_identity_is_the_only_key_offered(
    sshd: Sshd, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(sshd.endpoint.identity, home / ".ssh" / "id_ed25519")
    make_key(tmp_path / "other")
    with start_agent(tmp_path, sshd.endpoint.identity) as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        message = refusal(sshd.endpoint.target("/"), sshd.endpoint.login(identity=str(tmp_path / "other")))
    assert f"Tried: key {tmp_path / 'other'};" in message
    assert "the server allows: publickey" in message
    assert "--identity" in message


# Encrypted keys


@pytest.fixture
def encrypted(sshd: Sshd, tmp_path: Path) -> Iterator[Login]:
    """A login with a key that SECRET opens."""
    make_key(tmp_path / "encrypted", passphrase=SECRET)
    with authorized(sshd, tmp_path / "encrypted.pub"):
        yield sshd.endpoint.login(identity=str(tmp_path / "encrypted"))


def test_a_variable_opens_an_encrypted_key(
    sshd: Sshd, encrypted: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    login = replace(encrypted, password_env=VARIABLE)
    assert speak(connect(sshd.endpoint.target("/"), login, pytest.fail))


def test_a_prompt_opens_an_encrypted_key(
    sshd: Sshd, encrypted: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["wrong", SECRET]
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: answers.pop(0))
    assert speak(connect(sshd.endpoint.target("/"), replace(encrypted, interactive=True), pytest.fail))


def test_an_encrypted_key_without_its_passphrase_says_what_to_do(sshd: Sshd, encrypted: Login) -> None:
    message = refusal(sshd.endpoint.target("/"), encrypted)
    for part in ("encrypted", "ssh-add", "--passphrase-command"):
        assert part in message


def test_a_wrong_passphrase_is_named(sshd: Sshd, encrypted: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "wrong")
    message = refusal(sshd.endpoint.target("/"), replace(encrypted, password_env=VARIABLE))
    assert "passphrase is wrong" in message


def test_a_default_key_that_stays_closed_is_named(sshd: Sshd, home: Path) -> None:
    make_key(home / ".ssh" / "id_rsa", passphrase=SECRET, kind="rsa")
    message = refusal(sshd.endpoint.target("/"), sshd.endpoint.login(identity=None))
    assert "Not used:" in message
    assert "id_rsa: it is encrypted" in message


def test_a_passphrase_is_never_sent_as_a_password(server: Server, tmp_path: Path) -> None:
    make_key(tmp_path / "key", passphrase=SECRET)
    message = refusal(at(server), trusting(tmp_path, identity=str(tmp_path / "key")))
    assert f"Tried: key {tmp_path / 'key'}; the server allows: password." in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "no private key"),
        (b"\xff\xfe", "no private key"),
        (b"ssh-ed25519 AAAA me\n", "public key"),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\n", "puttygen"),
        (b"-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n", "DSA"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "ssh-keygen -p"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "damaged"),
    ],
)
def test_a_bad_identity_is_wrong_usage(
    sshd: Sshd, tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        connect(sshd.endpoint.target("/"), sshd.endpoint.login(identity=str(tmp_path / "key")), quiet)


def test_a_torn_identity_is_named(sshd: Sshd, tmp_path: Path) -> None:
    lines = sshd.endpoint.identity.read_text().splitlines(keepends=True)
    (tmp_path / "key").write_text("".join(lines[:3] + lines[-1:]))
    assert "damaged" in refusal(
        sshd.endpoint.target("/"), sshd.endpoint.login(identity=str(tmp_path / "key"))
    )


# Passwords


def test_a_password_from_a_variable_lets_in(server: Server, home: Path, tmp_path: Path) -> None:
    assert speak(connect(at(server), trusting(tmp_path), quiet))


def test_a_wrong_password_is_told_from_a_wrong_user(
    server: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "does not let 'you' in" in refusal(at(server, "you"), trusting(tmp_path))
    monkeypatch.setenv(VARIABLE, "wrong")
    message = refusal(at(server), trusting(tmp_path))
    assert "Tried: password; the server allows: password." in message


def test_a_missing_variable_is_wrong_usage(server: Server, home: Path, tmp_path: Path) -> None:
    for value in (None, ""):
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv(VARIABLE)
            if value is not None:
                patch.setenv(VARIABLE, value)
            with pytest.raises(UsageError, match=VARIABLE):
                connect(at(server), trusting(tmp_path), quiet)


def test_prompts_stop_when_nothing_is_typed(
    server: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answers = ["wrong", SECRET]

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return answers.pop(0) if answers else ""

    monkeypatch.setattr(getpass, "getpass", ask)
    login = trusting(tmp_path, password_env=None, interactive=True)
    assert speak(connect(at(server), login, quiet))
    prompt = "Password of me@127.0.0.1: "
    assert asked == [prompt, f"The server does not accept it.\n{prompt}"]
    assert "Tried: without a proof;" in refusal(at(server), login)


def test_nothing_to_offer_names_what_is_allowed(server: Server, home: Path, tmp_path: Path) -> None:
    message = refusal(at(server), trusting(tmp_path, password_env=None))
    assert "the server allows: password." in message
    assert "--password-env" in message


def test_keyboard_interactive_takes_the_password_and_no_sftp_is_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    with doorkeeper(Door(allowed="keyboard-interactive", dialogue=[("Password: ", SECRET)])) as port:
        target = SshTarget("127.0.0.1", "/", "me", port)
        assert "no SFTP subsystem" in refusal(target, trusting(tmp_path))
        monkeypatch.setenv(VARIABLE, "wrong")
        assert "Tried: password, keyboard-interactive;" in refusal(target, trusting(tmp_path))


# Nobody there, or somebody else


def test_a_refused_port_is_named(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    message = refusal(SshTarget("127.0.0.1", "/", "me", port), Login())
    assert f"127.0.0.1, port {port}, refused" in message
    assert "--port" in message


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".org", "x..y"])
def test_an_unknown_name_is_named(home: Path, host: str) -> None:
    assert "can't find the host" in refusal(SshTarget(host, "/", "me"), Login())


@pytest.mark.parametrize(("error", "lasting"), [(socket.EAI_AGAIN, False), (socket.EAI_NONAME, True)])
def test_a_name_may_be_found_later_where_nobody_could_be_asked(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: int, lasting: bool
) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(error, "not found")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(Unreachable, match="can't find the host 'host': not found") as caught:
        connect(SshTarget("host", "/", "me"), Login(), quiet)
    assert isinstance(caught.value, TurnedAway) is lasting


def greet(greeting: bytes) -> Callable[[socket.socket], None]:
    def answer(sock: socket.socket) -> None:
        with sock, suppress(OSError):  # who is greeted so may hang up in the middle
            sock.sendall(greeting)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass

    return answer


@pytest.mark.parametrize(
    ("greeting", "message", "lasting"),
    [
        (b"HTTP/1.1 400 Bad Verb\r\n\r\n", 'no SSH server: it said "HTTP/1.1 400 Bad Verb"', True),
        (b"\xff\x00\x1b[2Jgarbage\r\n", "no SSH server: it said", False),
        (b"220 ftp ready\r\n", "no SSH server", True),
        (b"Exceeded MaxStartups\r\n", 'turns us away for now: it said "Exceeded MaxStartups"', False),
        (b"", "without a word", False),
        (b"no end of line" * 10_000, "no SSH server", False),
        (b"SSH-1.5-old\r\n", "no way of talking", True),
        (b"SSH-2.0-broken\r\n", "broke off", False),
        (b"SSH-2.0-broken\r\n\xff\xff\xff\xff garbage garbage garbage", "broke off", False),
        (b"SSH-2.0-broken\r\n\0\0\0\x0c\x0a\x14" + bytes(10), "no way of talking", True),  # offers nothing
    ],
)
def test_what_is_no_ssh_server_is_told(home: Path, greeting: bytes, message: str, lasting: bool) -> None:
    """And whether another attempt may find one: it may have been busy."""
    with answering(greet(greeting)) as port, pytest.raises(Unreachable) as caught:
        connect(SshTarget("127.0.0.1", "/", "me", port), Login(timeout=10), quiet)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert isinstance(caught.value, TurnedAway) is lasting


def test_the_first_word_comes_at_once_and_is_said_once(home: Path) -> None:
    """A server goes on with it while we are getting ready. Then come our keys."""
    heard = b""

    def answer(sock: socket.socket) -> None:
        nonlocal heard
        with sock:
            sock.settimeout(10)
            while b"\n" not in heard:
                heard += sock.recv(100)
            sock.sendall(b"SSH-2.0-broken\r\n")
            while b"curve25519" not in heard:
                heard += sock.recv(100)

    with answering(answer) as port:
        refusal(SshTarget("127.0.0.1", "/", "me", port), Login(timeout=10))
    hello, _, keys = heard.partition(b"\r\n")
    assert hello.startswith(b"SSH-2.0-reconcile_")
    assert b"SSH-2.0" not in keys
    assert keys[5] == paramiko.common.MSG_KEXINIT


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-slow\r\n", b"no end of line"])
def test_a_silent_server_is_given_up(home: Path, greeting: bytes) -> None:
    held: list[socket.socket] = []

    def answer(sock: socket.socket) -> None:
        sock.sendall(greeting)
        held.append(sock)

    with answering(answer) as port:
        message = refusal(SshTarget("127.0.0.1", "/", "me", port), Login(timeout=0.4))
    for sock in held:
        sock.close()
    assert "said nothing" in message or "did not finish" in message or "no SSH server" in message


@pytest.mark.parametrize("ours", [False, True], ids=["the server asks", "we ask"])
def test_new_keys_in_the_middle_tear_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    """Between two packets of a run of them, with requests and replies on the way."""
    exchanges = 0

    class Counting(Transport):
        def _parse_newkeys(self, message: paramiko.Message) -> None:
            nonlocal exchanges
            exchanges += 1
            super()._parse_newkeys(message)  # type: ignore[misc]

    def look(path: bytes) -> Recipe[Attrs]:
        reply: Attrs = yield Lstat(path)
        return reply

    monkeypatch.setattr("reconcile.remotes.ssh.transport.Transport", Counting)
    if ours:
        monkeypatch.setattr(Packets, "REKEY_BYTES", 100_000)
    settings = () if ours else ("RekeyLimit 100K",)
    with (
        start_sshd(tmp_path, settings=settings) as sshd,
        closing(connect(sshd.endpoint.target("/"), sshd.endpoint.login(), quiet)) as connection,
    ):
        session = Session(connection.channel)
        session.handshake()
        replies = list(session.run((look(b"/") for _ in range(10_000)), 500))
    assert all(isinstance(reply, Attrs) for reply in replies)
    assert exchanges > 2


@pytest.mark.parametrize(
    ("settings", "compress"),
    [((), False), ((), True), (("Ciphers aes256-ctr",), False)],
    ids=["in one go", "compressed", "without AEAD"],
)
def test_a_run_of_packets_arrives_as_it_was_sent(
    tmp_path: Path, settings: tuple[str, ...], compress: bool
) -> None:
    """Of all sizes around that of a packet, and more than the window takes at once."""
    content = random.Random(4).randbytes(5 << 20)
    with (
        start_sshd(tmp_path, settings=settings) as sshd,
        closing(
            connect(sshd.endpoint.target("/"), replace(sshd.endpoint.login(), compress=compress), quiet)
        ) as connection,
    ):
        session = Session(connection.channel)
        session.handshake()
        session.call(write_pieces(os.fsencode(tmp_path / "file"), content))
    assert (tmp_path / "file").read_bytes() == content


def write_pieces(path: bytes, content: bytes) -> Recipe[None]:
    opened = yield OpenNew(path, 0o600)
    assert isinstance(opened, Handle)
    sizes = cycle([1, 32_000, 32_640, 32_704, 32_768, 65_408, 100_000, 200_000])

    def pieces() -> Iterator[Verb]:
        offset = 0
        while piece := content[offset : offset + next(sizes)]:
            yield Write(opened.handle, offset, piece)
            offset += len(piece)

    refused = yield Burst(pieces())
    assert not refused
    assert (yield Close(opened.handle)) is OK


def test_a_closed_channel_takes_no_more(tmp_path: Path) -> None:
    with (
        start_sshd(tmp_path) as sshd,
        closing(connect(sshd.endpoint.target("/"), sshd.endpoint.login(), quiet)) as connection,
    ):
        session = Session(connection.channel)
        session.handshake()
        connection.channel.close()
        with pytest.raises(OSError, match="closed"):
            connection.channel.send(memoryview(b"x"), wait=True)


def test_paramiko_comes_without_what_we_do_not_use() -> None:
    """A third of the time that it takes to begin."""
    program = (
        "import reconcile.remotes.ssh.auth, sys, importlib;"
        "print([n for n in ('asyncio', 'importlib.metadata') if n in sys.modules], 'invoke' in sys.modules);"
        "from importlib import metadata; print(metadata.version('paramiko') > '')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\nTrue\n"


def test_no_common_cipher_is_named(tmp_path: Path) -> None:
    with start_sshd(tmp_path, settings=("Ciphers chacha20-poly1305@openssh.com",)) as sshd:
        message = refusal(sshd.endpoint.target("/"), sshd.endpoint.login())
    assert "of ciphers it offers chacha20-poly1305@openssh.com; ours are aes128-" in message
    assert "(sshd_config: Ciphers)" in message
    assert "SHA-1" not in message


# Host keys


def known(tmp_path: Path, sshd: Sshd, line: str) -> Login:
    file = tmp_path / "known_hosts"
    file.write_text(line.format(host=f"[127.0.0.1]:{sshd.port}", key=sshd.host_key) + "\n")
    return sshd.endpoint.login(known_hosts=str(file), accept_new_host_key=True)


def test_host_keys_are_checked(sshd: Sshd, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    target = sshd.endpoint.target("/")
    for line in ("{host} {key}", "[127.0.0.*]:* {key}", f"@cert-authority * {other}\n{{host}} {{key}}"):
        assert speak(connect(target, known(tmp_path, sshd, line), pytest.fail))
    assert "HAS CHANGED" in refusal(target, known(tmp_path, sshd, f"{{host}} {other}"))
    assert "revoked" in refusal(target, known(tmp_path, sshd, "{host} {key}\n@revoked * {key}"))
    assert (tmp_path / "known_hosts").read_text().count("\n") == 2, "nothing was enrolled"


def test_a_host_known_by_another_type_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    make_key(tmp_path / "other", kind="ecdsa")
    other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    assert "OF A TYPE" in refusal(sshd.endpoint.target("/"), known(tmp_path, sshd, f"{{host}} {other}"))


def test_the_known_type_of_key_is_asked_for(tmp_path: Path) -> None:
    make_key(tmp_path / "ecdsa", kind="ecdsa")
    with start_sshd(tmp_path, settings=(f"HostKey {tmp_path / 'ecdsa'}",)) as sshd:
        key = " ".join((tmp_path / "ecdsa.pub").read_text().split()[:2])
        for line, kind in (("{host} {key}", "ssh-ed25519"), (f"{{host}} {key}", "ecdsa-sha2-nistp256")):
            connection = connect(sshd.endpoint.target("/"), known(tmp_path, sshd, line), pytest.fail)
            assert vars(connection.transport)["host_key_type"] == kind
            assert speak(connection)


def test_an_unknown_host_is_refused_then_enrolled(sshd: Sshd, home: Path) -> None:
    login = sshd.endpoint.login(known_hosts=None)
    target = sshd.endpoint.target("/")
    assert "SHA256:" in refusal(target, login)
    said: list[str] = []
    assert speak(connect(target, replace(login, accept_new_host_key=True), said.append))
    assert len(said) == 1
    assert (home / ".ssh" / "known_hosts").read_text() == f"[127.0.0.1]:{sshd.port} {sshd.host_key}\n"
    assert speak(connect(target, login, pytest.fail))


def test_a_refused_host_gets_no_secret(server: Server, home: Path, tmp_path: Path) -> None:
    message = refusal(at(server), trusting(tmp_path, accept_new_host_key=False))
    assert server.host_key_fingerprint in message
    assert fingerprint(b"") not in message


# What the configuration says: see test_config.py


def test_the_config_is_followed(sshd: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"""
        Host *.other
            Port 1
        Host alias
            HostName 127.0.0.1
            User {sshd.endpoint.user}
            Port {sshd.port}
            IdentityFile {sshd.endpoint.identity}
            LocalForward 1 localhost:2
        """
    )
    login = sshd.endpoint.login(identity=None, ssh_config=str(config))
    assert speak(connect(SshTarget("alias", "/"), login, pytest.fail))
    config.write_text("Host *\n  User nobody\n  Port 1\n")
    login = sshd.endpoint.login(ssh_config=str(config))
    assert speak(connect(sshd.endpoint.target("/"), login, pytest.fail))


def test_a_connection_that_takes_no_data_breaks_in_the_end() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        stream = Stream(ours)
        stream.settimeout(0.01)
        with pytest.raises(TimeoutError):
            stream.sendall(bytes(8 << 20))  # more than the system takes on its way
        with pytest.raises(TimeoutError):
            stream.send(b"x")
        stream.patience = 0.0
        with pytest.raises(BrokenPipeError):
            stream.send(b"x")
        theirs.recv(1 << 20)
        assert stream.send(b"x") == 1
        stream.close()
