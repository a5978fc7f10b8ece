"""What ``~/.ssh/config`` and a missing home do to where we call. No connection is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconcile.core.errors import UsageError
from reconcile.remotes.ssh import config as configuration
from reconcile.remotes.ssh.config import find_settings, refuse_proxy
from reconcile.remotes.ssh.known_hosts import look_up
from reconcile.remotes.ssh.settings import Settings
from reconcile.remotes.ssh.target import Login, SshTarget

NAS = SshTarget("nas", "/", "me")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an empty ``.ssh``."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def find(home: Path, config: str) -> tuple[Settings, list[str]]:
    """Where the config leads to, and what is said."""
    (home / ".ssh" / "config").write_text(config)
    said: list[str] = []
    return find_settings(NAS, Login(), said.append), said


@pytest.mark.parametrize(
    "config",
    [
        "Host *\n  ProxyJump bastion\n",
        "ProxyCommand=ssh -W %h:%p bastion\n",
        "Host nas\n ProxyJump bastion\nHost *\n ProxyJump none\n",
        "Match host nas\n ProxyJump bastion # the one in the cellar\n",
        'Match exec "test -e /x" host nas\n ProxyJump bastion\n',
        "Match localnetwork 10.0.0.0/8\n ProxyCommand nc %h %p\n",
        "Match canonical\n ProxyJump bastion\n",
        '"ProxyJump" bastion\n',
        "Host other # nas\n ProxyJump none\nHost *\n ProxyJump bastion\n",
        'Match exec "false"\n ProxyJump none\nMatch exec "x"\n ProxyJump bastion\n',
        "Match user me\n ProxyJump bastion\n",
        "User other\nMatch user me\n ProxyJump bastion\n",
        "Match host=nas\n ProxyJump bastion\n",
        "MATCH ALL # of them\n ProxyJump bastion\n",
        "Host 'nas'\n ProxyJump bastion\n",
    ],
)
def test_what_leads_through_a_proxy_is_refused(home: Path, config: str) -> None:
    """What answers under that name without the proxy may be another machine."""
    with pytest.raises(UsageError, match=r"through a proxy \(Proxy(Jump|Command).*Not\s+connected"):
        find(home, config)


@pytest.mark.parametrize("included", ["Host nas\n ProxyJump bastion\n", "Include deeper\n", "Include loop\n"])
@pytest.mark.parametrize(("before", "after"), [("", False), ("Host nas\n ProxyJump none\n", True)])
def test_a_proxy_in_an_included_file_is_one(home: Path, included: str, before: str, after: bool) -> None:
    """Nothing else is followed there."""
    (home / ".ssh" / "work").write_text(f"Include loop\n{included}HostName elsewhere\n")
    (home / ".ssh" / "deeper").write_text("ProxyJump=bastion\n")
    (home / ".ssh" / "loop").write_text("Include ~/.ssh/wor?\n")
    if after or "loop" in included:
        assert find(home, f"{before}Host *\n Include work\n")[0].host == "nas"
    else:
        with pytest.raises(UsageError, match="through a proxy"):
            find(home, f"{before}Host *\n Include work\n")
    assert find(home, "Host other\n Include work\nHost *\n Port 22\n")[0].host == "nas"


@pytest.mark.parametrize(
    "config",
    [
        'Include "conf d/work"\n',
        "Include conf\\ d/work # and more\n",
        "Include none 'conf d/work'\n",
        "Include %d/.ssh/conf*/work\n",
        'Include "${HOME}/.ssh/conf d/work"\n',
        'Match exec "false"\n Include not\nHost *\n Include conf*/work\n',
    ],
)
def test_an_included_file_may_be_spelled_in_many_ways(home: Path, config: str) -> None:
    (home / ".ssh" / "conf d").mkdir()
    (home / ".ssh" / "conf d" / "work").write_text("ProxyJump bastion\n")
    (home / ".ssh" / "not").write_text("ProxyJump none\n")
    with pytest.raises(UsageError, match="through a proxy"):
        find(home, config)


def test_an_included_file_that_cannot_be_read_is_refused(home: Path) -> None:
    """As OpenSSH does: it may hold a proxy."""
    (home / ".ssh" / "folder").mkdir()
    with pytest.raises(UsageError, match=r"can't read .*folder"):
        find(home, "Include folder\n")


@pytest.mark.parametrize(
    ("config", "host", "port"),
    [
        ("Host other # *\n HostName evil\n", "nas", 22),
        ("HostName a.b # its address\nPort 23 # not 22\n", "a.b", 23),
        ("HostName = \"a.b\"\nPort '23'\n", "a.b", 23),
        ("Match host other user x # nas\n Port 23\n", "nas", 22),
    ],
)
def test_comments_and_quotes_are_none_of_a_value(home: Path, config: str, host: str, port: int) -> None:
    found, _ = find(home, config)
    assert (found.host, found.port) == (host, port)


def test_a_proxy_of_the_whole_machine_is_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "SYSTEM_CONFIG", str(home / "ssh_config"))
    (home / "ssh_config").write_text("Include ssh_config.d/*.conf\nHostName elsewhere\n")
    (home / "ssh_config.d").mkdir()
    refuse_proxy(NAS)
    (home / "ssh_config.d" / "20.conf").write_text("Host vsock/*\n ProxyCommand x %h\n")
    refuse_proxy(NAS)
    (home / "ssh_config.d" / "30.conf").write_text("Match host n*\n ProxyCommand x %h\n")
    with pytest.raises(UsageError, match=r"30\.conf reaches nas through a proxy"):
        refuse_proxy(NAS)
    (home / ".ssh" / "config").write_text("Host nas\n ProxyJump none\n")
    refuse_proxy(NAS)


@pytest.mark.parametrize(
    "config",
    [
        "Host nas\n ProxyJump none\n",
        "Host nas\n ProxyJump none\nMatch exec true\n ProxyJump bastion\n",
        "Host nas\n ProxyCommand none\n",
        'Host nas\n ProxyJump "NONE"\n',
        "Host nas\n ProxyJump none # not here\nHost *\n ProxyJump bastion\n",
        "Host nas\n ProxyJump none\nHost *\n ProxyCommand nc %h %p\n",  # the first of both counts
        "Host other\n ProxyJump bastion\n",
        'Match exec "true" host other\n ProxyJump bastion\n',
    ],
)
def test_no_proxy_is_none(home: Path, config: str) -> None:
    _, said = find(home, config)
    assert not any("proxy" in line.lower() for line in said)


def test_what_is_left_out_is_named_only_where_it_may_apply(home: Path) -> None:
    config = 'Match exec "x y" host other\n  Port 1\nMatch host nas exec z\n  Port 2\nInclude conf.d/*\n'
    found, said = find(home, config)
    assert found.port == 22
    assert said == [
        "~/.ssh/config: Match exec (line 3) is not supported, its block is left out",
        "~/.ssh/config: Include (line 5) is not followed: what stands in conf.d/* does not count",
    ]


def test_what_is_not_followed_is_kept_for_when_connecting_fails(home: Path) -> None:
    config = (
        "Host nas\n HostKeyAlias box\n IdentitiesOnly yes\n Compression yes\nHost *\n BindAddress 1.2.3.4\n"
    )
    found, said = find(home, config + "HostKeyAlias x\n VerifyHostKeyDNS no\nHost other\n Ciphers x\n")
    assert not said
    assert tuple(setting.keyword for setting in found.others) == (
        "BindAddress",
        "HostKeyAlias",
        "IdentitiesOnly",
    )
    assert "also says BindAddress, HostKeyAlias, IdentitiesOnly for this host" in found.reservation


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
    settings = find_settings(NAS, Login(), pytest.fail)
    assert settings.host == "nas"
    assert not look_up(settings, Login()).trusted
