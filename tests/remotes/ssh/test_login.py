"""How we prove ourselves: agents that hang, keys of all ciphers, passwords, and what servers ask."""

from __future__ import annotations

import getpass
import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from paramiko.server import InteractiveQuery

from reconcile.core.errors import TurnedAway, Unreachable, Untrusted, UsageError
from reconcile.core.job import Job
from reconcile.pipeline import run
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.ssh.connect import connect
from reconcile.remotes.ssh.secret import Secrets
from reconcile.remotes.ssh.target import Login, SshTarget
from reconcile.serve.server import Server
from tests.remotes.conformance import Heard
from tests.support.doors import Door, doorkeeper, dribbling
from tests.support.sshd import Sshd, make_key, start_sshd

SECRET = "correct horse"
VARIABLE = "TEST_PASSWORD"


pytestmark = pytest.mark.usefixtures("home")


def log_in(port: int, tmp_path: Path, secrets: Secrets | None = None, **login: object) -> None:
    """Connect, and hang up."""
    known = str(tmp_path / "known_hosts")
    how = Login(known_hosts=known, accept_new_host_key=True, **login)  # type: ignore[arg-type]
    connect(SshTarget("127.0.0.1", "/", "me", port), how, lambda _: None, secrets=secrets).close()


def spoken(sshd: Sshd, **login: object) -> bool:
    """Whether SFTP is spoken, in the end."""
    with closing(connect(sshd.endpoint.target("/"), sshd.endpoint.login(**login), pytest.fail)) as connection:
        return bool(Session(connection.channel).handshake())


# Agents


