"""What SSH's configuration makes of a host: by OpenSSH and by our own reader. Nothing connects.

The table is the acceptance: for each configuration our own reader says what ``ssh -G`` says, or refuses it.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import asdict

from reconcile.core.errors import TurnedAway, UsageError
from reconcile.remotes.ssh import keywords
from reconcile.remotes.ssh.config import find_settings
from reconcile.remotes.ssh.known_hosts import look_up
from reconcile.remotes.ssh.reach import reach
from reconcile.remotes.ssh.settings import NONE, Settings, Strict
from reconcile.remotes.ssh.target import Login, SshTarget
from tests.support.processes import alive, wait_for
from tests.support.sshd import find_program

NAS = SshTarget("nas", "/")
Find = Callable[..., Settings]


def silence(_: str) -> None:
    """Hear a note."""


@pytest.fixture
def by_ssh(tmp_path: Path) -> Find:
    """What OpenSSH's client says."""
    find_program("ssh")

    def ask(text: str, target: SshTarget = NAS, **login: object) -> Settings:
        return find_settings(target, Login(ssh_config=write(tmp_path, text), **login), silence)  # type: ignore[arg-type]

    return ask


@pytest.fixture
def by_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Find:
    """What we read ourselves, on a machine without a client."""

    def read(text: str, target: SshTarget = NAS) -> Settings:
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(tmp_path / "nothing"))
            return find_settings(target, Login(ssh_config=write(tmp_path, text)), silence)

    return read


def write(folder: Path, text: str) -> str:
    path = folder / "config"
    path.write_bytes(os.fsencode(text.replace("{folder}", str(folder))))
    return str(path)


