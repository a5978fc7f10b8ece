"""``reconcile trust``, on real servers, as it is typed."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.cli import main
from tests.support.processes import bound_by_permissions
from tests.support.sshd import Sshd, make_key, start_sshd

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def file(home: Path) -> Path:
    return home / "hosts"


class Trust:
    """Types the command."""

    def __init__(self, sshd: Sshd, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.host = f"127.0.0.1:{sshd.port}"
        self.options = ["--known-hosts", str(file), "--ssh-config", "none"]
        self._capsys = capsys

    def __call__(self, *options: str, host: str | None = None) -> tuple[int, str]:
        """Exit code, and what was said."""
        code = main(["trust", *self.options, *options, "--", self.host if host is None else host])
        out, err = self._capsys.readouterr()
        return code, out + err


@pytest.fixture
def trust(sshd: Sshd, file: Path, capsys: pytest.CaptureFixture[str]) -> Trust:
    return Trust(sshd, file, capsys)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What is typed on a terminal."""

    def type_in(text: str) -> None:
        monkeypatch.setattr("reconcile.process.Session.may_ask", lambda _: True)
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return type_in


def shown_by(key: Path) -> str:
    """The fingerprint, as OpenSSH has it."""
    show = ["ssh-keygen", "-lf", str(key)]
    return subprocess.run(show, capture_output=True, text=True, check=True).stdout.split()[1]


def line(sshd: Sshd) -> str:
    return f"[127.0.0.1]:{sshd.port} {sshd.host_key}\n"


def test_it_shows_asks_and_writes_down(
    sshd: Sshd, trust: Trust, file: Path, answer: Callable[[str], None]
) -> None:
    shown = shown_by(sshd.folder / "host.pub")
    answer("no\n")
    code, said = trust()
    assert code == 4
    assert f"shows the key\n  ssh-ed25519 {shown}\n" in said
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in said
    assert not file.exists()
    answer("yes\n")
    assert trust()[0] == 0
    assert file.read_text() == line(sshd)
    code, said = trust()
    assert (code, f"is known already: {file}, line 1" in said) == (0, True)
    assert file.read_text() == line(sshd)


def test_a_script_says_which_key_it_is(sshd: Sshd, trust: Trust, file: Path) -> None:
    shown = shown_by(sshd.folder / "host.pub")
    code, said = trust()
    assert (code, "no terminal" in said) == (4, True)
    (way_out,) = [text for text in said.splitlines() if "reconcile trust" in text]
    options = f"--yes-if {shown} --known-hosts {file} --ssh-config none --port {sshd.port}"
    assert way_out.endswith(f"reconcile trust {options} 127.0.0.1")
    code, said = trust("--yes-if", f"SHA256:{'A' * 43}")
    assert code == 4
    assert f"shown:    ssh-ed25519 {shown}" in said
    assert f"expected: SHA256:{'A' * 43} (--yes-if)" in said
    assert not file.exists()
    assert trust("--yes-if", shown, "--yes-if", f"SHA256:{'A' * 43}")[0] == 0
    assert file.read_text() == line(sshd)
    assert trust("--yes-if", "SHA256:short")[0] == 2


def test_the_key_may_be_of_another_type_than_a_run_would_see(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("ecdsa", "rsa"):
        make_key(tmp_path / kind, kind=kind)
    settings = tuple(f"HostKey {tmp_path / kind}" for kind in ("ecdsa", "rsa"))
    with start_sshd(tmp_path, settings=settings) as sshd:
        trust = Trust(sshd, file, capsys)
        code, said = trust("--yes-if", f"SHA256:{'A' * 43}")
        assert (code, said.count("shown:")) == (4, 3)
        assert trust("--yes-if", shown_by(tmp_path / "rsa.pub"))[0] == 0
        assert file.read_text().split()[1] == "ssh-rsa"
        assert main(["doctor", "--known-hosts", str(file), *sshd.endpoint.flags()[:2], sshd.url("/")]) in (
            0,
            3,
        )


@pytest.mark.parametrize(
    "form",
    ["127.0.0.1:{port}", "me@127.0.0.1:{port}", "[127.0.0.1]:{port}", "sftp://me@127.0.0.1:{port}/a/b"],
)
def test_a_host_is_named_in_many_ways(sshd: Sshd, trust: Trust, file: Path, form: str) -> None:
    shown = shown_by(sshd.folder / "host.pub")
    assert trust("--yes-if", shown, host=form.format(port=sshd.port))[0] == 0
    assert file.read_text() == line(sshd)


@pytest.mark.parametrize("host", ["/a/folder", "", "-x", "a b", "sftp://", "nas:99999", "file:///tmp"])
def test_what_is_no_host_is_wrong_usage(trust: Trust, host: str) -> None:
    assert trust(host=host)[0] == 2


def test_a_changed_key_is_replaced_only_if_that_is_asked_for(
    sshd: Sshd, trust: Trust, file: Path, tmp_path: Path, answer: Callable[[str], None]
) -> None:
    make_key(tmp_path / "old")
    make_key(tmp_path / "other", kind="rsa")
    name = f"[127.0.0.1]:{sshd.port}"
    old, rsa = (" ".join((tmp_path / f"{key}.pub").read_text().split()[:2]) for key in ("old", "other"))
    before = f"# mine\n{name} {old}\nnas,{name},10.0.0.5 {rsa} comment\r\nnas {old}\n\n"
    file.write_text(before)
    file.chmod(0o640)
    shown = shown_by(sshd.folder / "host.pub")
    code, said = trust("--yes-if", shown)
    assert code == 4
    assert "HAS CHANGED" in said
    assert f"expected: {file}, line 2: ssh-ed25519 {shown_by(tmp_path / 'old.pub')}" in said
    assert (
        f"reconcile trust --replace --known-hosts {file} --ssh-config none --port {sshd.port} 127.0.0.1"
        in said
    )
    answer("no\n")
    code, said = trust("--replace")
    assert (code, f"in the place of {file}, line 2" in said) == (4, True)
    assert file.read_bytes() == before.encode()
    code, said = trust("--replace", "--yes-if", shown)
    assert (code, "in the place of" in said) == (0, True)
    after = f"# mine\nnas,10.0.0.5 {rsa} comment\r\nnas {old}\n{line(sshd)}"
    assert file.read_bytes() == after.encode()
    assert file.stat().st_mode & 0o777 == 0o640
    assert set(os.listdir(file.parent)) == {".ssh", "hosts"}


def test_a_hashed_line_behind_a_link_is_replaced(
    sshd: Sshd, trust: Trust, file: Path, tmp_path: Path
) -> None:
    make_key(tmp_path / "old")
    (tmp_path / "dotfiles").mkdir()
    real = tmp_path / "dotfiles" / "hosts"
    real.write_text(f"[127.0.0.1]:{sshd.port} {(tmp_path / 'old.pub').read_text()}")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(real)], check=True, capture_output=True)
    file.symlink_to(real)
    assert trust("--replace", "--yes-if", shown_by(sshd.folder / "host.pub"))[0] == 0
    assert file.is_symlink()
    assert real.read_text() == line(sshd)


