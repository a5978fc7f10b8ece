"""Secrets that commands print, over whole runs: they let us in, and are seen nowhere."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.accounts import make_account
from tests.support.sshd import Sshd, make_key, start_sshd

PASSWORD, PASSPHRASE = "correct-horse-of-the-server", "battery-staple-of-the-key"


def reconcile(*args: str) -> subprocess.CompletedProcess[bytes]:
    """As cron would: nobody is there."""
    command = [sys.executable, "-m", "reconcile", *args]
    env = {**os.environ, "RECONCILE_DEBUG": "1"}
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=env)


def found_in(folder: Path, *secrets: str) -> list[Path]:
    """Files that hold one of them."""
    files = [Path(top, name) for top, _, names in os.walk(folder) for name in names]
    return [file for file in files if any(secret.encode() in file.read_bytes() for secret in secrets)]


def test_neither_secret_is_seen_anywhere(tmp_path: Path) -> None:
    account = make_account(tmp_path / "account", PASSWORD)
    make_key(tmp_path / "key", passphrase=PASSPHRASE)
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    (tmp_path / "passphrase").write_text(f"{PASSPHRASE}\n")
    source, state, dest = tmp_path / "source", tmp_path / "state", tmp_path / "dest"
    source.mkdir()
    (source / "file").write_text("content")
    (tmp_path / "sshd").mkdir()
    settings = ("AuthenticationMethods publickey,password",)
    with start_sshd(tmp_path / "sshd", settings=settings, account=account) as sshd:
        (sshd.folder / "authorized_keys").write_text((tmp_path / "key.pub").read_text())
        common = [str(source), sshd.url(dest), "--state", str(state), "--ssh-config", "none"]
        common += ["--identity", str(tmp_path / "key"), "--known-hosts", str(sshd.endpoint.known_hosts)]
        right = ["--password-command", f"cat {shlex.quote(str(tmp_path / 'password'))}"]
        right += ["--passphrase-command", f"cat {shlex.quote(str(tmp_path / 'passphrase'))}"]
        swapped = [*right[:1], right[3], *right[2:3], right[1]]
        done = [
            reconcile("plan", *common, *right, "--json"),
            reconcile("run", *common, *right, "-v"),
            reconcile("run", *common, *swapped, "--refresh"),
            reconcile("run", *common, right[0], right[1], "--refresh", "--json"),
        ]
        log = sshd.log.read_text()
    assert [each.returncode for each in done] == [0, 0, 6, 6], done
    assert (dest / "file").read_text() == "content"
    for each in done:
        assert not any(secret.encode() in each.stdout + each.stderr for secret in (PASSWORD, PASSPHRASE))
    assert found_in(state, PASSWORD, PASSPHRASE) == []
    assert found_in(dest, PASSWORD, PASSPHRASE) == []
    assert "Failed password" not in log, "no secret is tried for another"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("exit 7", "--password-command: the command failed (code 7)"),
        ("true", "--password-command: the command prints nothing"),
        ("printf 'a\\nb\\n'", "--password-command: the command prints 2 lines"),
        ("sleep 60", "--password-command: the command did not end within 2 s"),
    ],
)
def test_a_command_that_gives_no_password_ends_the_run_at_once(
    tmp_path: Path, command: str, said: str
) -> None:
    """And is not asked for one again."""
    account = make_account(tmp_path / "account", PASSWORD)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").touch()
    (tmp_path / "sshd").mkdir()
    with start_sshd(tmp_path / "sshd", settings=("PubkeyAuthentication no",), account=account) as sshd:
        done = reconcile(
            *("run", str(tmp_path / "source"), sshd.url(tmp_path / "dest"), "--ssh-config", "none"),
            *("--known-hosts", str(sshd.endpoint.known_hosts), "--state", str(tmp_path / "state")),
            *("--password-command", f"echo >>{tmp_path}/runs; {command}", "--timeout", "2"),
        )
    assert (done.returncode, done.stdout) == (6, b"")
    assert said.encode() in done.stderr
    assert (tmp_path / "runs").read_text() == "\n"


def test_a_password_that_is_wrong_is_tried_once_although_keys_were_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accounts are locked for less."""
    account = make_account(tmp_path / "account", PASSWORD)
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    make_key(home / ".ssh" / "id_ed25519")
    (tmp_path / "source").mkdir()
    (tmp_path / "sshd").mkdir()
    with start_sshd(tmp_path / "sshd", settings=("MaxAuthTries 2",), account=account) as sshd:
        done = failing(sshd, tmp_path, "--password-command", "echo wrong")
        assert sshd.log.read_text().count("Failed password") == 1
    assert b"hung up while we logged in" in done.stderr


def failing(sshd: Sshd, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    (tmp_path / "source" / "file").touch()
    done = reconcile(
        *("run", str(tmp_path / "source"), sshd.url(tmp_path / "dest"), "--ssh-config", "none"),
        *("--known-hosts", str(sshd.endpoint.known_hosts), "--state", str(tmp_path / "state"), *options),
    )
    assert done.returncode == 6
    return done