# Read by us as by OpenSSH.
SAME = [
    "",
    "HostName a.b\nUser u\nPort 77\n",
    "HostName FOO.Bar\n",
    "HostName %h.x%%y\n",
    "HostName 192.0.2.1\n",
    "HostName fe80::1%%eth0\n",
    "HostName none\nUser none\n",
    # Spelling
    "HostName a\r\nPort 77\r\n",
    "HostName = a\nPort=77\nUser\t=\tx\n",
    '"HostName" a\n',
    "Hostname==a\n",
    "   \t Port\t3 \f\n",
    "port 3\nPORT 4\n",
    "Port 3 # three\nUser a#x\n",
    "Port 010\n",
    "Port 4\0\n",
    'User "a b"\n',
    "User a\\ b\n",
    "User a\\b\n",
    "Host nas\n\tHostName=1.2.3.4\n\tPort = 22\n\tUser='me'\n",
    # Host
    "Host nas\nUser u1\nHost na*\nUser u2\nPort 5\n",
    "Host other nas\n Port 3\n",
    "Host a,nas\n Port 3\n",
    "Host !nas *\n Port 3\n",
    "Host !other\n Port 3\n",
    "Host !other *\n Port 3\n",
    'Host "n*"\n Port 3\n',
    "Host 'n?s'\n Port 3\n",
    "Host NAS\n Port 3\n",
    "Host other # nas\n Port 3\n",
    "Host [n]as\n Port 3\n",
    # Match
    "Match host NAS\n Port 3\n",
    "Match host other,n*\n Port 3\n",
    "Match host *,!nas\n Port 3\n",
    "Match !host other\n Port 3\n",
    "Match host=nas user=u\n Port 4\nMatch host = nas\n User u\n",
    "User u\nMatch user u\n Port 4\nMatch user !u,*\n User v\n",
    "Match localuser *\n Port 4\n",
    "Match localuser nobody-here\n Port 4\n",
    "HostName real\nMatch host nas\n Port 3\nMatch host real\n Port 4\nMatch originalhost nas\n User u\n",
    "Match host nas\n Port 3\nMatch host real\n Port 4\nHost *\n HostName real\n",
    "HostName real-%h\nMatch host real-nas\n Port 4\n",
    "Match all # of them\n Port 4\n",
    "Match !all\n Port 4\n",
    "Match canonical\n Port 9\n",
    "Match final\n Port 9\nHost real\n User u\nHost nas\n HostName real\n",
    "Match final all\n Port 9\n",
    "Match final\n HostName too-late\nMatch all\n HostName %h.x%%\n",
    "Match final\n HostName too-late\n",
    "HostName 127.1\n",
    "HostName 127.1\nMatch final host 127.0.0.1\n Port 3\n",
    "Match host x final\n Port 9\nHost real\n Port 10\nHost *\n HostName real\n",
    'Match host other exec "false"\n Port 3\n',
    'Match exec "true" host other\n Port 3\n',
    'Match exec "true"\n SendEnv X\n Compression yes\n',
    'Port 4\nMatch exec "true"\n Port 3\n',
    # Include
    "Include nothing-like-this*\nInclude {folder}/nothing\nPort 3\n",
    "Include ~nobody-here/x\nPort 3\n",
    'Include "{folder}/some more/*"\nUser late\n',
    "Host other\n Include {folder}/some?more/*\nHost *\n Port 8\n",
    "Host nas\n Include {folder}/some?more/b\n Port 8\n",
    "Include {folder}/some\\ more/a '{folder}/some more/b' # both\n",
    # Keys
    "IdentityFile ~/a\nIdentityFile ~/b\nIdentityFile ~/a\n",
    "Host nas\n IdentityFile ~/nas\nHost *\n IdentityFile ~/all\n IdentitiesOnly yes\n",
    "IdentityFile=~/a=b\n",
    'IdentityFile "~/a b"\nIdentityFile ~root/x\nIdentityFile relative\n',
    "HostName h\nUser r\nPort 7\nIdentityFile ~/%h-%r-%n-%p-%u-%i-%L-%l-%k-%%\nIdentityFile %d/x\n",
    "HostKeyAlias k\nIdentityFile ${HOME}/%k\nCertificateFile ~/%h-cert.pub\n",
    "IdentityFile none\n",
    "IdentityFile none\nIdentityFile ~/a\n",
    "IdentityAgent none\n",
    "IdentityAgent SSH_AUTH_SOCK\n",
    "IdentityAgent $HOME\n",
    "IdentityAgent $NOT_SET_ANYWHERE\n",
    "IdentityAgent ~/agents/%h-%r\n",
    "IdentityAgent ${HOME}/agent\n",
    "IdentitiesOnly TRUE\n",
    # Trust
    "HostKeyAlias Box\n",
    "UserKnownHostsFile ~/a /b-%h\n",
    "UserKnownHostsFile none\n",
    "UserKnownHostsFile /dev/null\nGlobalKnownHostsFile /dev/null\n",
    "GlobalKnownHostsFile /x /y\n",
    "GlobalKnownHostsFile none\n",
    "StrictHostKeyChecking no\n",
    "StrictHostKeyChecking accept-new\n",
    "StrictHostKeyChecking Yes\nHashKnownHosts yes\n",
    # The rest
    "ConnectTimeout 1h2m3\n",
    "ConnectTimeout none\n",
    "ConnectTimeout 0\n",
    "ProxyJump none\nProxyJump b\n",
    "ProxyCommand NONE\nProxyJump b\n",
    "Host other\n ProxyJump b\nHost *\n ProxyCommand none\n",
    "IgnoreUnknown Fo*,bar\nFoo x\nBar y\nPort 3\n",
    "AddressFamily any\nVerifyHostKeyDNS no\nPasswordAuthentication yes\nKnownHostsCommand none\n",
    "Host other\n AddressFamily inet\n Ciphers aes256-ctr\n",
    "Cipher foo\nProtocol 2\nUseRoaming no\nPort 3\n",
    "ControlPath ~/.ssh/%C\nControlMaster auto\nForwardAgent yes\nLocalForward 1 b:2\nRequestTTY yes\n",
]

