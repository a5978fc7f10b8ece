"""Secrets that commands print, and what else those may do."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from reconcile.core.errors import TurnedAway
from reconcile.remotes.ssh.command import read_secret
from reconcile.remotes.ssh.secret import Secrets
from reconcile.remotes.ssh.target import Login
from tests.support.processes import alive, wait_for

OPTION = "--password-command"


@pytest.mark.parametrize(
    ("command", "secret"),
    [
        ("echo secret", "secret"),
        ("printf secret", "secret"),
        ("printf 'secret\\r\\n'", "secret"),
        ("echo ' in  between '", " in  between "),
        ("printf 'gehe\\303\\257m'", "geheïm"),
        ("(echo one; echo two) | head -n 1", "one"),
        ("echo secret; exec >&-; sleep 0.2", "secret"),
        ("sleep 300 & echo secret", "secret"),
    ],
)
def test_the_one_line_is_the_secret(command: str, secret: str) -> None:
    """Also where something that it began still holds its output, as an agent would."""
    began = time.monotonic()
    assert read_secret(command, OPTION, 60.0) == secret
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("exit 3", r"failed \(code 3\)"),
        ("echo secret; exit 1", r"failed \(code 1\)"),
        ("no-such-command-at-all 2>&-", r"failed \(code 127\)"),
        ("kill -9 $$", r"failed \(signal 9\)"),
        ("true", "prints nothing"),
        ("echo", "prints nothing"),
        ("echo secret; echo url: nas", "prints 2 lines"),
        ("printf '\\nsecret'", "prints 2 lines"),
        ("printf '\\377'", "UTF-8"),
        ("yes secret", "more than any secret"),
        ("cat", "prints nothing"),  # it is given nothing to read
    ],
)
def test_anything_else_is_refused(command: str, why: str) -> None:
    with pytest.raises(TurnedAway, match=f"^{OPTION}: .*{why}.* Not logged in.$") as caught:
        read_secret(command, OPTION, 60.0)
    assert "secret\n" not in str(caught.value)


@pytest.mark.parametrize(
    "command", ["sleep 300", "exec >&-; sleep 300", "while :; do printf .; sleep 0.05; done"]
)
def test_one_that_hangs_is_ended_with_all_that_it_began(tmp_path: Path, command: str) -> None:
    began = time.monotonic()
    with pytest.raises(TurnedAway, match=r"did not end within 0\.4 s"):
        read_secret(f"sleep 301 & echo $! >{tmp_path}/pid; {command}", OPTION, 0.4)
    assert time.monotonic() - began < 60
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not alive(pid), "what it began to end")


def test_it_is_run_once_and_again_where_its_secret_is_no_longer_taken(tmp_path: Path) -> None:
    """As with codes that are good once. But not where it was never right: accounts are locked for less."""
    command = f"echo x >>{tmp_path}/runs; wc -l <{tmp_path}/runs"
    secrets = Secrets(Login(password_command=command))
    assert not (tmp_path / "runs").exists(), "nobody has asked yet"
    assert [word.strip() for word in secrets.passwords("me@nas")] == ["1"]
    secrets.was_right()
    assert [word.strip() for word in secrets.passwords("me@nas")] == ["1", "2"]
    assert [word.strip() for word in secrets.passwords("me@nas")] == ["2"]


def test_the_two_commands_are_for_two_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "in the variable")
    both = Secrets(Login(password_command="echo for the server", passphrase_command="echo for the key"))
    assert list(both.passwords("me@nas")) == ["for the server"]
    assert list(both.passphrases("key")) == ["for the key"]
    assert list(Secrets(Login(password_command="echo for the server")).passphrases("key")) == []
    assert list(Secrets(Login(passphrase_command="echo for the key")).passwords("me@nas")) == []
    beside = Secrets(Login(password_env="SECRET", passphrase_command="echo for the key"))
    assert list(beside.passphrases("key")) == ["for the key"]
    beside.opened()
    assert list(beside.passwords("me@nas")) == ["in the variable"]
    alone = Secrets(Login(password_env="SECRET"))
    assert list(alone.passphrases("key")) == ["in the variable"]
    alone.opened()
    assert (list(alone.passwords("me@nas")), alone.given) == ([], None)


def test_the_time_that_it_takes_is_not_the_server_s() -> None:
    secrets = Secrets(Login(password_command="sleep 0.3; echo secret"))
    assert secrets.given == "secret"
    assert secrets.paused >= 0.3


def test_on_a_terminal_it_may_take_its_time_and_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has our input then."""
    reading, writing = os.pipe()
    os.write(writing, b"typed\n")
    os.close(writing)
    kept = os.dup(0)
    os.dup2(reading, 0)
    try:
        asked: list[bool] = []
        secrets = Secrets(
            Login(password_command="read -r line; echo $line", interactive=True), lambda: asked.append(True)
        )
        assert secrets.given == "typed"
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(reading)
    assert asked, "the progress display has made room"
