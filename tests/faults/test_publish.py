"""A site is deployed, and the run is killed at one request: whoever reads DEST then misses nothing.

That is what is there after each request; and the next run brings it to its end. ``make test`` takes a few
requests, ``make torture`` each.
"""

from __future__ import annotations

import http.client
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from reconcile.core.marks import is_mark
from tests.faults.conftest import TORTURE
from tests.faults.failures import Failures
from tests.faults.runner import Runner
from tests.faults.scenario import copy
from tests.faults.test_every_request import PARTS, spread
from tests.support.command import Ran
from tests.support.faults import Fault
from tests.support.sshd import Sshd, start_sshd
from tests.support.trees import assert_same_tree
from tests.support.website import missed, named, versions, write_site

SAMPLE = 3
DEPLOYS = 20 if TORTURE else 2
MIRROR = ("--mirror", "--allow-mass-delete")


class Deployed:
    """A site on a server, in its first version, and the second one here."""

    def __init__(self, folder: Path, sshd: Sshd, runner: Runner) -> None:
        self.sshd, self.runner = sshd, runner
        self.source, self.dest, self.state = (folder / name for name in ("source", "dest", "state"))
        self.saved = folder / "saved"
        self.saved.mkdir()
        self.source.mkdir()
        write_site(self.source, 1)
        self.run()
        for path in (self.dest, self.state):
            copy(path, self.saved / path.name)
        write_site(self.source, 2)

    def restore(self) -> None:
        """The server and the state as they were before the second version."""
        for path in (self.dest, self.state):
            shutil.rmtree(path)
            copy(self.saved / path.name, path)
        self.sshd.arm()

    def run(self, *flags: str) -> Ran:
        """Deploy."""
        job = [str(self.source), self.sshd.url(self.dest), "--state", str(self.state)]
        return self.runner.run("run", *job, *self.sshd.endpoint.flags(), "--json", *flags)

    def count_requests(self, *flags: str) -> int:
        """That a deploy takes which goes well."""
        self.restore()
        self.sshd.requests()
        ran = self.run(*flags)
        assert ran.code == 0, ran.out + ran.err
        return self.sshd.requests().total


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, runner: Runner) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "sshd").mkdir()
    with start_sshd(folder / "sshd", with_shim=True) as sshd:
        yield Deployed(folder, sshd, runner)


END = ("--publish", "end")
TRASH = ("--trash", "30d")


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(
    "flags",
    [(), MIRROR, (*END, *MIRROR), (*MIRROR, *TRASH), (*END, *MIRROR, *TRASH)],
    ids=["kept", "mirrored", "at the end", "with a trash", "with a trash at the end"],
)
def test_a_reader_misses_nothing_after_any_request(
    deployed: Deployed, tally: Counter[str], flags: tuple[str, ...], part: int
) -> None:
    count = deployed.count_requests(*flags)
    failures = Failures(tally)

    def attempt() -> None:
        deployed.restore()
        deployed.sshd.arm(Fault("kill", at, pid_file=str(deployed.runner.pid_file)))
        deployed.run(*flags)
        assert not missed(deployed.dest)
        tally["kill points of a deploy"] += 1
        deployed.sshd.arm()
        ran = deployed.run(*flags)
        assert ran.code == 0, ran.out + ran.err
        assert not missed(deployed.dest)
        assert versions(deployed.dest) == {"2"}
        if flags:
            assert_same_tree(deployed.source, deployed.dest)
        if TRASH[0] in flags:
            old = {
                path.name: path.read_bytes()
                for path in deployed.dest.rglob("trash/old/**/*")
                if path.is_file()
            }
            before = deployed.saved / "dest"
            for path in ("css/style-1.css", "js/app.js", "page/about.html", "index.html"):
                assert old[path.rpartition("/")[2]] == (before / path).read_bytes()
        again = deployed.run(*flags)
        assert (again.code, again.counts) == (0, {})
        names = {path.name for path in deployed.dest.glob(".reconcile/*/*")}
        told = {
            name.rpartition(".")[0] for name in names if ".old-" in name
        }  # runs with something in the trash
        assert all(is_mark(name) or name in told or name.rpartition(".")[0] in told for name in names)

    for at in spread(count, SAMPLE, part):
        failures.attempt(f"kill {at}", attempt)
    failures.demand_none()


def test_nothing_is_published_before_all_is_there_and_nothing_is_sent_twice(deployed: Deployed) -> None:
    deployed.restore()
    deployed.sshd.arm(Fault("full", 5, kind="WRITE"))
    ran = deployed.run(*END, *MIRROR)
    assert ran.code == 3, ran.out + ran.err
    assert versions(deployed.dest) == {"1"}
    assert "nothing published" in ran.document["problems"][0]["message"]
    deployed.sshd.arm()
    ran = deployed.run(*END, *MIRROR)
    assert ran.code == 0, ran.out + ran.err
    assert_same_tree(deployed.source, deployed.dest)