# Read by us as by OpenSSH where another name is typed, with or without a user and a port.
TYPED = [
    (SshTarget("NAS", "/"), "HostName %h\nHost nas\n Port 1\nMatch originalhost nas\n Port 3\n"),
    (SshTarget("nas", "/", "me"), "User u\nMatch user me\n Port 5\n IdentityFile ~/%r\n"),
    (SshTarget("nas", "/", "me", 77), "User u\nPort 5\nIdentityFile ~/%p\n"),
    (SshTarget("::1", "/"), "Host ::1\n Port 3\n"),
    (SshTarget("FE80::1%Eth0", "/"), "Host FE80*\n Port 3\n"),
    (SshTarget("a.b.c", "/"), "Host *.b.c !a.*\n Port 3\nHost ?.b.*\n Port 4\n"),
]

# Refused by us, each for the keyword: it can't be followed, or not be told for sure.
REFUSED = [
    ("ProxyJump", "ProxyJump b\n"),
    ("ProxyJump", "ProxyJump me@a:22,[::1]:8\n"),
    ("ProxyJump", 'ProxyJump "none"\n'),
    ("ProxyJump", "ProxyJump none,b\n"),
    ("ProxyJump", "ProxyJump none # not here\n"),
    ("ProxyCommand", "ProxyJump none\nProxyCommand nc %h %p\n"),
    ("ProxyJump", "Host nas\n ProxyJump b\nHost *\n ProxyJump none\n"),
    ("ProxyJump", "Include {folder}/prox?\n"),
    ("ProxyJump", 'Match exec "false"\n ProxyJump none\nMatch all\n ProxyJump b\n'),
    ("ProxyCommand", "ProxyCommand=ssh -W %h:%p b\n"),
    ("ProxyCommand", "ProxyCommand none # not here\n"),
    ("AddressFamily", "AddressFamily inet\n"),
    ("BindAddress", "BindAddress 127.0.0.1\n"),
    ("Ciphers", "Ciphers aes256-ctr\n"),
    ("PubkeyAcceptedAlgorithms", "PubkeyAcceptedKeyTypes +ssh-rsa\n"),
    ("PasswordAuthentication", "PasswordAuthentication no\n"),
    ("VerifyHostKeyDNS", "VerifyHostKeyDNS yes\n"),
    ("KnownHostsCommand", "KnownHostsCommand /bin/cat /x\n"),
    ("CanonicalizeHostname", "CanonicalizeHostname always\n"),
    ("IdentityFile", "IdentityFile ~/%C\n"),
    ("IdentityFile", "IdentityFile ${NOT_SET_ANYWHERE}/x\n"),
    ("IdentityFile", "IdentityFile ~nobody-here/x\n"),
    ("UserKnownHostsFile", "UserKnownHostsFile ~/%C\n"),
    ("User", "User %u\n"),
    ("Port", "Port ssh\n"),
    ("Match exec", 'Match exec "true"\n Port 3\n'),
    ("Match exec", 'Match exec "true"\n IdentityFile ~/a\n'),
    ("Match !exec", 'Match host nas !exec "true"\n HostName b\n'),
    ("Match host", "Match host 'nas'\n Port 3\n"),
    ("${HOME}", "Include ${HOME}/x\n"),
]

# Refused by us and by OpenSSH.
WRONG = [
    "Port\n",
    "Port 0\n",
    "Port 99999\n",
    "Port 3#x\n",
    "Host other\n Port x\n",
    "Port 22 23\n",
    "User a b\n",
    'HostName "a\n',
    'HostName ""\n',
    "HostName %n\n",
    "SomethingNew x\n",
    "Host other\n SomethingNew x\n",
    "Host other\n IgnoreUnknown Some*\nHost *\n SomethingNew x\n",
    "ConnectTimeout 1x\n",
    "IdentitiesOnly perhaps\n",
    "StrictHostKeyChecking perhaps\n",
    "IdentityAgent $HOME/agent\n",
    "UserKnownHostsFile a none\n",
    "UserKnownHostsFile ~/%x\n",
    "IdentityAgent ${NOT_SET_ANYWHERE}\n",
    "Host\n Port 9\n",
    "IgnoreUnknown # what\n",
    "Match\n Port 9\n",
    "Match host\n Port 9\n",
    "Match all host nas\n Port 9\n",
    "Match what ever\n Port 9\n",
    "Include {folder}/config\n",
    "\ufeffPort 4\n",
    "# caf\xe9\n\udcff\udcfe 4\n",
]


