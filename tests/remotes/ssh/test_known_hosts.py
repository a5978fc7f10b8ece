"""known_hosts against OpenSSH's own rules; the same through a real connection is in test_connect."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
from pathlib import Path

import pytest

from reconcile.core.errors import Unreachable, UsageError
from reconcile.remotes.ssh.known_hosts import Known, check, fingerprint, look_up


def make_blob(fill: str, kind: str = "ssh-ed25519") -> bytes:
    """A public key of the given type, all of one letter."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in (kind.encode(), fill.encode() * 32))


def text(blob: bytes) -> str:
    """The key as it stands in a line."""
    kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode()
    return f"{kind} {base64.b64encode(blob).decode()}"


OURS = make_blob("o")
OTHER = make_blob("x")
RSA = make_blob("r", "ssh-rsa")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


def find(file: Path, content: str, host: str = "example.org", port: int = 22) -> Known:
    file.write_text(content)
    return look_up(host, port, str(file))


def accepts(known: Known, key: bytes = OURS, kind: str = "ssh-ed25519") -> bool:
    try:
        check(known, kind, key, accept_new=False, say=pytest.fail)
    except Unreachable:
        return False
    return True


@pytest.mark.parametrize(
    ("hosts", "host", "port", "matches"),
    [
        ("example.org", "example.org", 22, True),
        ("example.org", "EXAMPLE.org", 22, True),
        ("EXAMPLE.ORG", "example.org", 22, True),
        ("example.org", "example.org.evil", 22, False),
        ("example.org", "xexample.org", 22, False),
        ("a,example.org,b", "example.org", 22, True),
        ("*.org", "example.org", 22, True),
        ("exam?le.org", "example.org", 22, True),
        ("exam?le.org", "examle.org", 22, False),
        ("exampleXorg", "example.org", 22, False),
        ("*.org,!example.org", "example.org", 22, False),
        ("!example.org,*.org", "example.org", 22, False),
        ("!example.org,*.org", "other.org", 22, True),
        ("!other.org", "example.org", 22, False),
        ("[example.org]:2222", "example.org", 2222, True),
        ("[example.org]:2222", "example.org", 22, False),
        ("[example.org]:2222", "example.org", 2223, False),
        ("[*.org]:2222", "example.org", 2222, True),
        ("[eo]xample.org", "example.org", 22, False),
        ("example.org", "example.org", 2222, True),  # OpenSSH too takes the key of port 22 for a match
        ("::1", "::1", 22, True),
        ("[::1]:2222", "::1", 2222, True),
    ],
)
def test_a_line_matches_as_in_openssh(file: Path, hosts: str, host: str, port: int, matches: bool) -> None:
    assert accepts(find(file, f"{hosts} {text(OURS)} a comment\n", host, port)) is matches


@pytest.mark.parametrize("host", ["example.org", "[example.org]:2222"])
def test_hashed_lines_match(file: Path, host: str) -> None:
    file.write_text(f"other.org {text(OTHER)}\n{host} {text(OURS)}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    assert "example" not in file.read_text()
    assert accepts(look_up("example.org", 2222 if ":" in host else 22, str(file)))
    assert not accepts(look_up("example.net", 22, str(file)))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# a comment",
        "   ",
        "example.org",
        "example.org ssh-ed25519",
        "example.org ssh-ed25519 !!!not-base64",
        "example.org ssh-ed25519 QUJD",
        f"example.org ssh-rsa {text(OTHER).split()[1]}",
        f"@unknown-marker example.org {text(OTHER)}",
        f"|1|bad|salt example.org {text(OTHER)}",
        f"|2|QUJD|QUJD {text(OTHER)}",
        f"|1|é|é {text(OTHER)}",
        "example.org 1024 35 1234567890",  # SSH version 1
        "\x00\udcff\udcfe",
        "@revoked",
    ],
)
def test_malformed_lines_are_ignored(file: Path, line: str) -> None:
    content = f"{line}\nexample.org {text(OURS)}\r\n"
    file.write_bytes(os.fsencode(content))
    assert accepts(look_up("example.org", 22, str(file)))


def test_an_unknown_host_names_fingerprint_and_both_ways_in(file: Path) -> None:
    known = find(file, f"other.org {text(OURS)}\n", port=2222)
    with pytest.raises(Unreachable) as caught:
        check(known, "ssh-ed25519", OURS, accept_new=False, say=pytest.fail)
    message = str(caught.value)
    for part in (fingerprint(OURS), "--accept-new-host-key", "ssh-keyscan -p 2222 example.org", str(file)):
        assert part in message


def test_the_fingerprint_is_that_of_openssh(tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_text(text(OURS))
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], check=True, capture_output=True, text=True)
    assert fingerprint(OURS) in shown.stdout.split()


