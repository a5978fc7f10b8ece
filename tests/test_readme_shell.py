"""Every shell block of the README, literally, in a home of its own, where all hosts lead to a small server.

What can't be typed here is named below, with where it is tried instead.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconcile.cli import main
from reconcile.core.errors import Exit
from reconcile.serve.server import Server
from tests.readme import README
from tests.schedule.test_schedule import CRONTAB, pretend
from tests.support.processes import wait_for
from tests.support.sshd import make_key
from tests.support.trees import build_tree
from tests.support.watching import watching

TEXT = README.read_text()
ELSEWHERE = {
    r"reconcile \w+ +SRC DEST": "stands for the others",
    r"reconcile doctor ": "test_readme, test_doctor",
    r"reconcile (snapshot|forget) ": "test_snapshot",
    r"reconcile move ": "test_move",
    r"reconcile undo ": "test_undo",
    r"reconcile trash \w+ photos RUN": "test_trash",
    r"eval |.*\| source": "test_cli: by these shells",
    r"reconcile run site s3://": "remotes/s3",
    r"reconcile run .* --publish release": "test_release: it takes a server with hard links",
    r"15 3 \* \* \* ": "schedule: by cron's own rules",
    r"pipx? |make |ssh": "the machine's, and not ours",
}
COMMAND = re.compile("|".join([*ELSEWHERE, "reconcile "]))
OTHERS = ("[", "/srv/www/current", "scan ", "reconcile/")  # what else is indented: a file, places, drawings
CODES = {"reconcile status --max-age": Exit.PROBLEMS}  # they never ran
PORTS = (":2222", ":8022", ":23")

Type = Callable[[str], None]


def paragraphs() -> list[str]:
    """All that is indented, without what is between fences."""
    text = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    found = re.findall(r"^\n((?:    .*\n)+)", text, flags=re.MULTILINE)
    return [re.sub("^    ", "", each, flags=re.MULTILINE) for each in found]


SHELL = [each for each in paragraphs() if COMMAND.match(each)]


def test_what_is_indented_is_known() -> None:
    assert [each for each in paragraphs() if each not in SHELL and not each.startswith(OTHERS)] == []
    for each in SHELL:
        assert [line for line in each.splitlines() if not COMMAND.match(line)] == []
    for pattern in ELSEWHERE:
        assert any(re.match(pattern, line) for each in SHELL for line in each.splitlines()), pattern


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "served").mkdir()
    make_key(folder / "key")
    with Server(folder / "served", password="pw", authorized_keys=folder / "key.pub") as server:
        yield server


@pytest.fixture
def type_in(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Type]:
    """Types a line, in a home that has all that the README takes for granted."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    for child in Path(server.root).iterdir():
        shutil.rmtree(child)
    for name in ("photos", "music", "site", "public", "build"):
        build_tree(home, {name: {"a": name, "b": {"c": "c"}}})
    config = f"Host *\n HostName 127.0.0.1\n Port {server.port}\n IdentityFile {server.root}/../key\n"
    (home / ".ssh" / "config").write_text(config)
    known = f"[127.0.0.1]:{server.port} {' '.join(server.host_key)}\n"
    (home / ".ssh" / "known_hosts").write_text(known)
    tables = [each for each in paragraphs() if each.startswith("[")]
    lines = "\n".join(tables).replace("/mnt/usb", str(tmp_path / "usb"))
    (home / "reconcile.toml").write_text(lines)
    (home / "reconcile.toml").chmod(0o600)
    pretend(tmp_path / "bin", "crontab", CRONTAB)
    pretend(tmp_path / "bin", "systemctl", "exit 1")
    pretend(tmp_path / "bin", "pg_dump", "echo all")
    for name, value in (("HOME", home), ("PWD", home), ("PHONE", "pw")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)
    monkeypatch.chdir(home)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def type_in(line: str) -> None:
        for port in PORTS:
            line = line.replace(port, "")
        line = line.replace("/mnt/usb", str(tmp_path / "usb")).replace(" ~/", f" {home}/")
        _, *args = shlex.split(line, comments=True)
        if args[0] == "watch":
            with watching(*args[1:], "--settle", "0s"):
                wait_for(lambda: any(tmp_path.rglob("snapshot")), "the first run", 60)
        else:
            code = main(args)
            assert code == next((CODES[each] for each in CODES if line.startswith(each)), Exit.OK), (
                capfd.readouterr()
            )

    yield type_in
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("block", SHELL, ids=lambda block: "-".join(re.findall(r"[a-z]+", block)[:4]))
def test_it_can_be_typed(block: str, type_in: Type, server: Server, tmp_path: Path) -> None:
    for line in block.splitlines():
        if not any(re.match(each, line) for each in ELSEWHERE):
            type_in(line)