@pytest.fixture(autouse=True)
def not_for_others() -> Iterator[None]:
    """New files are written to by us alone: no others are read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def included(tmp_path: Path, not_for_others: None) -> None:
    """Files to be included."""
    folder = tmp_path / "some more"
    folder.mkdir()
    (folder / "a").write_text("User early\nPort 5\nHost other\nHostName wrong\n")
    (folder / "b").write_text("Match host nas\nIdentityFile ~/k\nPort 6\n")
    (folder / ".hidden").write_text("HostName hidden\n")
    (tmp_path / "proxy").write_text("Host x\n ProxyJump none\nHost n*\n ProxyJump b\n")


def facts(settings: Settings) -> dict[str, object]:
    """All but who says so."""
    return {name: value for name, value in asdict(settings).items() if name != "sources"}


def test_there_are_as_many_as_were_asked_for() -> None:
    assert len(SAME) + len(TYPED) + len(REFUSED) >= 40


@pytest.mark.parametrize("text", SAME)
def test_our_reader_says_what_openssh_says(text: str, by_ssh: Find, by_us: Find) -> None:
    assert facts(by_us(text)) == facts(by_ssh(text))


@pytest.mark.parametrize(("target", "text"), TYPED)
def test_what_is_typed_counts_first(target: SshTarget, text: str, by_ssh: Find, by_us: Find) -> None:
    assert facts(by_us(text, target)) == facts(by_ssh(text, target))


@pytest.mark.parametrize(("keyword", "text"), REFUSED)
def test_what_we_cannot_follow_is_refused(keyword: str, text: str, by_ssh: Find, by_us: Find) -> None:
    """By keyword, file and line. OpenSSH follows it."""
    by_ssh(text)
    with pytest.raises(UsageError) as refused:
        by_us(text)
    message = str(refused.value)
    assert keyword in message
    assert ", line " in message
    assert "Not connected" in message
    assert "--ssh-config" in message


@pytest.mark.parametrize("text", WRONG)
def test_what_openssh_does_not_take_we_do_not_take(text: str, by_ssh: Find, by_us: Find) -> None:
    with pytest.raises(UsageError, match="OpenSSH does not take its configuration"):
        by_ssh(text)
    with pytest.raises(UsageError, match="Not connected"):
        by_us(text)


def test_a_name_with_a_blank_is_left_to_openssh(by_ssh: Find, by_us: Find) -> None:
    """Whether it is one file or two ``ssh -G`` does not tell, as it quotes nothing."""
    told = by_ssh('UserKnownHostsFile "/a b"\n')
    assert told.user_known_hosts is None
    assert [str(setting) for setting in told.others] == ["UserKnownHostsFile with a blank in it /a b"]
    assert by_us('UserKnownHostsFile "/a b"\n').user_known_hosts == ("/a b",)


def test_what_only_openssh_can_do_is_told_apart(by_ssh: Find) -> None:
    text = (
        "AddressFamily inet\nCiphers aes256-ctr\nPort 3\nCompression yes\nHost other\n BindAddress 1.2.3.4\n"
    )
    told = by_ssh(text)
    assert [str(setting) for setting in told.others] == ["AddressFamily inet", "Ciphers aes256-ctr"]
    assert {setting.where for setting in told.sources} == {"ssh -G nas"}
    assert not by_ssh("Port 3\n").others


def test_what_paramiko_cannot_do_is_not_dropped_for_it(by_ssh: Find) -> None:
    """RevokedHostKeys, say, is a check that the user relies on."""
    with pytest.raises(UsageError, match=r"RevokedHostKeys /x can't be followed.*--transport paramiko"):
        by_ssh("RevokedHostKeys /x\n", transport="paramiko")
    assert by_ssh("Port 3\nSendEnv X\n", transport="paramiko").port == 3


def test_a_jump_and_a_command_are_told_with_their_tokens(by_ssh: Find) -> None:
    assert by_ssh("ProxyJump me@a:22,[::1]:8\n").proxy_jump == "me@a:22,[::1]:8"
    told = by_ssh("ProxyCommand=ssh -W %h:%p 'a b' # c\nProxyJump b\n")
    assert told.proxy_command == "ssh -W %h:%p 'a b' # c"
    assert told.proxy == f"ProxyCommand {told.proxy_command}"
    assert by_ssh("ProxyJump none # which is a host by that name\n").proxy_jump == NONE


def test_gssapi_counts_where_there_may_be_a_ticket(
    by_ssh: Find, by_us: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian turns it on for all: that must not keep anybody from the quicker way."""
    monkeypatch.delenv("KRB5CCNAME", raising=False)
    assert not by_ssh("GSSAPIAuthentication yes\n").others
    assert not by_us("GSSAPIAuthentication yes\n").others
    monkeypatch.setenv("KRB5CCNAME", "FILE:/nothing")
    assert [setting.keyword for setting in by_ssh("GSSAPIAuthentication yes\n").others] == [
        "GSSAPIAuthentication"
    ]
    with pytest.raises(UsageError, match="GSSAPIAuthentication"):
        by_us("GSSAPIAuthentication yes\n")


