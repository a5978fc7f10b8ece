"""Whether we go where ``ssh`` goes: by what a real sshd writes into its log of both.

For each configuration OpenSSH's client connects, then we do, by what OpenSSH says and by what we read
ourselves: the same address, the same user, the same keys in the same order.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import Struct

from reconcile.core.errors import Unreachable, Untrusted, UsageError
from reconcile.remotes.ssh.connect import connect
from reconcile.remotes.ssh.target import Login, SshTarget
from tests.support.processes import wait_for
from tests.support.sshd import Sshd, find_program, make_key, start_sshd

OTHER = "127.0.0.2"  # where the same server listens
KEYS = ("one", "two", "three")  # of which the server takes the second

_CAME = re.compile(r"Connection from \S+ port (\d+) on (\S+) port")
_USER = re.compile(r"userauth-request for user (.*) service ssh-connection method")
_KEY = re.compile(r"userauth_pubkey: publickey (?:test|have) .*(SHA256:\S+)")
_GONE = re.compile(r"(?:Connection (?:closed|reset) by|Disconnected from|Read error from) .*port (\d+)")


class Seen(Struct, frozen=True):
    """What a server knows of one connection."""

    address: str
    user: str
    keys: tuple[str, ...]  # their names, in the order that they were offered
    let_in: bool


class Host(Struct, frozen=True):
    """A server, and what a configuration is written with."""

    sshd: Sshd
    names: dict[str, str]
    keys: dict[str, str]  # name by fingerprint

    def watch(self, act: Callable[[], object]) -> Seen | None:
        """What the server sees while we do this. None: nobody came so far as to say who."""
        before = self.sshd.log.stat().st_size

        def news() -> str:
            return self.sshd.log.read_bytes()[before:].decode()

        act()
        wait_for(lambda: {port for port, _ in _CAME.findall(news())} <= set(_GONE.findall(news())), "the end")
        text = news()
        users = set(_USER.findall(text))
        if not users:
            return None
        assert len(users) == 1
        keys = dict.fromkeys(self.keys[found] for found in _KEY.findall(text))
        addresses = {address for _, address in _CAME.findall(text)}
        assert len(addresses) == 1
        return Seen(addresses.pop(), users.pop(), tuple(keys), "Accepted publickey" in text)

    def write(self, text: str) -> str:
        """A configuration; what it leaves open leads to this server."""
        path = self.sshd.folder / "config"
        for name, value in self.names.items():
            text = text.replace(f"{{{name}}}", value)
        usual = f"HostName 127.0.0.1\n Port {self.sshd.port}\n User {self.names['user']}\n"
        path.write_text(f"{text}\nMatch all\n {usual} UserKnownHostsFile {self.names['folder']}/any\n")
        return str(path)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A server that tells in its log of each key."""
    folder = tmp_path_factory.mktemp("log")
    for name in KEYS:
        make_key(folder / name)
    with start_sshd(folder, settings=("LogLevel DEBUG3", f"ListenAddress {OTHER}")) as sshd:
        (folder / "authorized_keys").write_bytes((folder / "two.pub").read_bytes())
        (folder / "any").write_text(f"* {sshd.host_key}\n")
        (folder / "box").write_text(f"box {sshd.host_key}\n")
        (folder / "another").write_text(f"* {(folder / 'one.pub').read_text()}")
        (folder / "more").write_text(f"IdentityFile {folder}/three\nHost nas\n IdentityFile {folder}/two\n")
        (folder / "some more").mkdir()
        (folder / "some more" / "a").write_text(f"HostName {OTHER}\nInclude {folder}/more\n")
        (folder / f"key-{OTHER}-{sshd.endpoint.user}").symlink_to(folder / "two")
        keys = {show_fingerprint(folder / name): name for name in KEYS}
        names = {"folder": str(folder), "port": str(sshd.port), "user": sshd.endpoint.user, "other": OTHER}
        yield Host(sshd, names, keys)


def show_fingerprint(key: Path) -> str:
    command = [find_program("ssh-keygen"), "-l", "-f", f"{key}.pub"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1]


ONE, TWO, THREE = (f"IdentityFile {{folder}}/{name}\n" for name in KEYS)

