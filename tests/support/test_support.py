from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import bound_by_permissions, wait_for
from tests.support.proxy import Proxy
from tests.support.sshd import Endpoint, Sshd
from tests.support.trees import Dir, Fifo, File, Link, Node, assert_same_tree, build_tree, read_tree


def sftp(at: Endpoint, *commands: str) -> subprocess.CompletedProcess[str]:
    """Run OpenSSH's own client with a batch of commands."""
    return subprocess.run(
        ["sftp", *at.ssh_options(), "-P", str(at.port), "-b", "-", f"{at.user}@{at.host}"],
        input="\n".join(commands),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def drain(line: socket.socket) -> None:
    """Read to the end."""
    while line.recv(1000):
        pass


def test_a_tree_is_what_was_asked_for(tmp_path: Path) -> None:
    build_tree(
        tmp_path,
        {
            "a": "text",
            "b": File(b"\0", mode=0o750, mtime=1_000_000_000.9),
            "d": {"empty": {}, "l": Link("../a")},
            "private": Dir({"f": ""}, mode=0o500),
            "pipe": Fifo(),
        },
    )
    found = read_tree(tmp_path)
    assert found["b"] == Node("file", 0o750, b"\0", 1_000_000_000)
    assert found["d/l"] == Node("symlink", content=b"../a")
    assert found["private"] == Node("dir", 0o500)
    assert found["pipe"].kind == "other"
    assert set(found) == {"a", "b", "d", "d/empty", "d/l", "private", "private/f", "pipe"}


def test_names_are_bytes(tmp_path: Path) -> None:
    build_tree(tmp_path, {b"\xff\n": {b"\xfe": b"x"}})
    assert read_tree(tmp_path, mtimes=False)["\udcff\n/\udcfe"] == Node("file", 0o644, b"x")


def test_differences_are_found(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    both = {"f": File("1", mtime=1.5), "gone": File("", mtime=1)}
    build_tree(here, {**both, "ignored": {"x": "1"}})
    build_tree(there, {**both, "ignored": {"x": "2"}, ".reconcile": {"id": ""}})
    assert_same_tree(here, there, ignore=["ignored"])
    (there / "f").chmod(0o600)
    os.utime(there / "f", (2, 2))
    (there / "gone").unlink()
    with pytest.raises(AssertionError, match="2 paths differ"):
        assert_same_tree(here, there, ignore=["ignored"])
    assert_same_tree(here, there, ignore=["ignored", "gone"], modes=False, mtimes=False)


def test_a_file_arrives_and_requests_are_counted(shim_sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(os.urandom(1_000_000))
    shim_sshd.requests()  # those of other tests
    done = sftp(
        shim_sshd.endpoint, f"put {tmp_path}/here {tmp_path}/there", f"rename {tmp_path}/there {tmp_path}/b"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "b").read_bytes() == (tmp_path / "here").read_bytes()
    counted = shim_sshd.requests()
    assert counted.sessions == 1
    assert counted.requests["OPEN"] == 1
    assert counted.requests["CLOSE"] == 1
    assert counted.requests["WRITE"] >= 1_000_000 // 261_120
    assert counted.requests["posix-rename@openssh.com"] == 1
    assert counted.replies["VERSION"] == counted.requests["INIT"] == 1
    assert counted.replies.total() == counted.requests.total()
    assert counted.total == counted.requests.total() - 1
    assert counted.sent > 1_000_000 > counted.received
    assert shim_sshd.requests().sessions == 0


def test_the_shim_reports_a_session_that_was_cut(
    shim_sshd: Sshd, make_proxy: Callable[..., Proxy], tmp_path: Path
) -> None:
    (tmp_path / "here").write_bytes(bytes(3_000_000))
    shim_sshd.requests()  # of whoever had it before
    proxy = make_proxy(shim_sshd.port)
    proxy.cut_after(1_000_000)
    done = sftp(shim_sshd.via(proxy.port), f"put {tmp_path}/here {tmp_path}/there")
    assert done.returncode != 0
    counts = proxy.counts()
    assert counts.up == 1_000_000
    assert (counts.connections, counts.open) == (1, 0)
    assert shim_sshd.requests().requests["OPEN"] == 1
    assert (tmp_path / "there").stat().st_size < 1_000_000


def test_the_proxy_delays_without_limiting_bandwidth(
    sshd: Sshd, make_proxy: Callable[..., Proxy], tmp_path: Path
) -> None:
    (tmp_path / "here").write_bytes(os.urandom(4_000_000))
    proxy = make_proxy(sshd.port, rtt=0.1)
    began = time.monotonic()
    done = sftp(sshd.via(proxy.port), f"put {tmp_path}/here {tmp_path}/there", f"ls {tmp_path}")
    assert done.returncode == 0, done.stderr
    # Logging in alone takes more than five round trips. A lower bound only: it holds on any machine.
    assert time.monotonic() - began > 0.5
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()
    assert proxy.counts().up > 4_000_000


def test_the_proxy_refuses(sshd: Sshd, make_proxy: Callable[..., Proxy]) -> None:
    proxy = make_proxy(sshd.port)
    at = sshd.via(proxy.port)
    proxy.refuse()
    assert sftp(at, "pwd").returncode != 0
    proxy.refuse(False)
    assert sftp(at, "pwd").returncode == 0
    assert proxy.counts().connections == 1


def test_the_proxy_cuts_a_line_that_waits(sshd: Sshd, make_proxy: Callable[..., Proxy]) -> None:
    proxy = make_proxy(sshd.port)
    with socket.create_connection(("127.0.0.1", proxy.port)) as line:
        assert line.recv(4) == b"SSH-"
        assert proxy.counts().open == 1
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            drain(line)
    assert proxy.counts().open == 0


def test_a_server_stops_with_its_sessions_and_starts_again(own_sshd: Sshd, tmp_path: Path) -> None:
    client = subprocess.Popen(
        [
            "sftp",
            *own_sshd.endpoint.ssh_options(),
            "-P",
            str(own_sshd.port),
            f"{own_sshd.endpoint.user}@127.0.0.1",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: bool(own_sshd.shim_log.read_bytes()), "the session to begin")
    own_sshd.stop()
    client.communicate(timeout=30)  # it notices at the latest at the end of its input
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", own_sshd.port))
    assert own_sshd.requests().sessions == 0  # it was killed, so it could not report
    port = own_sshd.port
    own_sshd.start()
    assert own_sshd.port == port
    assert sftp(own_sshd.endpoint, f"mkdir {tmp_path}/d").returncode == 0
    assert own_sshd.requests().requests["MKDIR"] == 1


def test_permissions_bind(bound_sshd: Sshd, tmp_path: Path) -> None:
    build_tree(tmp_path, {"unreadable": File("x", mode=0), "closed": Dir({}, mode=0o555)})
    for command in (f"get {tmp_path}/unreadable {tmp_path}/got", f"mkdir {tmp_path}/closed/d"):
        done = sftp(bound_sshd.endpoint, command)
        assert done.returncode != 0
        assert "ermission denied" in done.stderr
    script = f"open({str(tmp_path / 'unreadable')!r})"
    done = subprocess.run(
        bound_by_permissions([sys.executable, "-c", script]), capture_output=True, text=True, check=False
    )
    assert "PermissionError" in done.stderr