@pytest.mark.parametrize("value", ["no", "off"])
def test_a_check_that_is_off_is_made_and_that_is_said(tmp_path: Path, value: str) -> None:
    said: list[str] = []
    config = write(tmp_path, f"StrictHostKeyChecking {value}\n")
    assert find_settings(NAS, Login(ssh_config=config), said.append).strict_host_key is Strict.ASK
    assert len(said) == 1
    assert "StrictHostKeyChecking" in said[0]


def test_the_patience_that_is_typed_counts_first(by_ssh: Find) -> None:
    assert by_ssh("ConnectTimeout 3\n").connect_timeout == 3
    assert by_ssh("ConnectTimeout 3\n", timeout=7.0).connect_timeout is None


@pytest.mark.parametrize("command", ["sleep 60", "sleep 60 & sleep 60", "exec 1>&2; sleep 60"])
def test_a_command_that_hangs_ends_with_us(by_ssh: Find, tmp_path: Path, command: str) -> None:
    """With all that it has started."""
    started = time.monotonic()
    with pytest.raises(TurnedAway, match=r"did not end within 0\.3 s"):
        by_ssh(f'Match exec "echo $$ > {tmp_path}/pid; {command}"\n Port 3\n', timeout=0.3)
    assert time.monotonic() - started < 20
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not alive(pid), "the command to end")


def test_a_host_is_never_taken_for_an_option(by_ssh: Find, by_us: Find, tmp_path: Path) -> None:
    """Though no DEST can name such a one."""
    target = SshTarget(f"-oProxyCommand=touch {tmp_path}/made", "/")
    for find in (by_ssh, by_us):
        try:
            assert find("Port 3\n", target).host.startswith("-oproxycommand")
        except UsageError:
            pass  # newer versions refuse it
    assert not (tmp_path / "made").exists()


def test_another_client_is_asked_by_its_command(by_ssh: Find, tmp_path: Path) -> None:
    """With what it is always given."""
    script = tmp_path / "own ssh"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexec ssh "$@"\n')
    script.chmod(0o755)
    assert by_ssh("Port 3\n", ssh_command=f"'{script}' -4").port == 3
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 2
    assert all(call.startswith("-4 -G ") and call.endswith(" -- nas sftp") for call in calls)
    with pytest.raises(UsageError, match="can't start"):
        by_ssh("Port 3\n", ssh_command=str(tmp_path / "nothing"))


def test_what_a_command_leaves_behind_is_not_waited_for(by_ssh: Find) -> None:
    started = time.monotonic()
    assert by_ssh('Match exec "sleep 30 &"\n Port 3\n').port == 3
    assert time.monotonic() - started < 20


def test_a_command_is_run_as_the_way_to_ask_for_sftp(by_ssh: Find, tmp_path: Path) -> None:
    told = by_ssh(
        f'Match exec "echo %h %n %p %r > {tmp_path}/seen"\n IdentityFile ~/a\n',
        SshTarget("nas", "/", "me", 7),
    )
    assert told.identities is not None
    assert (tmp_path / "seen").read_text() == "nas nas 7 me\n"


