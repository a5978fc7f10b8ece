"""What people see, as pictures: ``python -m tests.screens FOLDER`` makes them all, by running it.

On terminals of 80 and of 160 columns, with colours and without: to be looked at whenever one of them changes.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct

from reconcile.serve.server import Server
from tests.faults.test_disk_full import Disk, FilesOnFullDisk
from tests.support.screen import Screen, watch

ROOT = Path(__file__).parents[1]
WIDTHS = (80, 160)
PASSWORD = "example"


class Scene(Struct, frozen=True):
    """One thing to be seen: what is typed in a folder with ``site`` and ``server``, once that is prepared."""

    typed: Sequence[str]
    prepare: Callable[[Path], None]
    until: Callable[[Screen], bool] = lambda _: False
    on_full_disk: bool = False  # a server that is asked for in the place of a folder


def first(folder: Path) -> None:
    """A site that was never sent."""
    for number in range(1, 61):
        _write(folder / "site" / "photos" / "2023" / f"{number:02}.jpg", 100_000)
    _write(folder / "site" / "index.html", 12_345)
    _write(folder / "site" / "docs" / "letter to the whole of the neighbourhood, third version.txt", 4_321)
    (folder / "site" / "current").symlink_to("docs")


def unchanged(folder: Path) -> None:
    """One that was sent."""
    first(folder)
    _call(folder, "run", *MIRROR)


def sent(folder: Path) -> None:
    """One that was sent, and then edited in all ways."""
    first(folder)
    for number in range(12):
        _write(folder / "site" / "old" / f"{number}.txt", 1000 * number)
    _call(folder, "run", "site", "./server", "--mirror", "-q")
    site = folder / "site"
    (site / "photos" / "2023").rename(site / "archive")
    for path in list((site / "old").iterdir())[:5]:
        path.unlink()
    _write(site / "index.html", 23_456)
    _write(site / "video.mp4", 5_000_000)
    (site / "current").unlink()
    (site / "current").symlink_to("archive")
    (site / "docs").chmod(0o700)
    for number in range(60):
        _write(site / "日本語" / f"{number}.html", 2_000 + number)


def gone(folder: Path) -> None:
    """One of which most is gone."""
    sent(folder)
    _call(folder, "run", "site", "./server", "--mirror", "-q")
    shutil.rmtree(folder / "site" / "archive")


def drifted(folder: Path) -> None:
    """Others have been on the server."""
    sent(folder)
    _call(folder, "run", "site", "./server", "--mirror", "-q")
    server = folder / "server"
    (server / "index.html").write_text("somebody else's")
    (server / "archive" / "07.jpg").unlink()
    (server / "video.mp4").chmod(0o600)
    (server / "theirs").mkdir()
    (server / "theirs" / "x").touch()


def stale(folder: Path) -> None:
    """A plan was saved, and then the world went on."""
    sent(folder)
    _call(folder, "plan", "site", "./server", "--mirror", "--out", "friday.plan", "-q")
    _write(folder / "site" / "index.html", 99)
    (folder / "site" / "video.mp4").unlink()


def several_runs(folder: Path) -> None:
    """Some runs, of which one failed."""
    drifted(folder)
    for size in (100, 200):
        _write(folder / "site" / "index.html", size)
        _call(folder, "run", "site", "./server", "--mirror", "-q")
    _call(folder, "run", "site", "./server", "--mirror", "-q", "--max-delete", "0")


def large(folder: Path) -> None:
    """A few large files."""
    for name in ("holiday-2025-in-the-mountains-of-the-north.mp4", "concert.mkv", "talk.webm"):
        _write(folder / "site" / name, 30_000_000)


MIRROR = ("site", "./server", "--mirror")
SCENES: dict[str, Scene] = {
    "plan-first": Scene(("plan", "site", "./server"), first),
    "plan": Scene(("plan", *MIRROR), sent),
    "plan-saved": Scene(("plan", *MIRROR, "--out", "friday.plan"), sent),
    "run": Scene(("run", *MIRROR), sent),
    "run-verbose": Scene(("run", *MIRROR, "-v"), sent),
    "nothing": Scene(("run", *MIRROR), unchanged),
    "progress": Scene(
        ("run", *MIRROR, "--limit-rate", "20M"), large, lambda screen: "1/3 files" in "".join(screen.lines)
    ),
    "refused": Scene(("run", *MIRROR, "--max-delete", "10"), gone),
    "refused-plan": Scene(("run", "--plan", "friday.plan"), stale),
    "drift": Scene(("verify", *MIRROR), drifted),
    "drift-run": Scene(("run", *MIRROR, "--refresh"), drifted),
    "disk-full": Scene(("run", "site", "DEST"), first, on_full_disk=True),
    "history": Scene(("history", *MIRROR[:2]), several_runs),
    "status": Scene(("status", *MIRROR[:2]), several_runs),
    "unreachable": Scene(("run", "site", "127.0.0.1:site", "--port", "9", "--retries", "0"), first),
    "help": Scene(("run", "--help"), lambda _: None),
}


def make(name: str, width: int, *, colours: bool = True) -> Screen:
    """One scene on a terminal."""
    scene = SCENES[name]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="screens-")))
        (folder / "site").mkdir()
        scene.prepare(folder)
        typed = [*scene.typed]
        if scene.on_full_disk:
            place, *flags = _reach_full_disk(folder, stack)
            typed = [*(place if word == "DEST" else word for word in typed), *flags]
        screen, _ = watch(_command(*typed), width, _environment(folder, colours), str(folder), scene.until)
    return screen


def _reach_full_disk(folder: Path, stack: ExitStack) -> list[str]:
    """A server with room for some of it: DEST, and the flags to get there."""
    (folder / "served").mkdir()
    server = Server(folder / "served", user="me", password=PASSWORD, interface=FilesOnFullDisk)
    stack.enter_context(server)
    Disk.taken, Disk.room = 0, 1_234_567
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{server.port} {' '.join(server.host_key)}\n")
    flags = ("--known-hosts", str(known_hosts), "--password-env", "SITE_PASSWORD", "--ssh-config", "none")
    return [f"sftp://me@127.0.0.1:{server.port}/www", *flags]


def make_all(into: Path) -> Iterator[Path]:
    """A file for each scene, width and manner."""
    into.mkdir(parents=True, exist_ok=True)
    for name in SCENES:
        for width in WIDTHS:
            for colours in (True, False):
                path = into / f"{name}-{width}{'' if colours else '-plain'}.svg"
                path.write_text(make(name, width, colours=colours).picture(f"reconcile: {name}"))
                yield path


def _write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


def _call(folder: Path, *typed: str) -> None:
    watch(_command(*typed), 80, _environment(folder, colours=False), str(folder))


def _command(*typed: str) -> list[str]:
    return [sys.executable, "-m", "reconcile", *typed]


def _environment(folder: Path, colours: bool) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "CI")}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm-256color",
        "HOME": str(folder / "home"),
        "SITE_PASSWORD": PASSWORD,
        "XDG_STATE_HOME": str(folder / "state"),
        **({} if colours else {"NO_COLOR": "1"}),
    }


if __name__ == "__main__":
    for made in make_all(Path(sys.argv[1])):
        sys.stdout.write(f"{made}\n")
