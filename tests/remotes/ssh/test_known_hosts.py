"""known_hosts against OpenSSH's own rules; the same through a real connection is in test_connect."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.core.errors import Unreachable, Untrusted, UsageError
from reconcile.remotes.ssh.known_hosts import Known, Pin, fingerprint, parse_pins
from reconcile.remotes.ssh.known_hosts import look_up as look_up_all
from reconcile.remotes.ssh.settings import Settings
from reconcile.remotes.ssh.target import Login
from reconcile.remotes.ssh.trust import check


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


def look_up(host: str, port: int, file: str) -> Known:
    """What one file says."""
    return look_up_all(Settings(host, port, "me"), Login(known_hosts=file))


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


def test_an_unknown_host_names_fingerprint_and_the_ways_in(file: Path) -> None:
    known = find(file, f"other.org {text(OURS)}\n", port=2222)
    with pytest.raises(Unreachable) as caught:
        check(known, "ssh-ed25519", OURS, accept_new=False, say=pytest.fail)
    message = str(caught.value)
    shown = fingerprint(OURS)
    for part in (
        f"shown:    ssh-ed25519 {shown}\n",
        f"there is none in {file}\n",
        f"reconcile trust --known-hosts {file} --port 2222 example.org\n",
        f"--host-key {shown}",
    ):
        assert part in message


def test_a_key_that_is_known_under_another_name_is_named(file: Path) -> None:
    """As where the same machine is called by its address for once. It is asked about all the same."""
    content = f"@revoked other {text(RSA)}\n\x1b[2Jnas,10.0.0.5 {text(OURS)}\n"
    with pytest.raises(Untrusted) as caught:
        check(find(file, content), "ssh-ed25519", OURS, accept_new=False, say=pytest.fail)
    assert f"(The very same key is known as \\x1b[2Jnas,10.0.0.5: {file}, line 2.)" in str(caught.value)
    file.write_text(f"nas {text(OURS)}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    with pytest.raises(Untrusted, match=r"under another name, hashed: .*, line 1\.\)"):
        check(look_up("example.org", 22, str(file)), "ssh-ed25519", OURS, accept_new=False, say=pytest.fail)


def test_a_large_file_of_odd_lines_takes_no_time(file: Path) -> None:
    """Also one that a match by backtracking would not end on."""
    lines = [
        b"*" * 5000 + b"x " + text(OTHER).encode(),
        b",".join([b"*a" * 2 + b"b"] * 2000) + b" " + text(OTHER).encode(),
        b"\0\xff\xfe" * 1000,
        b"x" * 1_000_000,
        b"|1|" + b"A" * 10_000 + b"|" + b"A" * 10_000 + b" " + text(OTHER).encode(),
        b"|1|| " + text(OTHER).encode(),
        b"| " + text(OTHER).encode(),
        *(f"host{number} {text(OTHER)}".encode() for number in range(20_000)),
        f"{'a' * 60}.org {text(OURS)}".encode(),
    ]
    file.write_bytes(b"\n".join(lines))
    began = time.process_time()
    assert accepts(look_up(f"{'a' * 60}.org", 22, str(file)))
    assert time.process_time() - began < 10


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
    for part in (
        "CHANGED",
        f"shown:    ssh-ed25519 {fingerprint(OURS)}\n",
        f"expected: {file}, line 2: ssh-ed25519 {fingerprint(OTHER)}\n",
        f"reconcile trust --replace --known-hosts {file} example.org",
        "does not help",
    ):
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
    with pytest.raises(Unreachable, match=r"@cert-authority in .*, line 1, .*--transport ssh"):
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


def test_a_file_without_an_end_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match=r"can't read .* /dev/zero: File too large"):
        look_up("example.org", 22, "/dev/zero")


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


# Several files, other names


def test_the_user_s_files_come_first_and_all_count(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in "abc"]
    for name, key in zip(files, (OURS, OTHER, RSA), strict=True):
        Path(name).write_text(f"example.org {text(key)}\n")
    settings = Settings(
        "example.org", 22, "me", user_known_hosts=(*files[:2],), global_known_hosts=(files[2],)
    )
    known = look_up_all(settings, Login())
    assert [line.file for line in known.trusted] == files
    assert known.file == files[0]
    assert known.way_out == "reconcile trust example.org"
    assert look_up_all(settings, Login(known_hosts=files[1])).files == (files[1],)


def test_no_file_at_all_is_said(tmp_path: Path) -> None:
    settings = Settings("example.org", 22, "me", user_known_hosts=(), global_known_hosts=())
    for accept_new in (False, True):
        with pytest.raises(Untrusted, match="there is no file of known hosts"):
            check(look_up_all(settings, Login()), "ssh-ed25519", OURS, accept_new=accept_new, say=pytest.fail)


def test_an_alias_is_looked_for_and_enrolled_without_a_port(file: Path) -> None:
    settings = Settings(
        "10.0.0.5", 2222, "me", name="nas", host_key_alias="Box", user_known_hosts=(str(file),)
    )
    file.write_text(f"box {text(OURS)}\n10.0.0.5,[10.0.0.5]:2222,[box]:2222 {text(OTHER)}\n")
    known = look_up_all(settings, Login())
    assert (known.name, known.way_out) == ("box", "reconcile trust --port 2222 nas")
    assert accepts(known)
    assert not accepts(known, OTHER)
    file.write_text("")
    check(look_up_all(settings, Login()), "ssh-ed25519", OURS, accept_new=True, say=lambda _: None)
    assert file.read_text() == f"box {text(OURS)}\n"


def test_a_name_is_hashed_where_the_config_wants_that(file: Path) -> None:
    """As Debian's does. OpenSSH finds it again, and so do we."""
    settings = Settings("nas", 2222, "me", user_known_hosts=(str(file),), hash_known_hosts=True)
    for kind, key in (("ssh-ed25519", OURS), ("ssh-rsa", RSA)):
        known = replace(look_up_all(settings, Login()), trusted=())
        check(known, kind, key, accept_new=True, say=lambda _: None)
    assert "nas" not in file.read_text()
    assert len(set(file.read_text().split())) == 6, "each with a salt of its own"
    assert len(look_up_all(settings, Login()).trusted) == 2
    find = ["ssh-keygen", "-F", "[nas]:2222", "-f", str(file)]
    assert subprocess.run(find, capture_output=True, text=True, check=True).stdout.count("found: line") == 2


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_a_file_that_keeps_nothing_enrols_nobody(tmp_path: Path, kind: str) -> None:
    """Else each key would be the first."""
    file = Path(os.devnull)
    if kind == "pipe":
        file = tmp_path / "pipe"
        os.mkfifo(file)
    settings = Settings("example.org", 22, "me", user_known_hosts=(str(file),), global_known_hosts=())
    known = look_up_all(settings, Login(), lambda _: b"")
    with pytest.raises(Untrusted, match="is no regular file"):
        check(known, "ssh-ed25519", OURS, accept_new=True, say=pytest.fail)