@pytest.mark.parametrize("version", ["OpenSSH_6.6.1p1", "Dropbear v2022.83", "OpenSSH_9.2"])
def test_a_client_that_cannot_tell_is_none(
    by_us: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Our own reader is there then. What a true OpenSSH complains of is told."""
    script = tmp_path / "bin" / "ssh"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\ncase "$1" in -V) echo "{version}" >&2;; *) echo "no such option" >&2; exit 1;; esac\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/bin:/usr/bin")
    login = Login(ssh_config=write(tmp_path, "Port 7\n"))
    if version == "OpenSSH_9.2":
        with pytest.raises(UsageError, match="no such option"):
            find_settings(NAS, login, silence)
    else:
        assert find_settings(NAS, login, silence).port == 7


# Which files count


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder that the system's list has, which is not ``HOME``; and no client."""
    home = tmp_path / "account"
    (home / ".ssh").mkdir(parents=True)
    entry = pwd.getpwuid(os.getuid())
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd((*entry[:5], str(home), entry.pw_shell)))
    monkeypatch.setattr("reconcile.remotes.ssh.config.SYSTEM_FOLDER", str(tmp_path / "etc"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    (tmp_path / "etc").mkdir()
    return home


def test_the_file_is_in_the_home_of_the_account(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenSSH's is, whatever HOME says. The user's comes first."""
    monkeypatch.setenv("HOME", "/nothing")
    (account.parent / "etc" / "ssh_config").write_text("Include more.d/*\nUser all\nPort 3\n")
    (account.parent / "etc" / "more.d").mkdir()
    (account.parent / "etc" / "more.d" / "1").write_text("HostName everybodys\n")
    (account / ".ssh" / "config").write_text("Include mine\nPort 4\nIdentityFile ~/k\n")
    (account / ".ssh" / "mine").write_text("User me\n")
    found = find_settings(NAS, Login(), silence)
    assert (found.host, found.user, found.port) == ("everybodys", "me", 4)
    assert found.identities == (f"{account}/k",)
    found = find_settings(NAS, Login(ssh_config=NONE), silence)
    assert (found.host, found.port, found.identities) == ("nas", 22, None)


def test_a_home_that_has_a_config_of_its_own(
    account: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sets HOME to such a folder means it. OpenSSH would not look there: so it is not asked."""
    home = tmp_path / "other"
    (home / ".ssh" / "more").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    (account / ".ssh" / "config").write_text("HostName accounts\n")
    assert find_settings(NAS, Login(), silence).host == "accounts", "it has none"
    monkeypatch.setattr("reconcile.remotes.ssh.config._find_client", lambda _: ("/usr/bin/ssh",))
    (home / ".ssh" / "config").write_text("Include more/*\nIdentitiesOnly yes\nIdentityFile ~/k\n")
    (home / ".ssh" / "more" / "1").write_text("HostName homes # here\n")
    found = find_settings(NAS, Login(), silence)
    assert (found.host, found.identities, found.identities_only) == ("homes", (f"{home}/k",), True)
    (home / ".ssh" / "more" / "1").write_text("ProxyJump elsewhere\n")
    with pytest.raises(UsageError, match=r"ProxyJump.* can't be followed.*--ssh-config FILE"):
        find_settings(NAS, Login(), silence)


def test_the_user_is_the_account(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ssh, which does not ask LOGNAME."""
    monkeypatch.setenv("LOGNAME", "somebody-else")
    assert find_settings(NAS, Login(), silence).user == pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize("mode", [0o660, 0o606])
@pytest.mark.parametrize("included", [False, True])
def test_a_file_that_others_may_change_is_not_followed(account: Path, mode: int, included: bool) -> None:
    file = account / ".ssh" / ("more" if included else "config")
    (account / ".ssh" / "config").write_text("Include more\n")
    file.write_text("HostName elsewhere\n")
    file.chmod(mode)
    with pytest.raises(UsageError, match=rf"{file.name} could be changed by others.*chmod go-w"):
        find_settings(NAS, Login(), silence)


@pytest.mark.parametrize("name", ["config", "more"])
def test_a_file_that_cannot_be_read_is_refused(account: Path, name: str) -> None:
    (account / ".ssh" / "config").write_text("Include more\n")
    (account / ".ssh" / name).unlink(missing_ok=True)
    (account / ".ssh" / name).mkdir()
    with pytest.raises(UsageError, match=rf"can't read .*{name}"):
        find_settings(NAS, Login(), silence)


def test_a_file_that_is_asked_for_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for client in (True, False):
        if not client:
            monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(UsageError, match=r"nothing: No such file"):
            find_settings(NAS, Login(ssh_config=str(tmp_path / "nothing")), silence)


def test_nobody_is_asked_where_nothing_is_said(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes less for most: what Debian's file says makes no difference, but for the hashes."""
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/ssh")
    monkeypatch.setattr("reconcile.remotes.ssh.asked.ask", lambda *_: pytest.fail("asked"))
    system = account.parent / "etc" / "ssh_config"
    usual = "Host *\n SendEnv LANG LC_*\n HashKnownHosts yes\n GSSAPIAuthentication yes\n"
    system.write_text(f"Include ssh_config.d/*.conf\n{usual}")
    monkeypatch.delenv("KRB5CCNAME", raising=False)
    found = find_settings(NAS, Login(), silence)
    assert (found.host, found.port, found.hash_known_hosts) == ("nas", 22, True)
    for said in ("Host other\n Port 3\n", "Match all\n", "SomethingNew x\n", 'Host "\n'):
        (account / ".ssh" / "config").write_text(said)
        with pytest.raises(pytest.fail.Exception):
            find_settings(NAS, Login(), silence)


def test_each_keyword_of_the_manual_is_in_one_list() -> None:
    lists = [*keywords.FOLLOWED, *(each.spelled for each in keywords.BEYOND), *keywords.HARMLESS]
    assert len({name.lower() for name in lists}) == len(lists)
    assert all(keywords.HARMLESS.values())
    assert all(each.reason for each in keywords.BEYOND)


def test_each_keyword_that_openssh_prints_is_known(tmp_path: Path) -> None:
    """Of the version that is here: what a newer one prints counts as beyond us, where it is set."""
    output = subprocess.run(
        [find_program("ssh"), "-T", "-G", "-F", NONE, "nas"], capture_output=True, text=True, check=True
    ).stdout
    names = {keywords.plain(line.partition(" ")[0]) for line in output.splitlines()} - {"host"}
    unknown = [
        name
        for name in names
        if not (keywords.is_followed(name) or keywords.beyond(name) or keywords.is_harmless(name))
    ]
    assert not unknown


# A user without a home


@pytest.fixture(params=[None, "", "relative"])
def homeless(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whom the system does not know, in a folder in which somebody has made a ``~``."""
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    if request.param is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", request.param)
    monkeypatch.chdir(tmp_path)
    for name in ("~", "relative"):
        (tmp_path / name / ".ssh").mkdir(parents=True)
        (tmp_path / name / ".ssh" / "config").write_text("HostName evil\n")
        (tmp_path / name / ".ssh" / "known_hosts").write_text(f"nas ssh-ed25519 {KEY}\n")
    return tmp_path


KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIHFjFGWUo6XqrqGUkb4sWIXS2s5kPr0RQIu4uZx1cW2x"


def test_nothing_is_read_from_the_current_folder(homeless: Path) -> None:
    settings = find_settings(SshTarget("nas", "/", "me"), Login(), pytest.fail)
    assert settings.host == "nas"
    assert not look_up(settings, Login()).trusted


def test_the_client_is_not_let_loose_on_another_config(
    account: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under that home it would go where the account's configuration says."""
    home = tmp_path / "other"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "config").write_text("HostName homes\n")
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(UsageError, match=r"OpenSSH's client is needed here \(--transport\).*--ssh-config"):
        reach(NAS, Login(transport="ssh"), silence)
