"""A folder that is watched keeps changing, and the connection is cut at times: DEST is soon as SRC is."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.serve.server import Server
from tests.faults.conftest import TORTURE
from tests.support.processes import wait_for
from tests.support.proxy import Proxy
from tests.support.trees import Node, read_tree
from tests.support.watching import watching

CHANGES, EVERY = (1000, 50) if TORTURE else (60, 25)  # so many of them; a cut with each of these


def change(source: Path, chance: random.Random) -> None:
    """Something that a person may do: write, move or remove a file or a folder, or make one."""
    paths = sorted(path for path in source.rglob("*") if path.name != "stays")
    here = chance.choice([source, *(path for path in paths if path.is_dir())])
    new = here / str(chance.randrange(40))
    old = chance.choice([source, *paths])
    match chance.randrange(5):
        case 0 | 1 if not new.is_dir():
            new.write_text("x" * chance.randrange(5000))
        case 2 if not new.exists() and len(here.parts) < len(source.parts) + 5:
            new.mkdir()
        case 3 if not new.exists() and old not in (source, *new.parents):
            old.rename(new)
        case 4 if old.is_file():
            old.unlink()
        case 4 if old != source:
            shutil.rmtree(old)


def test_a_thousand_changes_and_a_line_that_breaks(
    source: Path, tmp_path: Path, make_proxy: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(16)
    served, log, known_hosts = tmp_path / "served", tmp_path / "log", tmp_path / "known_hosts"
    served.mkdir()
    log.touch()
    (source / "stays").touch()
    monkeypatch.setenv("SITE_PASSWORD", "pw")

    def there() -> dict[str, Node]:
        try:
            found = read_tree(served / "dest")
        except OSError:  # it is being changed
            return {}
        return {path: node for path, node in found.items() if not path.startswith(".reconcile")}

    with Server(served, user="me", password="pw") as server:
        proxy = make_proxy(server.port)
        known_hosts.write_text(f"[127.0.0.1]:{proxy.port} {' '.join(server.host_key)}\n")
        job = (str(source), f"sftp://me@127.0.0.1:{proxy.port}/dest", "--state", str(tmp_path / "state"))
        reaching = ("--known-hosts", str(known_hosts), "--password-env", "SITE_PASSWORD")
        patience = ("--retries", "1", "--retry-max-wait", "0.1", "--settle", "0s", "--every", "1s")
        more = ("--mirror", "--max-delete", "100%", "--after", f"printf . >> {log}")
        with watching(*job, *reaching, *patience, *more):
            wait_for((served / "dest" / "stays").exists, "the first run", 60)
            for number in range(CHANGES):
                change(source, chance)
                if number % EVERY == EVERY - 1:
                    proxy.refuse(on=chance.random() < 0.5)
                    proxy.cut()
            proxy.refuse(on=False)
            wait_for(lambda: there() == read_tree(source), "DEST to be as SRC is", 60)

            seen = [(proxy.counts().connections, len(log.read_text()))]

            def no_connection_any_more() -> bool:
                connections, runs = proxy.counts().connections, len(log.read_text())
                if connections != seen[0][0]:
                    seen[0] = (connections, runs)
                return runs > seen[0][1] + 2

            wait_for(no_connection_any_more, "runs without a connection", 60)
