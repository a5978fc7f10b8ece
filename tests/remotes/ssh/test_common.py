"""A server that takes only what no library gives paramiko: OpenSSH's client is asked, or named."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconcile.core.errors import TurnedAway
from reconcile.remotes.ssh.common import Mismatch, known_to_client
from reconcile.remotes.ssh.lines import SSH, Connection
from reconcile.remotes.ssh.reach import reach
from tests.support.sshd import Sshd, start_sshd

CHACHA = "chacha20-poly1305@openssh.com"
SETTINGS = [f"Ciphers {CHACHA}", "KexAlgorithms sntrup761x25519-sha512@openssh.com"]


def call(sshd: Sshd, **how: object) -> Connection:
    connection = reach(sshd.endpoint.target("/"), sshd.endpoint.login(**how), print)
    connection.close()
    return connection


@pytest.mark.parametrize("setting", SETTINGS)
def test_openssh_s_client_is_taken_by_itself(tmp_path: Path, setting: str) -> None:
    with start_sshd(tmp_path, settings=(setting,)) as sshd:
        connection = call(sshd)
    assert connection.transport_name == SSH
    assert "paramiko has none" in connection.why
    assert setting.split()[1] in connection.agreed.values()


def test_it_is_named_where_that_is_not_wanted(tmp_path: Path) -> None:
    with start_sshd(tmp_path, settings=(SETTINGS[0],)) as sshd, pytest.raises(TurnedAway) as caught:
        call(sshd, transport="paramiko")
    assert f"OpenSSH's client here has {CHACHA}" in str(caught.value)
    assert f"of ciphers it offers {CHACHA}; ours are aes128-" in str(caught.value)


def test_no_client_is_no_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start_sshd(tmp_path, settings=(SETTINGS[0],)) as sshd:
        monkeypatch.setenv("PATH", str(tmp_path / "empty"))
        with pytest.raises(TurnedAway, match="sshd_config: Ciphers"):
            call(sshd)


def test_curve25519_is_known_by_the_name_that_it_has_now(tmp_path: Path) -> None:
    with start_sshd(tmp_path, settings=("KexAlgorithms curve25519-sha256",)) as sshd:
        assert call(sshd, transport="paramiko").agreed["key exchange"] == "curve25519-sha256"


@pytest.mark.parametrize("command", ["/nowhere/ssh", "false", "echo"])
def test_what_is_no_client_knows_nothing(command: str) -> None:
    assert known_to_client([command], Mismatch("Ciphers", "ciphers", (CHACHA,), ())) == []