# Each leads to the server, and what it makes of it is in the log.
CONFIGURATIONS = [
    TWO,
    ONE + TWO + THREE,
    THREE + ONE,
    ONE + ONE + TWO,
    "IdentityFile none\n",
    f"IdentityFile none\n{TWO}",
    f"HostName {{other}}\n{TWO}",
    f"HostName = {{other}}\r\nUser={{user}}\r\n{TWO}",
    f"HostName localhost\n{TWO}",
    f"User nobody-here\n{ONE}{TWO}",
    f"User 'nobody here'\n{TWO}",
    f"Port {{port}} # here\nHostName {{other}} # there\n{TWO}",
    f"Port 1\n{TWO}",
    # Host
    f"Host nas\n HostName {{other}}\n {TWO}Host *\n HostName 127.0.0.1\n {ONE}",
    f"Host * !nas\n HostName {{other}}\nHost n?s\n {TWO}",
    f"Host other na[s]\n HostName {{other}}\nHost NAS\n User nobody-here\nHost *\n {TWO}",
    f"Host other # nas\n User nobody-here\nHost 'nas'\n {TWO}",
    f"Host other,nas\n User nobody-here\nHost other nas\n {TWO}",
    f"Host other\n HostName {{other}}\n{ONE}Host nas\n {TWO}",
    # Match
    f"Match host nas\n HostName {{other}}\nMatch host {{other}}\n {TWO}Match originalhost nas\n {THREE}",
    f"HostName {{other}}\nMatch host nas\n {ONE}Match host 127.*,!127.0.0.1\n {TWO}",
    f"User nobody-here\nMatch user nobody*\n {ONE}Match !user nobody*\n {TWO}",
    f"Match localuser * host=nas\n HostName {{other}}\n {TWO}",
    f"Match !host nas\n HostName {{other}}\nMatch all\n {TWO}",
    f"Match final\n {TWO}Match host nas\n HostName {{other}}\n",
    f"Match final host {{other}}\n {TWO}Host {{other}}\n {ONE}Host nas\n HostName {{other}}\n",
    f"Match canonical\n HostName {{other}}\nMatch all\n {TWO}",
    f'Match host other exec "true"\n HostName {{other}}\nMatch all\n {TWO}',
    f'Match exec "true"\n HostName {{other}}\n {TWO}',
    f'Match exec "false"\n HostName {{other}}\n {ONE}Match all\n {TWO}',
    f'Match !exec "test %h = nas"\n HostName {{other}}\nMatch all\n {TWO}',
    # Include
    f"Include {{folder}}/more\n{ONE}",
    f"Include '{{folder}}/some more/*'\nHostName 127.0.0.1\n{ONE}",
    f"Host other\n Include {{folder}}/more\nHost *\n {TWO}",
    f"Host nas\n Include {{folder}}/some?more/a\n HostName 127.0.0.1\n {ONE}",
    f"Include {{folder}}/nothing*\n{TWO}",
    # Tokens
    "HostName {other}\nIdentityFile {folder}/key-%h-%r\n",
    f"IdentityFile {{folder}}/%n\nIdentityFile {{folder}}/two%%\n{TWO}",
    "IdentityFile ${HOME}/no-such-key\nIdentityFile {folder}/../%L-no-such-key\n" + TWO,
    # Trust
    f"HostKeyAlias box\nUserKnownHostsFile {{folder}}/box\n{TWO}",
    f"HostKeyAlias Box\nUserKnownHostsFile {{folder}}/nothing {{folder}}/box\n{TWO}",
    f"UserKnownHostsFile {{folder}}/box\n{TWO}",
    f"UserKnownHostsFile {{folder}}/another\n{TWO}",
    f"UserKnownHostsFile none\n{TWO}",
    f"UserKnownHostsFile none\nGlobalKnownHostsFile {{folder}}/nothing {{folder}}/any\n{TWO}",
    f"UserKnownHostsFile {{folder}}/nothing {{folder}}/any\nStrictHostKeyChecking yes\n{TWO}",
    # The rest
    f"IdentitiesOnly yes\nIdentityAgent none\n{THREE}{TWO}",
    f"ProxyJump none\nProxyCommand none\nConnectTimeout 20\n{TWO}",
    f"IgnoreUnknown Some*\nSomethingNew x\nSendEnv X\nLogLevel QUIET\nForwardAgent yes\n{TWO}",
]


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_we_go_where_ssh_goes(host: Host, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = host.write(text)
    command = [find_program("ssh"), "-F", config, "-o", "BatchMode=yes", "-s", "nas", "sftp"]
    expected = host.watch(
        lambda: subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
    )

    def go() -> None:
        try:
            with closing(connect(SshTarget("nas", "/"), Login(ssh_config=config), lambda _: None)):
                pass
        except (Unreachable, Untrusted):
            pass

    assert host.watch(go) == expected
    monkeypatch.setenv("PATH", str(tmp_path))
    if "Match exec" in text or "Match !exec" in text:
        with pytest.raises(UsageError, match=r"Match !?exec can't be judged"):
            go()
    else:
        assert host.watch(go) == expected


def test_there_are_as_many_as_were_asked_for() -> None:
    assert len(CONFIGURATIONS) >= 40
