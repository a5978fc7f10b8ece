"""Whether we go where ``ssh`` goes: by what a real sshd writes into its log of both.

For each configuration OpenSSH's client connects, then we do, by what OpenSSH says and by what we read
ourselves: the same address, the same user, the same keys in the same order.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import Struct

from reconcile.core.errors import Unreachable, Untrusted, UsageError
from reconcile.remotes.ssh.reach import reach
from reconcile.remotes.ssh.target import Login, SshTarget
from tests.support.processes import wait_for
from tests.support.sshd import Sshd, find_program, make_key, start_sshd

OTHER = "127.0.0.2"  # where the same server listens
KEYS = ("one", "two", "three")  # of which the server takes the second

_CAME = re.compile(r"Connection from \S+ port (\d+) on (\S+) port")
_USER = re.compile(r"userauth-request for user (.*) service ssh-connection method")
_KEY = re.compile(r"userauth_pubkey: publickey (?:test|have) .*(SHA256:\S+)")
_GONE = re.compile(r"(?:Connection (?:closed|reset) by|Disconnected from|Read error from) .*port (\d+)")


RELAY = """
import os, socket, sys, threading
there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def bring():
    while data := os.read(0, 1 << 16):
        there.sendall(data)
    there.shutdown(socket.SHUT_WR)
threading.Thread(target=bring, daemon=True).start()
while data := there.recv(1 << 16):
    os.write(1, data)
"""


class Seen(Struct, frozen=True):
    """What a server knows of us, who came once, or first as a jump."""

    addresses: tuple[str, ...]
    users: tuple[str, ...]
    keys: tuple[str, ...]  # their names, in the order that they were offered
    let_in: int  # times


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
        users = tuple(sorted(set(_USER.findall(text))))
        if not users:
            return None
        keys = dict.fromkeys(self.keys[found] for found in _KEY.findall(text))
        addresses = tuple(sorted(address for _, address in _CAME.findall(text)))
        return Seen(addresses, users, tuple(keys), text.count("Accepted publickey"))

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
    before = os.umask(0o022)  # what others may write to is not read
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
        (folder / "nc").write_text(RELAY)
        keys = {show_fingerprint(folder / name): name for name in KEYS}
        names = {"folder": str(folder), "port": str(sshd.port), "user": sshd.endpoint.user, "other": OTHER}
        names["nc"] = f"{sys.executable} {folder}/nc"
        os.umask(before)
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


# Those for which OpenSSH's client is used. Without one each is refused, by that word.
BEYOND = [
    ("AddressFamily", f"AddressFamily inet\n{TWO}"),
    ("BindAddress", f"Host nas\n BindAddress {{other}}\n {ONE}{TWO}"),
    ("Ciphers", f"Ciphers aes256-ctr\nMatch user {{user}}\n {TWO}"),
    ("PubkeyAuthentication", f"PubkeyAuthentication no\n{TWO}"),
    ("ProxyJump", f"Host hop\n {ONE}Host nas\n HostName {{other}}\n ProxyJump hop\nHost *\n {TWO}"),
    (
        "ProxyJump",
        f"Host nas\n HostName {{other}}\n ProxyJump {{user}}@{{other}}:{{port}},hop\nHost *\n{TWO}",
    ),
    (
        "ProxyJump",
        f"HostName 127.0.0.1\nMatch host 127.* originalhost nas\n ProxyJump {{other}}\nMatch all\n{TWO}",
    ),
    ("ProxyCommand", f"Host nas\n ProxyCommand {{nc}} {{other}} %p\nHost *\n {TWO}"),
    ("ProxyCommand", f"Host nas\n ProxyJump none\n ProxyCommand {{nc}} {{other}} %p\nHost *\n {TWO}"),
    ("Match exec", f'Match exec "true"\n HostName {{other}}\n {TWO}'),
    ("Match exec", f'Match exec "false"\n HostName {{other}}\n {ONE}Match all\n {TWO}'),
    ("Match !exec", f'Match !exec "test %h = nas"\n HostName {{other}}\nMatch all\n {TWO}'),
]


@pytest.mark.parametrize(("word", "text"), [*(("", text) for text in CONFIGURATIONS), *BEYOND])
def test_we_go_where_ssh_goes(
    host: Host, word: str, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = host.write(text)
    command = [find_program("ssh"), "-F", config, "-o", "BatchMode=yes", "-s", "nas", "sftp"]
    expected = host.watch(
        lambda: subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
    )

    def go() -> None:
        try:
            with closing(reach(SshTarget("nas", "/"), Login(ssh_config=config), lambda _: None)):
                pass
        except (Unreachable, Untrusted):
            pass

    assert host.watch(go) == expected
    monkeypatch.setenv("PATH", str(tmp_path))
    if word:
        with pytest.raises(UsageError, match=rf", line \d+: {word} .*can't be"):
            go()
    else:
        assert host.watch(go) == expected


def test_there_are_as_many_as_were_asked_for() -> None:
    assert len(CONFIGURATIONS) >= 40