@pytest.fixture(params=["silent", "dribbling", "endless", "boasting"])
def bad_agent(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An agent that takes the call and never says anything, or never anything whole."""
    path = tmp_path / "agent"
    long = b"\0\0\x10\0" + bytes(4096)
    said = {
        "silent": b"",
        "dribbling": long,
        "endless": b"\xff\xff\xff\xff",
        "boasting": b"\0\0\0\x05\x0c\x7f\xff\xff\xff",  # of 2**31 keys
    }[request.param]
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    with dribbling(path, said):
        yield path


def test_an_agent_that_hangs_is_done_without(sshd: Sshd, home: Path, bad_agent: Path) -> None:
    shutil.copy(sshd.endpoint.identity, home / ".ssh" / "id_ed25519")
    began = time.monotonic()
    assert spoken(sshd, identity=None, timeout=4.0)
    assert time.monotonic() - began < 4


def test_an_agent_that_hangs_is_named(sshd: Sshd, bad_agent: Path) -> None:
    with pytest.raises(TurnedAway, match=f"Not used: the agent at {bad_agent}: it "):
        spoken(sshd, identity=None, timeout=3.0)


# Keys


@pytest.mark.parametrize("cipher", ["aes256-gcm@openssh.com", "aes256-ctr", "aes256-cbc"])
def test_a_key_is_opened_whatever_its_cipher(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cipher: str
) -> None:
    key = encrypted_copy(sshd, tmp_path, cipher)
    monkeypatch.setenv(VARIABLE, SECRET)
    assert spoken(sshd, identity=str(key), password_env=VARIABLE)
    monkeypatch.setenv(VARIABLE, "wrong")
    with pytest.raises(TurnedAway, match="passphrase is wrong"):
        spoken(sshd, identity=str(key), password_env=VARIABLE)


def test_a_cipher_that_we_lack_is_no_wrong_passphrase(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = encrypted_copy(sshd, tmp_path, "aes128-ctr")
    monkeypatch.setenv(VARIABLE, SECRET)
    with pytest.raises(UsageError, match=r"encrypted with aes128-ctr, which can't be .*ssh-keygen"):
        spoken(sshd, identity=str(key), password_env=VARIABLE)


def encrypted_copy(sshd: Sshd, tmp_path: Path, cipher: str) -> Path:
    key = tmp_path / "key"
    shutil.copy(sshd.endpoint.identity, key)
    change = ["ssh-keygen", "-q", "-p", "-Z", cipher, "-N", SECRET, "-f", str(key)]
    subprocess.run(change, check=True, capture_output=True)
    return key


def test_a_certificate_is_named_where_the_bare_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    (tmp_path / "key-cert.pub").write_text("ssh-ed25519-cert-v01@openssh.com AAAA\n")
    with pytest.raises(TurnedAway, match=r"key-cert\.pub: a certificate, .*--transport ssh"):
        spoken(sshd, identity=str(tmp_path / "key"))


def test_keys_and_hosts_from_a_pipe_are_read_once(sshd: Sshd, tmp_path: Path) -> None:
    """As with ``--identity <(…)``: the second connection of a run finds the pipe empty."""
    pipes = []
    known_hosts = Path(sshd.endpoint.login().known_hosts or "")
    for name, file in (
        ("key", sshd.endpoint.identity),
        ("hosts", known_hosts),
    ):
        reading, writing = os.pipe()
        os.write(writing, file.read_bytes())
        os.close(writing)
        os.symlink(f"/dev/fd/{reading}", tmp_path / name)
        pipes.append(reading)
    login = sshd.endpoint.login(identity=str(tmp_path / "key"), known_hosts=str(tmp_path / "hosts"))
    secrets = Secrets(login)
    for _ in range(2):
        connect(sshd.endpoint.target("/"), login, pytest.fail, secrets=secrets).close()
    for pipe in pipes:
        os.close(pipe)


# Passwords and questions


def test_a_line_break_at_the_end_of_a_secret_is_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, SECRET + "\r\n")
    with doorkeeper(Door(password=SECRET)) as port:
        log_in(port, tmp_path, password_env=VARIABLE)


def test_a_blank_at_the_end_of_a_secret_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET + " ")
    with doorkeeper(Door(password=SECRET)) as port, pytest.raises(TurnedAway, match="ends with a blank"):
        log_in(port, tmp_path, password_env=VARIABLE)


def test_a_password_that_is_taken_only_in_a_dialogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server lists both ways in."""
    monkeypatch.setenv(VARIABLE, SECRET)
    door = Door(allowed="password,keyboard-interactive", dialogue=[("Password: ", SECRET)])
    with doorkeeper(door) as port:
        log_in(port, tmp_path, password_env=VARIABLE)
    assert door.tried == ["password", "dialogue"]


def test_a_second_factor_is_named_where_nobody_can_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    door = Door(
        "keyboard-interactive", dialogue=[("Password: ", SECRET), ("Verification\x1b[2J code:\n", "123456")]
    )
    expected = r'also asked "Verification\\x1b\[2J code:", which nobody could answer'
    with doorkeeper(door) as port, pytest.raises(TurnedAway, match=expected):
        log_in(port, tmp_path, password_env=VARIABLE)
    assert SECRET not in door.answers[1:], "the password is no code"


def test_a_second_factor_is_shown_and_the_password_kept(
    tmp_path: Path, typed: Callable[..., list[str]]
) -> None:
    questions = [("Password: ", SECRET), ("Verification code: ", "123456")]
    door = Door("keyboard-interactive", dialogue=questions)
    prompts = typed(SECRET, "123456", "123456")
    secrets = Secrets(Login(interactive=True))
    with doorkeeper(door) as port:
        for _ in range(2):
            log_in(port, tmp_path, secrets, interactive=True)
    code = "(me@127.0.0.1) Verification code: "
    assert prompts == ["(me@127.0.0.1) Password: ", code, code]


def test_a_code_that_is_asked_for_after_the_password(tmp_path: Path, typed: Callable[..., list[str]]) -> None:
    door = Door("password", password=SECRET, wants_both=True, dialogue=[("Enter it: ", "123456")])
    prompts = typed(SECRET, "123456")
    with doorkeeper(door) as port:
        log_in(port, tmp_path, interactive=True)
    assert prompts == ["Password of me@127.0.0.1: ", "(me@127.0.0.1) Enter it: "]


def test_a_typed_password_is_kept_and_a_wrong_one_is_not(
    tmp_path: Path, typed: Callable[..., list[str]]
) -> None:
    prompts = typed("wrong", SECRET)
    secrets = Secrets(Login(interactive=True))
    with doorkeeper(Door(password=SECRET)) as port:
        for _ in range(3):
            log_in(port, tmp_path, secrets, interactive=True)
    assert len(prompts) == 2
    assert prompts[1].startswith("The server does not accept it.\n")


def test_typing_takes_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of what the server has to let us in, nor of the run's."""

    def type_slowly(_prompt: str) -> str:
        time.sleep(0.7)
        return SECRET

    monkeypatch.setattr(getpass, "getpass", type_slowly)
    secrets = Secrets(Login(interactive=True))
    door = Door("keyboard-interactive", dialogue=[("Password: ", SECRET)] * 2)
    with doorkeeper(door) as port:
        log_in(port, tmp_path, secrets, interactive=True, timeout=1.3)
    assert 1.4 <= secrets.waited < 5


def test_more_questions_than_anybody_would_ask_are_not_made_room_for(tmp_path: Path) -> None:
    class Asking(Door):
        def _ask(self) -> InteractiveQuery:
            query = InteractiveQuery("", "", ("Password: ", False))
            query.prompts = Many(query.prompts)
            return query

    class Many(list[tuple[str, bool]]):
        def __len__(self) -> int:
            return 0x7FFFFFFF

    with (
        doorkeeper(Asking("keyboard-interactive", dialogue=[("", "")])) as port,
        pytest.raises(Unreachable, match="hung up while we logged in"),
    ):
        log_in(port, tmp_path, secrets=Secrets(Login(interactive=True)), interactive=True)


def test_typing_is_none_of_the_run_s_time(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def type_slowly(_prompt: str) -> str:
        time.sleep(1.5)
        return SECRET

    monkeypatch.setattr(getpass, "getpass", type_slowly)
    (tmp_path / "shown").mkdir()
    with Server(tmp_path / "shown", user="me", password=SECRET) as server:
        login = Login(known_hosts=str(tmp_path / "hosts"), accept_new_host_key=True, interactive=True)
        job = Job(str(source), SshTarget("127.0.0.1", "/dest", "me", server.port), str(tmp_path / "state"))
        began = time.monotonic()
        result = run(replace(job, login=login), Heard())
        took = time.monotonic() - began
    assert took - result.duration_s >= 1.4
    assert took - sum(result.phases.values()) >= 1.4


# Unknown hosts


@pytest.mark.parametrize("answer", ["yes", "YES", "fingerprint"])
def test_a_user_may_confirm_an_unknown_host(
    sshd: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    login = sshd.endpoint.login(known_hosts=None)
    with pytest.raises(Untrusted) as refused:
        connect(sshd.endpoint.target("/"), login, pytest.fail)
    shown = str(refused.value).partition("SHA256:")[2].partition("\n")[0]
    typed = f"SHA256:{shown}" if answer == "fingerprint" else answer
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"perhaps\n{typed}\n"))
    said: list[str] = []
    asking = sshd.endpoint.login(known_hosts=None, interactive=True)
    connect(sshd.endpoint.target("/"), asking, said.append).close()
    out, err = capsys.readouterr()
    assert out == ""
    assert f"SHA256:{shown}" in err
    assert "(yes/no)" in err
    assert len(said) == 1
    assert (home / ".ssh" / "known_hosts").read_text() == f"[127.0.0.1]:{sshd.port} {sshd.host_key}\n"


@pytest.mark.parametrize("answers", ["no\n", "", "\nNo\n"])
def test_an_unknown_host_that_is_not_confirmed_is_refused(
    sshd: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch, answers: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
    with pytest.raises(Untrusted, match="not known"):
        spoken(sshd, known_hosts=None, interactive=True)
    assert not (home / ".ssh" / "known_hosts").exists()


# Algorithms


def test_the_standard_name_of_curve25519_is_spoken(tmp_path: Path) -> None:
    with start_sshd(tmp_path, settings=("KexAlgorithms curve25519-sha256",)) as sshd:
        assert spoken(sshd)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("KexAlgorithms sntrup761x25519-sha512@openssh.com", "of ways to exchange keys it offers sntrup761"),
        ("Ciphers chacha20-poly1305@openssh.com", "of ciphers it offers chacha20"),
        ("HostKeyAlgorithms sk-ssh-ed25519@openssh.com", "broke off|of types of host key it offers"),
    ],
)
def test_what_is_not_in_common_is_named(tmp_path: Path, setting: str, named: str) -> None:
    with (
        start_sshd(tmp_path, settings=(setting,)) as sshd,
        pytest.raises(Unreachable, match=named) as refused,
    ):
        spoken(sshd)
    assert "SHA-1" not in str(refused.value)
