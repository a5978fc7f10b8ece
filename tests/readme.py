"""What README.md shows of our own output: made by running it, never typed. ``python -m tests.readme``.

A block stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``. Ports, folders and durations
are replaced by what a reader would have.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from reconcile.commands import NAMES, find_command
from reconcile.serve.server import Server
from tests import doctors
from tests.benchmarks.table import seconds

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "tests" / "benchmarks" / "results.json"  # what was measured last, and kept
PEERS = "rsync", "rclone", "lftp", "s5cmd"
COLUMNS = {  # tools by what stands above them; a work that the second of them does not do is not shown
    "reconcile": ("reconcile",),
    "rsync": ("rsync",),
    "rclone, at its best": ("rclone", "rclone, 32"),
    "lftp": ("lftp",),
    "the limit": ("tar | ssh tar", "find -printf"),
}
S3_COLUMNS = {
    "reconcile": ("reconcile",),
    "s5cmd": ("s5cmd",),
    "rclone": ("rclone",),
    "rclone, 32 at a time": ("rclone, 32",),
}
TARGET = "sftp://me@example.org/srv/www"
TYPED = "me@example.org:/srv/www"  # the same, as a person types it
PASSWORD = "example"
MEASURED = {
    "server": "example.org, port 22",
    "agreed on": "key exchange mlkem768x25519-sha256, host key ssh-ed25519, cipher aes128-gcm@openssh.com",
    "round trip": "24 ms (23 ms to 31 ms)",
    "sends": "11.3 MB/s (11.5 MB in 1.0 s, one file)",
    "fetches": "11.6 MB/s (11.5 MB in 0.99 s, one file)",
}

_BLOCK = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def make_blocks() -> dict[str, str]:
    """Every block by its name."""
    results = json.loads(RESULTS.read_text())
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(_make(folder, "served"), password=PASSWORD) as server,
    ):
        return {
            **_run_session(Path(folder), server),
            "run_options": _list_options("run"),
            "other_options": _list_options(
                *(name for name in NAMES if name not in ("run", "demo")), but="run"
            ),
            "servers": doctors.table(json.loads(doctors.KEPT.read_text())),
            "speed": _compare(results, COLUMNS),
            "speed_s3": _compare(results, S3_COLUMNS),
        }


def insert(text: str, blocks: dict[str, str]) -> str:
    """``text`` with its blocks replaced. KeyError for a name that is not made here."""
    return _BLOCK.sub(lambda match: f"{match[1]}{blocks[match[2]]}{match[3]}", text)


def names(text: str) -> list[str]:
    """The blocks that ``text`` has."""
    return [match[2] for match in _BLOCK.finditer(text)]


def _run_session(folder: Path, server: Server) -> dict[str, str]:
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {' '.join(server.host_key)}\n")
    target = f"sftp://me@127.0.0.1:{server.port}/srv/www"
    reaching = f"--known-hosts {folder}/known_hosts --password-env PASSWORD --ssh-config none"
    hidden = f"--state state {reaching}"
    environment = {**os.environ, "PASSWORD": PASSWORD, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}

    def call(line: str) -> str:
        typed = shlex.split(line.replace("DEST", target))
        unseen = reaching if typed[1] == "doctor" else hidden
        command = [sys.executable, "-m", *typed, *shlex.split(unseen)]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 3), done.stderr
        said = done.stdout.replace(f" {hidden}", "").replace(f" site {target}", f" site {TYPED}")
        said = re.sub(r" in \d+\.\d s", " in 0.1 s", said.replace(target, TARGET))
        return said.replace(str(folder.resolve()), "/home/me")

    def show(*lines: str) -> str:
        said = "".join(f"$ {line.replace('DEST', TYPED)}\n{call(line)}" for line in lines)
        return f"```text\n{said}```\n"

    site = Path(_make(str(folder), "site"))
    _write_site(site)
    first = show("reconcile plan site DEST", "reconcile run site DEST", "reconcile run site DEST")
    (site / "photos" / "2023").rename(site / "archive")
    (site / "index.html").write_text("<h1>Hello again</h1>\n")
    (site / "draft.html").unlink()
    plan = json.loads(call("reconcile plan site DEST --mirror --json"))
    plan["actions"] = [action for action in plan["actions"] if action["op"] == "move"]
    document = json.dumps(plan, indent=2)
    flat = re.sub(
        r"\{\n\s+([^{}]*?)\s+\}", lambda match: "{" + re.sub(r"\n\s+", " ", match[1]) + "}", document
    )
    second = show("reconcile plan site DEST --mirror", "reconcile run site DEST --mirror")
    _spoil(folder / "served" / "srv" / "www")
    return {
        "first": first,
        "doctor": _as_measured(show("reconcile doctor DEST")),
        "second": second,
        "verify": show("reconcile verify site DEST"),
        "json": f"```json\n{flat}\n```\n",
    }


def _as_measured(said: str) -> str:
    """What another machine would measure, and never twice the same."""
    for name, words in MEASURED.items():
        said = re.sub(rf"( {name}  +).*", rf"\g<1>{words}", said)
    return said


def _spoil(there: Path) -> None:
    """What others may do to DEST."""
    (there / "archive" / "07.jpg").unlink()
    (there / "index.html").chmod(0o600)
    (there / "notes.txt").write_text("by somebody else\n")


def _write_site(site: Path) -> None:
    (site / "photos" / "2023").mkdir(parents=True)
    (site / "index.html").write_text("<h1>Hello</h1>\n")
    (site / "draft.html").write_text("not yet\n")
    for number in range(1, 61):
        (site / "photos" / "2023" / f"{number:02}.jpg").write_bytes(bytes([number]) * 100_000)


def _compare(results: dict[str, Any], columns: Mapping[str, Sequence[str]]) -> str:
    """A table of who took how long. A star: measured on shares of the work, and scaled."""
    first = [*columns][1]
    rows = [
        [work["work"].removeprefix("S3, "), *(_best(work["timings"], tools) for tools in columns.values())]
        for work in results["works"]
        if first in work["timings"] and not work["points"]  # which the plot shows
    ]
    machine = results["machine"]
    tools = {name.partition(",")[0] for names in columns.values() for name in names}
    versions = ", ".join(f"{tool} {machine[tool]}" for tool in PEERS if tool in tools and tool in machine)
    lines = [["", *columns], ["---"] * (len(columns) + 1), *rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    days = " and ".join(date[:10] for date in machine["date"].split(" and "))
    where = f"{machine['cores']} cores ({machine['processor']}), {machine['kernel']}, {days}"
    return f"{table}\nMedians of {machine['runs']} runs in turns; {versions}; {where}.\n"


def _best(timings: dict[str, Any], tools: Sequence[str]) -> str:
    taken = [timings[tool] for tool in tools if tool in timings]
    if not taken:
        return ""
    best = min(taken, key=lambda timing: timing["median_s"])
    mark = "\\*" if best["scaled"] else ""
    return f"{seconds(best['median_s'])}{mark}"


def _list_options(*names: str, but: str | None = None) -> str:
    """A table of the options of one command, or of several, those of command ``but`` left out."""
    shared = {option.name for option in _options(but)} if but else set()
    rows = [
        (f"{name} {_spell(option)}" if but else _spell(option), option.help or "")
        for name in names
        for option in _options(name)
        if name == "serve" or option.name not in shared
    ]
    return "| option | |\n|---|---|\n" + "".join(f"| `{spelled}` | {words} |\n" for spelled, words in rows)


def _options(name: str) -> Iterator[click.Option]:
    for parameter in find_command(name).params:
        if isinstance(parameter, click.Option):
            yield parameter


def _spell(option: click.Option) -> str:
    """As it is typed, with what it takes. A bar would end the cell of a table."""
    if option.is_flag:
        return ", ".join([*option.opts, *option.secondary_opts])
    values = "|".join(option.type.choices) if isinstance(option.type, click.Choice) else option.metavar or "N"
    return f"{', '.join(option.opts)} {values}".replace("|", "\\|")


def _make(folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    os.mkdir(path)
    return path


if __name__ == "__main__":
    README.write_text(insert(README.read_text(), make_blocks()))