def test_a_file_that_cannot_be_written_enrols_nobody(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    settings = Settings(
        "h", 22, "me", user_known_hosts=(str(tmp_path / "folder" / ""),), global_known_hosts=()
    )
    known = look_up_all(settings, Login(), lambda _: b"")
    with pytest.raises(Untrusted, match=r"can't be written to .*--host-key"):
        check(known, "ssh-ed25519", OURS, accept_new=True, say=pytest.fail)


# Keys that are given


@pytest.mark.parametrize(
    ("given", "pins"),
    [
        (fingerprint(OURS), [Pin(fingerprint(OURS))]),
        (f" {fingerprint(OURS)}=\n", [Pin(fingerprint(OURS))]),
        (f"256 {fingerprint(OURS)} root@nas (ED25519)", [Pin(fingerprint(OURS))]),
        (text(OURS), [Pin(fingerprint(OURS), "ssh-ed25519")]),
        (f"nas,10.0.0.5 {text(OURS)} a comment", [Pin(fingerprint(OURS), "ssh-ed25519")]),
        (f"|1|QUJD|QUJD {text(RSA)}", [Pin(fingerprint(RSA), "ssh-rsa")]),
        (
            f"# nas:22 SSH-2.0\nnas {text(OURS)}\r\n\n  # nas\nnas {text(RSA)}\n",
            [Pin(fingerprint(OURS), "ssh-ed25519"), Pin(fingerprint(RSA), "ssh-rsa")],
        ),
    ],
)
def test_a_key_is_given_in_many_ways(given: str, pins: list[Pin]) -> None:
    """As ssh-keygen, a public key file, known_hosts and ssh-keyscan have it."""
    assert parse_pins(given) == pins


@pytest.mark.parametrize(
    "given",
    [
        *("", " \n", "#", "nas", "SHA256:", fingerprint(OURS)[:-1], fingerprint(OURS) + "x"),
        *(
            fingerprint(OURS).lower(),
            "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
            "ssh-ed25519 AAAA",
        ),
        *(f"@revoked nas {text(OURS)}", f"@cert-authority nas {text(OURS)}", f"{text(OURS)}\nnonsense"),
    ],
)
def test_what_is_no_key_is_wrong_usage(given: str) -> None:
    with pytest.raises(UsageError, match="--host-key"):
        parse_pins(given)


def pinned(file: Path, content: str, *given: str) -> Known:
    file.write_text(content)
    return look_up_all(Settings("example.org", 22, "me"), Login(known_hosts=str(file), host_keys=given))


def test_a_given_key_is_the_only_one_that_is_taken(file: Path) -> None:
    known = pinned(file, f"example.org {text(OTHER)}\n", fingerprint(RSA), text(OURS))
    assert accepts(known)
    assert accepts(known, RSA, "ssh-rsa")
    for accept_new in (False, True):
        with pytest.raises(Untrusted) as caught:
            check(known, "ssh-ed25519", OTHER, accept_new=accept_new, say=pytest.fail)
    for part in (f"shown:    ssh-ed25519 {fingerprint(OTHER)}", f"expected: {fingerprint(RSA)} (--host-key)"):
        assert part in str(caught.value)
    assert file.read_text() == f"example.org {text(OTHER)}\n"


def test_a_given_key_is_refused_where_it_is_revoked(file: Path) -> None:
    known = pinned(file, f"@revoked * {text(OURS)}\n", fingerprint(OURS))
    with pytest.raises(Untrusted, match="revoked"):
        check(known, "ssh-ed25519", OURS, accept_new=True, say=pytest.fail)


def test_the_type_of_a_given_key_is_asked_for(file: Path) -> None:
    offered = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512")
    assert pinned(file, "", text(RSA)).sort_algorithms(offered)[0] == "rsa-sha2-512"
    assert pinned(file, f"example.org {text(RSA)}\n", fingerprint(OURS)).sort_algorithms(offered) == offered