@pytest.mark.parametrize("accept_new", [False, True])
def test_a_changed_key_is_refused_loudly_and_never_enrolled(file: Path, accept_new: bool) -> None:
    content = f"# first\nexample.org {text(OTHER)}\n"
    known = find(file, content)
    with pytest.raises(Unreachable) as caught:
        check(known, "ssh-ed25519", OURS, accept_new=accept_new, say=pytest.fail)
    message = str(caught.value)
    for part in ("CHANGED", fingerprint(OURS), fingerprint(OTHER), f"{file}, line 2", "does not help"):
        assert part in message
    assert file.read_text() == content


def test_a_known_host_with_a_key_of_another_type_is_refused(file: Path) -> None:
    known = find(file, f"example.org {text(RSA)}\n")
    with pytest.raises(Unreachable, match="OF A TYPE") as caught:
        check(known, "ssh-ed25519", OURS, accept_new=True, say=pytest.fail)
    assert f"ssh-rsa {fingerprint(RSA)}" in str(caught.value)


def test_one_of_several_keys_is_enough(file: Path) -> None:
    known = find(file, f"example.org {text(OTHER)}\n*.org {text(RSA)}\nexample.org {text(OURS)}\n")
    assert accepts(known)


def test_a_key_of_port_22_vouches_but_does_not_accuse(file: Path) -> None:
    known = find(file, f"example.org {text(OTHER)}\n", port=2222)
    with pytest.raises(Unreachable, match="not known"):
        check(known, "ssh-ed25519", OURS, accept_new=False, say=pytest.fail)


@pytest.mark.parametrize("hosts", ["example.org", "*", "[example.org]:22,*.org"])
def test_a_revoked_key_is_refused_whoever_else_vouches(file: Path, hosts: str) -> None:
    known = find(file, f"example.org {text(OURS)}\n@revoked {hosts} {text(OURS)}\n")
    with pytest.raises(Unreachable, match="revoked") as caught:
        check(known, "ssh-ed25519", OURS, accept_new=True, say=pytest.fail)
    assert f"{file}, line 2" in str(caught.value)


def test_a_revoked_key_does_not_harm_others(file: Path) -> None:
    assert accepts(find(file, f"@revoked * {text(OTHER)}\nexample.org {text(OURS)}\n"))


def test_an_authority_is_skipped_with_a_note(file: Path) -> None:
    known = find(file, f"@cert-authority *.org {text(OTHER)}\n")
    with pytest.raises(Unreachable, match=r"@cert-authority .* was skipped"):
        check(known, "ssh-ed25519", OURS, accept_new=False, say=pytest.fail)
    assert accepts(find(file, f"@cert-authority *.org {text(OTHER)}\nexample.org {text(OURS)}\n"))
    assert not accepts(find(file, f"@cert-authority *.org {text(OURS)}\n")), "its key is no host's key"


def test_the_first_key_is_enrolled_once(tmp_path: Path) -> None:
    file = tmp_path / "new" / "known_hosts"
    said: list[str] = []
    check(look_up("example.org", 2222, str(file)), "ssh-ed25519", OURS, accept_new=True, say=said.append)
    assert file.read_text() == f"[example.org]:2222 {text(OURS)}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(said) == 1
    assert fingerprint(OURS) in said[0]
    check(look_up("example.org", 2222, str(file)), "ssh-ed25519", OURS, accept_new=True, say=said.append)
    assert len(said) == 1
    assert len(file.read_text().splitlines()) == 1


def test_enrolling_respects_a_missing_newline_and_the_mode(file: Path) -> None:
    file.write_text(f"other.org {text(OTHER)}")
    file.chmod(0o644)
    check(look_up("Example.ORG", 22, str(file)), "ssh-ed25519", OURS, accept_new=True, say=lambda _: None)
    assert file.read_text() == f"other.org {text(OTHER)}\nexample.org {text(OURS)}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert accepts(look_up("other.org", 22, str(file)), OTHER)


def test_what_cannot_be_written_down_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = tmp_path / "file" / "known_hosts"
    with pytest.raises((Unreachable, UsageError)):
        check(look_up("h", 22, str(file)), "ssh-ed25519", OURS, accept_new=True, say=pytest.fail)


@pytest.mark.parametrize("host", ["*", "a,b", "a\nb", "#x", "!x"])
def test_a_name_that_would_mean_more_is_not_written(file: Path, host: str) -> None:
    with pytest.raises(Unreachable):
        check(look_up(host, 22, str(file)), "ssh-ed25519", OURS, accept_new=True, say=pytest.fail)
    assert not file.exists()


def test_an_unreadable_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't read"):
        look_up("example.org", 22, str(tmp_path))


def test_algorithms_are_ordered_by_what_is_known(file: Path) -> None:
    offered = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")
    known = find(file, f"example.org {text(RSA)}\n@cert-authority * {text(OURS)}\n@revoked * {text(OURS)}\n")
    assert known.sort_algorithms(offered) == (
        "rsa-sha2-512",
        "rsa-sha2-256",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
    )
    assert find(file, "").sort_algorithms(offered) == offered
