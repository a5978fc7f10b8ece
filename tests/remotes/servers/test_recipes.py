"""What the README says to type for some servers, typed: each against one that does as that one does."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from msgspec import Struct

from reconcile.remotes import parse_target
from reconcile.remotes.ssh.target import SshTarget
from tests.readme import README
from tests.support.quirky import Quirk, start_quirky
from tests.support.servers import Missing, start_server
from tests.support.trees import Link, Tree, assert_same_tree, build_tree

ANDROID = (Quirk.SYMLINK_DENIED, Quirk.FORBIDS_SIGNS, Quirk.CASELESS, Quirk.MODES_LOST)
PLACES = ("storage/emulated/0", "photo")  # that such servers have
TREE: Tree = {"2024": {"one.jpg": "1" * 50_000, "two.jpg": "2"}, "2025": {"list.txt": "none yet"}}


class Double(Struct):
    """A server that runs, and is taken for the one in the recipe."""

    port: int
    served: Path
    flags: tuple[str, ...]


def quirky(*quirks: Quirk) -> Callable[[Path], AbstractContextManager[Double]]:
    @contextmanager
    def start(folder: Path) -> Iterator[Double]:
        served = folder / "served"
        for place in PLACES:
            (served / place).mkdir(parents=True)
        build_tree(served, {"storage": {"shared": Link("emulated/0")}})
        with start_quirky(served, *quirks) as server:
            server._door._user = None  # who is called as in the recipe
            yield Double(server.port, served, ("--password-env", "PHONE"))

    return start


@contextmanager
def jail(folder: Path) -> Iterator[Double]:
    try:
        with start_server("openssh, chroot", folder) as server:
            yield Double(
                server.endpoint.port, server.folder.parent, ("--identity", str(server.endpoint.identity))
            )
    except Missing as missing:
        pytest.skip(str(missing))


DOUBLES: Mapping[str, Callable[[Path], AbstractContextManager[Double]]] = {
    "Android, prim-ftpd": quirky(Quirk.ANNOUNCES_NOTHING, *ANDROID),
    "Android, Termux": quirky(Quirk.CLAIMS_OPENSSH, *ANDROID),
    "Synology": quirky(Quirk.CLAIMS_OPENSSH, Quirk.SHORT_NAMES),
    "Hetzner Storage Box": jail,
}


def lines_of(name: str) -> list[str]:
    """What to type."""
    recipe = README.read_text().partition(f"\n**{name}.** ")[2]
    return re.findall(r"^    (reconcile .*)$", re.split(r"\n\*\*|\n## ", recipe)[0], re.MULTILINE)


def test_every_recipe_is_run() -> None:
    section = README.read_text().partition("\n## Keys, and some servers\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\*\*(.*?)\.\*\*", section, re.MULTILINE) == [*DOUBLES]


def fingerprint_at(port: int) -> str:
    """As the server's owner reads it from its console."""
    scan = ["ssh-keyscan", "-t", "ed25519", "-p", str(port), "127.0.0.1"]
    shown = subprocess.run(scan, capture_output=True, check=True).stdout
    told = subprocess.run(["ssh-keygen", "-lf", "-"], input=shown, capture_output=True, check=True).stdout
    return told.decode().split()[1]


@pytest.mark.parametrize("name", DOUBLES)
def test_a_recipe(name: str, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHONE", "pw")
    build_tree(source, TREE)
    known_hosts = tmp_path / "known_hosts"
    also = ["--known-hosts", str(known_hosts), "--ssh-config", "none"]

    def call(*words: str) -> str:
        command = [sys.executable, "-m", "reconcile", *words, *also]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    (tmp_path / "double").mkdir()
    with DOUBLES[name](tmp_path / "double") as double:
        trusting, running = map(shlex.split, lines_of(name))
        assert trusting[:2] == ["reconcile", "trust"]
        call("trust", f"127.0.0.1:{double.port}", "--yes-if", fingerprint_at(double.port))

        command, src, dest, *options = running[1:]
        assert (command, src.startswith("~/")) == ("run", True)
        target = parse_target(dest)
        assert isinstance(target, SshTarget)
        assert trusting[2] in (target.host, f"{target.host}:{target.port}")
        user = f"{target.user}@" if "--password-env" in double.flags else ""
        url = f"sftp://{user}127.0.0.1:{double.port}/{target.path.lstrip('/')}"
        login = [] if "--password-env" in options else list(double.flags)
        state = ["--state", str(tmp_path / "state")]
        said = call(command, str(source), url, *options, *login, *state)
        assert "5 created" in said
        there = double.served / target.path.removeprefix("~").lstrip("/")
        assert_same_tree(source, there, modes=not name.startswith("Android"))
        assert "no connection" in call(command, str(source), url, *options, *login, *state)