def test_what_was_let_go_is_brought_to_its_end_before_anything_new_is_sent(deployed: Deployed) -> None:
    """Whatever is here by then."""
    deployed.restore()
    pid_file = str(deployed.runner.pid_file)
    deployed.sshd.arm(
        Fault("kill", 2, kind="posix-rename@openssh.com", path="staging", when="after", pid_file=pid_file)
    )
    deployed.run(*END, *MIRROR)
    assert not deployed.sshd.armed
    assert not missed(deployed.dest)
    copy(deployed.source, deployed.saved / "second")
    write_site(deployed.source, 3)
    deployed.sshd.arm(Fault("kill", 1, kind="WRITE", pid_file=pid_file))
    deployed.run(*END, *MIRROR)
    assert not deployed.sshd.armed
    deployed.sshd.arm()
    assert not missed(deployed.dest)
    assert_same_tree(deployed.saved / "second", deployed.dest)
    ran = deployed.run(*END, *MIRROR)
    assert ran.code == 0, ran.out + ran.err
    assert_same_tree(deployed.source, deployed.dest)
    shutil.rmtree(deployed.source)
    (deployed.saved / "second").rename(deployed.source)


def test_a_new_folder_is_published_in_one_request_and_what_has_come_of_it_is_not_sent_again(
    deployed: Deployed, tmp_path: Path
) -> None:
    """However many files are in it, if there is no folder in it."""
    copy(deployed.source, tmp_path / "kept")
    inner = [deployed.source / name for name in ("fresh", "fresh/one", "fresh/other")]
    for folder in inner:
        folder.mkdir()
        for n in range(30):
            (folder / f"{n}.js").write_text(f"{n} in {folder.name}")
    (deployed.source / "fresh/index.html").write_text("comes last, one by one")
    inner[1].chmod(0o750)
    deployed.restore()
    deployed.sshd.requests()
    ran = deployed.run(*END, *MIRROR)
    assert ran.code == 0, ran.out + ran.err
    counts = deployed.sshd.requests().requests
    assert counts["RENAME"] + counts["posix-rename@openssh.com"] < 60, "each of 90 files takes one"
    assert_same_tree(deployed.source, deployed.dest)
    deployed.restore()
    deployed.sshd.arm(Fault("full", 60, kind="WRITE"))
    assert deployed.run(*END, *MIRROR).code == 3
    assert not (deployed.dest / "fresh").exists()
    deployed.sshd.arm()
    deployed.sshd.requests()
    ran = deployed.run(*END, *MIRROR)
    assert ran.code == 0, ran.out + ran.err
    assert deployed.sshd.requests().requests["WRITE"] < 70, "what had come was sent again"
    assert_same_tree(deployed.source, deployed.dest)
    shutil.rmtree(deployed.source)
    copy(tmp_path / "kept", deployed.source)


class Served(SimpleHTTPRequestHandler):
    """A folder, over HTTP, without a word on stderr."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


class Reader:
    """Looks at one page after the other, and at all that each names, until it is told to end."""

    def __init__(self, port: int) -> None:
        self.line = http.client.HTTPConnection("127.0.0.1", port)
        self.seen: Counter[str] = Counter()  # pages, by version
        self.missed: list[str] = []
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.read)

    def read(self) -> None:
        while not self.done.is_set():
            for path in ("index.html", "page/about.html"):
                self.look(path)

    def look(self, path: str) -> None:
        page = self.get(path)
        if page is None:
            self.missed.append(f"{path} is gone")
            return
        self.seen[page[:20]] += 1
        absent = [name for name in named(page) if self.get(name) is None]
        # What goes while we look at a page that has changed by now was not missed by who loads it now.
        if absent and self.get(path) == page:
            self.missed.append(f"{path} names {absent}: {page[:20]}")

    def get(self, path: str) -> str | None:
        self.line.request("GET", f"/{quote(path)}")
        answer = self.line.getresponse()
        content = answer.read().decode(errors="replace")
        return content if answer.status == 200 else None


@pytest.mark.parametrize("publish", ["each", "end"])
def test_who_reads_while_it_is_deployed_misses_nothing(deployed: Deployed, publish: str) -> None:
    deployed.restore()
    copy(deployed.source, deployed.saved / "kept")
    handler = partial(Served, directory=str(deployed.dest))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        reader = Reader(server.server_address[1])
        reader.thread.start()
        try:
            for version in range(2, DEPLOYS + 2):
                if version > 2:
                    write_site(deployed.source, version)
                ran = deployed.run("--publish", publish, *MIRROR)
                assert ran.code == 0, ran.out + ran.err
        finally:
            reader.done.set()
            reader.thread.join()
            server.shutdown()
            reader.line.close()
    assert not reader.missed, reader.missed[:5]
    assert reader.seen
    assert_same_tree(deployed.source, deployed.dest)
    shutil.rmtree(deployed.source)
    (deployed.saved / "kept").rename(deployed.source)
