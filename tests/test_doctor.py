"""``reconcile doctor`` as a shell sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.command import Ran, Reconcile
from tests.support.processes import bound_by_permissions, wait_for
from tests.support.proxy import Proxy
from tests.support.sshd import Endpoint, Sshd
from tests.support.trees import assert_same_tree, build_tree

ROOT = Path(__file__).parents[1]


def start(*args: str, bound: bool = False, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "reconcile", "doctor", *args]
    return subprocess.Popen(
        bound_by_permissions(command) if bound else command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def end(process: subprocess.Popen[str]) -> Ran:
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in out + err, err
    return Ran(process.returncode, out, err)


def doctor(*args: str, bound: bool = False) -> Ran:
    return end(start(*args, bound=bound))


def at(endpoint: Endpoint, dest: Path) -> list[str]:
    return [endpoint.url(dest), *endpoint.flags()]


def values(ran: Ran) -> dict[str, Any]:
    return {fact["name"]: fact["value"] for fact in ran.document["facts"]}


def test_all_is_well_on_openssh(sshd: Sshd, dest: Path) -> None:
    dest.mkdir()
    ran = doctor(*at(sshd.endpoint, dest), "--json")
    assert ran.code == 0, ran.out
    told = values(ran)
    assert "OpenSSH" in told["software"]
    assert told["channels"] == 8
    assert told["sends"] > 0
    assert "posix-rename@openssh.com" in told["extensions"]
    assert ran.document["status"] == "ok"
    assert os.listdir(dest) == []


def test_by_which_way_and_what_was_set_is_told(sshd: Sshd, dest: Path, tmp_path: Path) -> None:
    dest.mkdir()
    config = tmp_path / "ssh_config"
    config.write_text("Host *\n  IdentitiesOnly yes\n  ConnectTimeout 21\n")
    flags = [*sshd.endpoint.flags(), "--ssh-config", str(config)]
    for way in ("paramiko", "ssh"):
        told = values(doctor(sshd.endpoint.url(dest), *flags, "--transport", way, "--json"))
        assert told["transport"] == way
        assert told["settings"] == {"IdentitiesOnly": "yes", "ConnectTimeout": "21"}
        assert told["agreed on"]["cipher"]
        assert told["agreed on"]["key exchange"]
    assert os.listdir(dest) == []


def test_channels_are_as_many_as_may_be(sshd: Sshd, dest: Path) -> None:
    dest.mkdir()
    assert values(doctor(*at(sshd.endpoint, dest), "--json", "--channels", "2"))["channels"] == 2


def test_a_dest_that_can_t_be_written_to_is_told(bound_sshd: Sshd, dest: Path) -> None:
    dest.mkdir(mode=0o555)
    ran = doctor(*at(bound_sshd.endpoint, dest), "--json")
    assert ran.code == 3
    assert values(ran)["writable"] is False
    assert os.listdir(dest) == []


def test_nor_can_a_folder_here(dest: Path) -> None:
    dest.mkdir(mode=0o555)
    ran = doctor(str(dest), bound=True)
    assert ran.code == 3
    assert "✗ writable" in ran.out
    assert "nothing can be sent" in ran.out


def test_nobody_there_is_6(dest: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    ran = doctor(f"sftp://me@127.0.0.1:{port}{dest}", "--json")
    assert ran.code == 6
    assert ran.document["status"] == "unreachable"
    assert ran.document["facts"] == []
    assert str(port) in ran.document["message"]


def test_beside_runs_and_others_of_its_kind(sshd: Sshd, source: Path, dest: Path, state: Path) -> None:
    build_tree(source, {"a": "a"})
    reconcile = Reconcile(source, sshd.url(dest), state, sshd.endpoint.flags())
    reconcile.run()
    before = sorted((dest / ".reconcile").iterdir())
    doctors = [start(*at(sshd.endpoint, dest), "--json") for _ in range(2)]
    for number in range(3):
        build_tree(source, {f"new {number}": {"f": "f" * number}})
        reconcile.run("--mirror")
    assert [end(each).code for each in doctors] == [0, 0]
    assert_same_tree(source, dest)
    assert sorted((dest / ".reconcile").iterdir()) == before


def test_ctrl_c_leaves_nothing(sshd: Sshd, dest: Path, make_proxy: Callable[..., Proxy]) -> None:
    dest.mkdir()
    far = sshd.via(make_proxy(sshd.port, rtt=0.05).port)
    process = start(*at(far, dest))
    wait_for((dest / ".reconcile" / "doctor").is_dir, "it to begin", 60)
    process.send_signal(signal.SIGINT)
    ran = end(process)
    assert ran.code == 130
    assert "nothing was done" in ran.err
    assert os.listdir(dest) == []