@pytest.mark.parametrize("hosts", ["*", "[127.0.0.1]:*", "{name},[127.*]:*"])
def test_a_line_for_other_hosts_is_left_to_the_user(
    sshd: Sshd, trust: Trust, file: Path, tmp_path: Path, hosts: str
) -> None:
    make_key(tmp_path / "old")
    before = f"{hosts.format(name=f'[127.0.0.1]:{sshd.port}')} {(tmp_path / 'old.pub').read_text()}"
    file.write_text(before)
    code, said = trust("--replace", "--yes-if", shown_by(sshd.folder / "host.pub"))
    assert (code, f"{file}, line 1" in said, "Nothing was done" in said) == (4, True, True)
    assert file.read_text() == before


def test_a_revoked_key_is_never_trusted(sshd: Sshd, trust: Trust, file: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "old")
    old = f"[127.0.0.1]:{sshd.port} {(tmp_path / 'old.pub').read_text()}"
    for before in (f"@revoked * {sshd.host_key}\n", f"@revoked * {sshd.host_key}\n{old}"):
        file.write_text(before)
        code, said = trust("--replace", "--yes-if", shown_by(sshd.folder / "host.pub"))
        assert (code, "revoked" in said) == (4, True)
        assert file.read_text() == before


def test_a_file_that_cannot_be_written_is_named(sshd: Sshd, file: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "old")
    shown = shown_by(sshd.folder / "host.pub")
    command = [sys.executable, "-m", "reconcile", "trust", "--replace", "--known-hosts", str(file)]
    command += ["--yes-if", shown, f"127.0.0.1:{sshd.port}"]
    for before in ("", f"[127.0.0.1]:{sshd.port} {(tmp_path / 'old.pub').read_text()}"):
        file.write_text(before)
        file.chmod(0o400)
        file.parent.chmod(0o500)
        done = subprocess.run(bound_by_permissions(command), capture_output=True, text=True, check=False)
        file.parent.chmod(0o700)
        assert (done.returncode, f"can't be written to {file}: Permission denied" in done.stderr) == (4, True)
        assert file.read_text() == before
        assert set(os.listdir(file.parent)) == {".ssh", "hosts"}


def test_nobody_there_is_exit_6(trust: Trust) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert trust(host=f"127.0.0.1:{port}")[0] == 6


def test_the_key_of_a_host_behind_another_is_shown(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And that of the one in between is checked before."""
    (tmp_path / "jump").mkdir()
    (tmp_path / "target").mkdir()
    with start_sshd(tmp_path / "jump") as jump, start_sshd(tmp_path / "target") as target:
        lines = ["Host target", "HostName localhost", f"Port {target.port}", "ProxyJump jump", "Host jump"]
        lines += [f"HostName 127.0.0.1\nPort {jump.port}\nUser {jump.endpoint.user}"]
        lines += [f"IdentityFile {jump.endpoint.identity}", "Host *", f"UserKnownHostsFile {file}"]
        config = tmp_path / "config"
        config.write_text("\n".join([*lines, "GlobalKnownHostsFile /dev/null", ""]))
        command = ["trust", "--ssh-config", str(config), "--yes-if", shown_by(target.folder / "host.pub")]
        assert main([*command, "target"]) == 6
        assert not file.exists()
        shown = shown_by(jump.folder / "host.pub")
        assert main(["trust", "--ssh-config", str(config), "--yes-if", shown, "jump"]) == 0
        assert main([*command, "target"]) == 0, capsys.readouterr()
    assert file.read_text() == f"{line(jump)}[localhost]:{target.port} {target.host_key}\n"
