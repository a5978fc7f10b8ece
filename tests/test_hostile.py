"""What a world that means no good does to a job: each case ends with a clear message and harms nobody.

Every case runs twice, for a person and with ``--json``. `Case.ends` demands for
both: the exit code, no traceback, a valid document, and a message that names a
way out. What must not change is compared before and after.
"""

from __future__ import annotations

import errno
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import paramiko
import pytest
from msgspec import Struct
from msgspec.structs import replace

from reconcile.cli import main
from reconcile.commands import find_command
from reconcile.config import Flags, make_job
from reconcile.core.errors import Exit, ReconcileError
from reconcile.core.job import Job, Reporter, Result
from reconcile.core.model import Reason
from reconcile.pipeline import run
from reconcile.remotes import Memory, Remote, open_remote
from reconcile.serve.files import Attributes, File, Files
from reconcile.serve.server import Server
from tests.remotes.conformance import Heard
from tests.support.command import Ran, Reconcile
from tests.support.mounts import in_memory, mounted
from tests.support.sshd import Sshd, make_key
from tests.support.trees import Fifo, Link, Tree, assert_same_tree, build_tree, read_tree
from tests.support.trees import File as Plain

OLD = 1_000_000_000
PASSWORD = "correct horse"
STATUSES = {
    0: "ok",
    1: "error",
    2: "error",
    3: "problems",
    4: "refused",
    5: "locked",
    6: "unreachable",
}
COUNTED = {"create", "modify", "move", "delete", "mkdir", "setmeta"}

Cli = Callable[..., Ran]
MakeTree = Callable[[Tree], Path]


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The command line takes some over, which a process of its own may do."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """The command line in this process: some of these cases are many."""

    def call(*args: str) -> Ran:
        capfd.readouterr()
        code = main(args)
        sys.stdout.flush()
        return Ran(int(code), *capfd.readouterr())

    return call


class Case(Struct, frozen=True):
    """One job and the folder in which its DEST is."""

    cli: Cli
    source: Path
    served: Path  # what is in the server's reach: DEST and what lies around it
    target: str
    state: Path
    flags: tuple[str, ...]

    @property
    def dest(self) -> Path:
        return self.served / "dest"

    def __call__(self, command: str, *args: str) -> Ran:
        return self.cli(
            command, str(self.source), self.target, "--state", str(self.state), *self.flags, *args
        )

    def ends(self, code: int, *words: str, args: tuple[str, ...] = (), command: str = "run") -> Ran:
        """Run it for a person and for a machine. Both must end with ``code`` and say all of ``words``."""
        spoken = self(command, *args)
        return judged(spoken, self(command, *args, "--json"), code, *words)

    def harmless(self, code: int, *words: str, args: tuple[str, ...] = (), command: str = "run") -> Ran:
        """The same, and neither side has changed at all."""
        before = read_tree(self.source), read_tree(self.served)
        ran = self.ends(code, *words, args=args, command=command)
        assert (read_tree(self.source), read_tree(self.served)) == before
        return ran

    def works(self, *args: str) -> Ran:
        """The way out: it goes well and both sides are equal."""
        ran = self("run", *args, "--json")
        assert ran.code == 0, ran.out + ran.err
        assert_same_tree(self.source, self.dest)
        return ran

    def job(self) -> Job:
        """The same for ``run`` called from Python."""
        known, identity = (self._flag(name) for name in ("--known-hosts", "--identity"))
        variable = self._flag("--password-env")
        flags = Flags(str(self.source), self.target, state=str(self.state), mirror=True)
        reaching = {"known_hosts": known, "identity": identity, "password_env": variable}
        return make_job(replace(flags, reaching=reaching))

    def _flag(self, name: str) -> str | None:
        return self.flags[self.flags.index(name) + 1] if name in self.flags else None


def judged(spoken: Ran, counted: Ran, code: int, *words: str) -> Ran:
    """Demand of both what everybody may demand."""
    said = spoken.err
    assert (spoken.code, counted.code) == (code, code), spoken.err + counted.out
    assert "Traceback" not in spoken.out + spoken.err + counted.out + counted.err
    assert "bug in reconcile" not in said
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", spoken.out + said), "control codes"
    assert counted.err == "", "with --json all is in the document"
    body = counted.document
    assert {"version", "source", "target", "bytes_to_send", "bytes_avoided", "actions"} <= body.keys()
    assert body["status"] == STATUSES[code]
    assert set(body["counts"]) == set(body["entries"]) == COUNTED
    for problem in body["problems"]:
        assert {"path", "stage", "reason", "message"} <= problem.keys()
        assert problem["message"]
        Reason(problem["reason"])
    if code not in (0, 3):
        assert body["message"]
    if code:
        assert said
    told = body.get("message", "") + "".join(problem["message"] for problem in body["problems"])
    for word in words:
        assert word in said, said
        assert word in told, told
    assert PASSWORD not in spoken.out + said + counted.out
    return counted


@pytest.fixture
def known_hosts(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


@contextmanager
def embedded(
    cli: Cli, tmp_path: Path, known_hosts: Path, source: Path, interface: type[Files] = Files
) -> Iterator[tuple[Case, Server]]:
    """A job to an embedded server of its own, which is trusted."""
    served = tmp_path / "served"
    served.mkdir(exist_ok=True)
    with Server(served, user="me", password=PASSWORD, interface=interface) as server:
        known_hosts.write_text(f"[127.0.0.1]:{server.port} {' '.join(server.host_key)}\n")
        target = f"sftp://me@127.0.0.1:{server.port}/dest"
        flags = ("--known-hosts", str(known_hosts), "--password-env", "SITE_PASSWORD")
        yield Case(cli, source, served, target, tmp_path / "state", flags), server


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_PASSWORD", PASSWORD)


@pytest.fixture
def door(cli: Cli, tmp_path: Path, known_hosts: Path, source: Path) -> Iterator[tuple[Case, Server]]:
    """A job with something to do, and its embedded server."""
    build_tree(source, {"a": "one", "d": {"b": "two"}})
    with embedded(cli, tmp_path, known_hosts, source) as both:
        yield both


@pytest.fixture
def case(cli: Cli, sshd: Sshd, tmp_path: Path, source: Path) -> Case:
    """A job to OpenSSH, which follows links as they come."""
    served = tmp_path / "served"
    served.mkdir()
    flags = tuple(sshd.endpoint.flags())
    return Case(cli, source, served, sshd.url(served / "dest"), tmp_path / "state", flags)


# Who answers there


def another_key(folder: Path) -> str:
    make_key(folder / "another")
    return " ".join((folder / "another.pub").read_text().split()[:2])


@pytest.mark.parametrize("accept", [(), ("--accept-new-host-key",)])
@pytest.mark.parametrize("later", [False, True])
def test_a_wrong_host_key(
    door: tuple[Case, Server], known_hosts: Path, tmp_path: Path, accept: tuple[str, ...], later: bool
) -> None:
    case, server = door
    if later:
        case.works()
        (case.source / "a").write_text("changed")
    good = known_hosts.read_text()
    known_hosts.write_text(f"[127.0.0.1]:{server.port} {another_key(tmp_path)}\n")
    bad = known_hosts.read_text()
    case.harmless(6, "HAS CHANGED", server.host_key_fingerprint, "reconcile trust --replace ", args=accept)
    assert known_hosts.read_text() == bad
    known_hosts.write_text(good)
    case.works()


def test_an_unknown_host(door: tuple[Case, Server], known_hosts: Path) -> None:
    case, server = door
    for content in (None, "", "# nothing\nother.example ssh-ed25519 AAAA\n"):
        known_hosts.unlink(missing_ok=True)
        if content is not None:
            known_hosts.write_text(content)
        case.harmless(
            6,
            "not known",
            server.host_key_fingerprint,
            "--accept-new-host-key",
            "reconcile trust ",
            command="plan",
        )
        assert known_hosts.exists() == (content is not None)
    case.works("--accept-new-host-key")
    (case.source / "a").write_text("changed")
    case.works()


@pytest.mark.parametrize("accept", [(), ("--accept-new-host-key",)])
def test_a_revoked_host_key(door: tuple[Case, Server], known_hosts: Path, accept: tuple[str, ...]) -> None:
    case, server = door
    good = known_hosts.read_text()
    for content in (f"@revoked * {' '.join(server.host_key)}\n", f"{good}@revoked {good}"):
        known_hosts.write_text(content)
        case.harmless(6, "revoked", "administrator", str(known_hosts), args=accept)
        assert known_hosts.read_text() == content


def test_an_authority_vouches_for_nobody(
    door: tuple[Case, Server], known_hosts: Path, tmp_path: Path
) -> None:
    case, server = door
    good = known_hosts.read_text()
    other = another_key(tmp_path)
    known_hosts.write_text(f"@cert-authority * {' '.join(server.host_key)}\n")
    case.harmless(6, "is not known: not connected", "--accept-new-host-key")
    known_hosts.write_text(f"@cert-authority * {other}\n@revoked * {other}\n@nonsense * {other}\n{good}")
    case.works()


def test_a_wrong_password(door: tuple[Case, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    case, _ = door
    monkeypatch.setenv("SITE_PASSWORD", "wrong horse")
    ran = case.harmless(6, "does not let 'me' in", "--password-env")
    assert "wrong horse" not in ran.out
    monkeypatch.setenv("SITE_PASSWORD", PASSWORD)
    case.works()


def test_a_refused_port(door: tuple[Case, Server]) -> None:
    case, server = door
    server.close()
    case.harmless(6, "refused the connection", "--port", args=("--retries", "1"))


# SRC


def remove(path: Path) -> None:
    """Whatever is at ``path``, if anything is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put(path: Path, thing: object) -> None:
    """Replace what is at ``path``."""
    remove(path)
    build_tree(path.parent, {path.name: thing})


def test_a_source_that_is_no_folder(case: Case, tmp_path: Path) -> None:
    content: Tree = {
        "file": "f",
        "pipe": Fifo(),
        "dangling": Link("nowhere"),
        "loop": Link("loop"),
        "full": {"a": "a"},
    }
    build_tree(tmp_path / "odd", content)
    build_tree(case.dest, {"theirs": "t"})
    there = read_tree(case.served)
    for name in ("file", "pipe", "dangling", "loop", "missing", "file/below"):
        what = "is not a directory" if name in ("file", "pipe", "file/below") else "The source"
        for command in ("plan", "run"):
            replace(case, source=tmp_path / "odd" / name).ends(4, what, "Nothing was done", command=command)
    assert read_tree(case.served) == there
    shutil.rmtree(case.dest)
    replace(case, source=tmp_path / "odd/full/").ends(0)


def test_a_source_that_went_away_or_empty_deletes_nothing(case: Case) -> None:
    build_tree(case.source, {"a": "a", "d": {"b": "b"}})
    case.works()
    there = read_tree(case.served)
    aside = case.source.with_name("aside")
    case.source.rename(aside)
    mirror = ("--mirror", "--allow-mass-delete")
    case.ends(4, "does not exist", "mounted", args=mirror)
    case.source.write_text("a file now")
    case.ends(4, "not a directory", args=mirror)
    case.source.unlink()
    case.source.mkdir()
    case.ends(4, "empty", args=("--mirror",))
    assert read_tree(case.served) == there
    case.source.rmdir()
    aside.rename(case.source)
    assert not case.works(*mirror).document["connected"]


@contextmanager
def closed(*folders: Path, mode: int = 0) -> Iterator[None]:
    before = [(folder, folder.stat().st_mode & 0o777) for folder in folders]
    for folder in folders:
        folder.chmod(mode)
    try:
        yield
    finally:
        for folder, was in before:
            folder.chmod(was)


def bound(case: Case, server: Sshd) -> Case:
    """The same in processes of their own, which permissions bind."""
    job = Reconcile(case.source, server.url(case.dest), case.state, server.endpoint.flags(), bound=True)

    def call(command: str, *args: str) -> Ran:
        more = args[args.index("--known-hosts") + 2 :]
        return job(command, *more, json_out=False)

    return replace(case, cli=call)


def test_an_unreadable_folder_in_the_source_is_unknown_and_not_deleted(case: Case, sshd: Sshd) -> None:
    case = bound(case, sshd)
    build_tree(case.source, {"a": "a", "d": {"b": "b", "e": {"c": "c"}}, "f": {"g": "g"}, "h": "h"})
    with closed(case.source / "f", case.source / "h"):
        ran = case.ends(3, "can't be opened: Permission denied", "can't be read: Permission denied")
        assert ran.problems == {"f": "unreadable", "h": "unreadable"}
        assert (case.dest / "d/e/c").exists()
    case.works()
    there = read_tree(case.dest)
    with closed(case.source / "d"):
        ran = case("run", "--mirror", "--allow-mass-delete", "--json")
        assert (ran.code, ran.problems, ran.counts) == (3, {"d": "unreadable"}, {})
        assert read_tree(case.dest) == there
    with closed(case.source):
        case.ends(4, "The source", "can't be opened: Permission denied", "Nothing was done")
    assert read_tree(case.dest) == there


def test_our_own_name_in_the_source(case: Case) -> None:
    build_tree(
        case.source,
        {".reconcile": {"x": "x"}, ".reconcile-1": "y", "a": "a", "d": {".reconcile": "deeper is fine"}},
    )
    ran = case.ends(3, "used by reconcile itself", "rename it or exclude it")
    assert ran.problems == {".reconcile": "reserved", ".reconcile-1": "reserved"}
    assert {path for path in read_tree(case.dest) if not path.startswith(".reconcile")} == {
        "a",
        "d",
        "d/.reconcile",
    }
    assert not any(path.name in ("x", ".reconcile-1") for path in case.dest.rglob("*"))
    assert case("run", "--exclude", "/.reconcile*").code == 0


# DEST


def test_dest_is_not_writable(case: Case, bound_sshd: Sshd) -> None:
    case = replace(case, target=bound_sshd.url(case.dest), flags=tuple(bound_sshd.endpoint.flags()))
    build_tree(case.source, {"a": "a", "d": {"b": "b"}})
    case.dest.mkdir()
    with closed(case.dest, mode=0o555):
        case.harmless(6, "permission denied", "Make DEST writable", "--remote-workdir")
    with closed(case.dest):
        case.harmless(6, "permission denied", "DEST")
    case.dest.rmdir()
    with closed(case.served, mode=0o555):
        case.harmless(6, "permission denied", "Make DEST writable")
    case.works()
    build_tree(case.source, {"d": {"b": "changed", "c": "new"}, "a": "changed"})
    with closed(case.dest / "d", mode=0o555):
        ran = case.ends(3, "permission denied")
        assert ran.problems == {"d/b": "denied", "d/c": "denied"}
        assert (case.dest / "a").read_text() == "changed"
        assert (case.dest / "d/b").read_text() == "b"
    case.works()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give a folder away")
def test_what_can_not_be_removed_is_tried_again(case: Case, bound_sshd: Sshd) -> None:
    case = replace(case, target=bound_sshd.url(case.dest), flags=tuple(bound_sshd.endpoint.flags()))
    build_tree(case.source, {"a": "a", "d": {"sub": {"file": "x"}}})
    case.works()
    os.chown(case.dest / "d/sub", 54321, 54321)
    shutil.rmtree(case.source / "d")
    everything = ("--mirror", "--allow-mass-delete")
    case.ends(3, "could not be removed from the remote; the next run tries again", args=everything)
    assert not (case.dest / "d").exists()
    case.ends(3, "could not be removed", args=everything)  # though it has nothing else to do
    (stuck,) = case.dest.glob(".reconcile/*/*/trash/*/sub")
    os.chown(stuck, 0, 0)
    assert case("run", *everything).code == 0
    assert [path.name for path in case.dest.glob(".reconcile/*/*/*")] == ["id"]  # in our mark
    assert case("run", *everything, "--json").document["connected"] is False


@pytest.mark.parametrize("thing", ["file", Fifo(), Link("file"), Link("dest")], ids=repr)
def test_dest_is_no_folder(case: Case, thing: object) -> None:
    build_tree(case.source, {"a": "a"})
    build_tree(case.served, {"file": "f", "dest": thing})
    case.harmless(4, "directory", "Nothing was done", "DEST")


def test_dest_may_be_a_link_to_what_is_still_to_be_made(case: Case) -> None:
    build_tree(case.source, {"a": "a"})
    build_tree(case.served, {"dest": Link("missing")})
    case.works()
    assert (case.served / "missing/a").read_text() == "a"


def test_a_parent_of_dest_is_a_file(case: Case) -> None:
    build_tree(case.source, {"a": "a"})
    build_tree(case.served, {"dest": "file"})
    for below in ("/in", "/in/side"):
        deeper = replace(case, target=case.target + below)
        deeper.harmless(4, "is not a directory", "Nothing was done", "DEST")


@pytest.mark.parametrize("later", [False, True])
def test_our_folder_is_something_else(case: Case, later: bool) -> None:
    build_tree(case.source, {"a": "a"})
    build_tree(case.served, {"out": {"lineage": "x"}, "dest": {}})
    if later:
        case.works()
        shutil.rmtree(case.dest / ".reconcile")
        (case.source / "a").write_text("changed")
    for thing in ("file", Fifo(), Link("../out"), Link("missing")):
        put(case.dest / ".reconcile", thing)
        case.harmless(4, ".reconcile", "Nothing was done", "--remote-workdir")


def test_links_inside_our_folder_are_not_followed(case: Case) -> None:
    build_tree(case.source, {"a": "a", "b": "b"})
    build_tree(case.served, {"out": {"id": "not ours", "staging": {"x": "x"}, "trash": {"y": "y"}}})
    case.works()
    (lineage,) = (case.dest / ".reconcile").iterdir()
    (lineage / "0123456789ab").symlink_to(case.served / "out")
    build_tree(lineage, {"ba9876543210": {"staging": Link(str(case.served / "out")), "trash": {}}})
    build_tree(lineage, {"ba0000000000": {"parked": Link(str(case.served / "out"))}})
    (case.source / "a").write_text("changed")
    out = read_tree(case.served / "out")
    case.works()
    assert read_tree(case.served / "out") == out
    shutil.rmtree(lineage)
    lineage.symlink_to(case.served / "out")
    (case.source / "a").write_text("changed again")
    before = read_tree(case.served)
    case.ends(4, "Nothing was done")
    assert read_tree(case.served) == before


def test_a_working_folder_elsewhere_is_something_else(case: Case) -> None:
    build_tree(case.source, {"a": "a"})
    build_tree(case.served, {"file": "f", "link": Link("out"), "out": {"theirs": "t"}})
    for name in ("file", "link"):
        place = str(case.served / name)
        case.harmless(4, place, "Nothing was done", "--remote-workdir", args=("--remote-workdir", place))
    case.works("--remote-workdir", str(case.served / "new/work"))


# A parent on the remote that was replaced by a link which leads out


# Steps in and around the folder d, the link. None deletes, a Path is renamed to it, an int is a mode.
CHANGES: dict[str, dict[str, object]] = {
    "create": {"d/new": "new"},
    "modify": {"d/a": "changed"},
    "delete": {"d/a": None},
    "move inside": {"d/z": Path("d/a")},
    "move out of it": {"z": Path("d/a")},
    "move into it": {"d/z": Path("top")},
    "swap": {"tmp": Path("d/a"), "d/a": Path("top"), "top": Path("tmp")},
    "mkdir": {"d/new": {"deep": {}}},
    "link": {"d/new": Link("a")},
    "setmeta": {"d/a": 0o600, "d/b": Plain("bb", mtime=OLD)},
    "setmeta of a folder": {"d/e": 0o700},
    "setmeta of itself": {"d": 0o700},
    "delete a folder": {"d/e": None},
    "delete itself": {"d": None},
    "move itself": {"renamed": Path("d")},
    "move a folder": {"d/renamed": Path("d/e")},
    "folder to file": {"d/e": "file"},
    "file to folder": {"d/a": {"x": "x"}},
    "itself to file": {"d": "file"},
}


def make_changes(src: Path, steps: dict[str, object]) -> None:
    for path, thing in steps.items():
        match thing:
            case None:
                remove(src / path)
            case int():
                (src / path).chmod(thing)
            case Path():
                (src / thing).rename(src / path)
            case _:
                put(src / path, thing)


def test_a_parent_that_became_a_link_leads_nothing_out(case: Case) -> None:
    """All changes at once, each in a folder of its own."""
    for name in CHANGES:
        content: Tree = {
            "a": Plain(f"a of {name}", mtime=OLD),
            "b": "bb",
            "e": {"x": f"x of {name}", "y": "y"},
        }
        build_tree(case.source / name, {"d": content, "top": f"top of {name}", "other": {"o": "o"}})
    case.works()
    for name, steps in CHANGES.items():
        # The worst of all: what is out there is just as we left it, so every tag agrees.
        out = case.served / "out" / name
        out.parent.mkdir(exist_ok=True)
        (case.dest / name / "d").rename(out)
        (case.dest / name / "d").symlink_to(out)
        make_changes(case.source / name, steps)
    here, outside = read_tree(case.source), read_tree(case.served / "out")
    for _ in range(3):
        ran = case("run", "--mirror", "--allow-mass-delete", "--json")
        assert ran.code in (0, 3), ran.out
        assert ran.document["status"] == STATUSES[ran.code]
        assert all(problem["message"] for problem in ran.document["problems"])
        assert read_tree(case.served / "out") == outside
        assert read_tree(case.source) == here
        links = {os.readlink(path) for path in case.dest.rglob("*") if path.is_symlink()}
        for name in CHANGES:
            assert str(case.served / "out" / name) in links, f"{name}: their link is lost"
            assert (case.dest / name / "other/o").read_text() == "o"
            assert (case.dest / name / "top").exists() or "move" in name
    for name in CHANGES:  # the way out that is told
        if (case.dest / name / "d").is_symlink():
            (case.dest / name / "d").unlink()
    case("run", "--mirror", "--allow-mass-delete")
    case.works("--mirror", "--allow-mass-delete")
    assert read_tree(case.served / "out") == outside


# A source that is swapped between the scan and the upload


class Listener(Heard):
    """A reporter that lets a test act while content is read."""

    def __init__(self, on_sent: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.on_sent = on_sent

    def sent(self, count: int, path: str) -> None:
        super().sent(count, path)
        self.on_sent()


def run_and_swap(job: Job, swap: Callable[[], object]) -> Result:
    """A run in which ``swap`` happens after the plan was made and before anything is sent."""

    def connect(job: Job, reporter: Reporter, memory: Memory) -> Remote:
        swap()
        return open_remote(job, reporter, memory)

    return run(job, Listener(), connect)


SWAPS: dict[str, tuple[object, set[Reason]]] = {
    "a link": (Link("../../secret/f"), {Reason.CHANGED}),
    "an absolute link": (Link("/etc/passwd"), {Reason.CHANGED}),
    "a FIFO": (Fifo(), {Reason.SPECIAL, Reason.CHANGED}),
    "a folder": ({"x": "x"}, {Reason.SPECIAL, Reason.CHANGED, Reason.UNREADABLE}),
}


def test_a_source_that_is_swapped_is_not_sent(case: Case, tmp_path: Path) -> None:
    build_tree(tmp_path / "secret", {"f": "top secret"})
    build_tree(case.source, {name: {"keep": "k", "f": "before"} for name in SWAPS})
    case.works()
    build_tree(case.source, {"b": "b"} | {name: {"f": "after", "new": "after"} for name in SWAPS})
    build_tree(case.source, {"fresh": {f"{n}": "new" for n in range(10)}})

    def swap() -> None:
        for name, (thing, _) in SWAPS.items():
            put(case.source / name / "f", thing)
            put(case.source / name / "new", thing)
        put(case.source / "fresh/5", Link("../../secret/f"))

    result = run_and_swap(case.job(), swap)
    problems = {problem.path: problem for problem in result.problems}
    assert set(problems) == {"fresh/5"} | {f"{name}/{file}" for name in SWAPS for file in ("f", "new")}
    assert sorted(path.name for path in (case.dest / "fresh").iterdir()) == list("012346789")
    for name, (_, reasons) in SWAPS.items():
        for file in ("f", "new"):
            assert problems[f"{name}/{file}"].reason in reasons, name
            assert re.search("since it was scanned|the next run", problems[f"{name}/{file}"].message)
        assert (case.dest / name / "f").read_text() == "before"
        assert not os.path.lexists(case.dest / name / "new")
    assert (case.dest / "b").read_text() == "b"
    shutil.rmtree(case.source / "a FIFO")  # is noted and not sent
    case.works("--mirror", "--allow-mass-delete")


@pytest.mark.parametrize("ignoring", [False, True])
def test_a_parent_in_the_source_that_is_swapped_for_a_link(
    case: Case, tmp_path: Path, ignoring: bool
) -> None:
    more = [f"f{n}" for n in range(5)]
    build_tree(tmp_path / "secret", {"f": Plain("secret", mtime=OLD), "l": Link("a secret")})
    build_tree(tmp_path / "secret", {name: Plain("secret", mtime=OLD) for name in more})
    build_tree(case.source, {"a": "a"})
    case.works()
    build_tree(case.source, {"d": {"e": {"f": Plain("public", mtime=OLD), "l": Link("in public")}}})
    build_tree(case.source, {"d": {"g": {name: Plain("public", mtime=OLD) for name in more}}})
    job = case.job()
    if ignoring:  # then nothing in the stamp tells the one from the other
        job = replace(job, options=replace(job.options, ignore_inode=True, ignore_ctime=True))

    def swap() -> None:
        for name in ("e", "g"):
            put(case.source / "d" / name, Link(str(tmp_path / "secret")))

    result = run_and_swap(job, swap)
    assert not any(b"secret" in (node.content or b"") for node in read_tree(case.dest).values())
    told = {problem.path for problem in result.problems} - {"d/e/l"}
    assert told == {"d/e/f", *(f"d/g/{name}" for name in more)}
    case.works("--mirror")


# A file that changes while it is read


@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("how", ["append", "truncate", "rewrite", "replace", "delete"])
def test_a_file_that_changes_while_it_is_read(door: tuple[Case, Server], how: str, always: bool) -> None:
    case, _ = door
    file = case.source / "f"
    build_tree(case.source, {"f": b"before" * 50_000})
    case.works()
    build_tree(case.source, {"f": b"first!" * 100_000, "b": "b"})
    turns = iter(range(1 if not always else 10_000))

    def change() -> None:
        turn = next(turns, None)
        if turn is None or not file.exists():
            return
        match how:
            case "append":
                with file.open("ab") as out:
                    out.write(b"more %d" % turn)
            case "truncate":
                os.truncate(file, max(1, file.stat().st_size - 70_000))
            case "rewrite":
                file.write_bytes(b"%06d" % turn * 100_000)
            case "replace":
                fresh = file.with_name("fresh")
                fresh.write_bytes(b"%06d" % turn * 100_000)
                fresh.replace(file)
            case "delete":
                file.unlink()

    result = run(case.job(), Listener(change))
    if always or how == "delete":
        (problem,) = result.problems
        assert problem.path == "f"
        assert problem.reason in (Reason.CHANGED, Reason.GROWING, Reason.VANISHED)
        assert "next run" in problem.message or "gone" in problem.message
        assert (case.dest / "f").read_bytes() == b"before" * 50_000, "half a file was published"
    else:
        assert result.problems == []
        assert (case.dest / "f").read_bytes() == file.read_bytes()
    assert (case.dest / "b").read_text() == "b"
    case.works("--mirror")


# A full disk


class FullFile(File):
    """Takes so much and no more."""

    def write(self, offset: int, data: bytes) -> int:  # type: ignore[override]
        if FullDisk.room is not None and offset + len(data) > FullDisk.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(offset, data)


class FullDisk(Files):
    """A disk with room for so many bytes in each file, and none for folders when there is none at all."""

    room: int | None = None

    def open(self, path: str, flags: int, attr: Attributes) -> paramiko.SFTPHandle:
        if self.room == 0 and flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain = super().open(path, flags, attr)
        assert isinstance(plain, File)
        return FullFile(plain.fd)

    def mkdir(self, path: str, attr: Attributes) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().mkdir(path, attr)


@pytest.fixture
def full_disk(cli: Cli, tmp_path: Path, known_hosts: Path, source: Path) -> Iterator[Case]:
    with embedded(cli, tmp_path, known_hosts, source, FullDisk) as (case, _):
        yield case
    FullDisk.room = None


def test_a_full_disk(full_disk: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case = full_disk
    build_tree(case.source, {"small": "s", "big": b"b" * 100_000, "d": {"small": "t"}})
    monkeypatch.setattr(FullDisk, "room", 0)
    case.harmless(6, "can't be written to", "space")
    monkeypatch.setattr(FullDisk, "room", 1000)
    ran = case.ends(3, "write the file")
    assert set(ran.problems) == {"big"}
    assert (case.dest / "d/small").read_text() == "t"
    assert not (case.dest / "big").exists()
    monkeypatch.setattr(FullDisk, "room", None)
    case.works()
    build_tree(case.source, {"big": b"c" * 100_000, "small": "changed"})
    monkeypatch.setattr(FullDisk, "room", 1000)
    case.ends(3, "write the file")
    assert (case.dest / "big").read_bytes() == b"b" * 100_000
    assert (case.dest / "small").read_text() == "changed"
    monkeypatch.setattr(FullDisk, "room", None)
    case.works()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; needs root."""
    with mounted(place := tmp_path / "served", *in_memory("256k", "mode=1777")):
        yield place


def fill_up(file: Path) -> None:
    with file.open("wb", buffering=0) as out:
        while out.write(bytes(4096)):
            pass


def test_a_real_full_disk(case: Case, small_disk: Path) -> None:
    build_tree(case.source, {"big": b"b" * 1_000_000} | {f"small{n}": "s" * 1000 for n in range(20)})
    ran = case.ends(3, "the disk there is full")
    assert ran.problems == {"big": "no-space"}, "it kept out what fits"
    assert not (case.dest / "big").exists()
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        fill_up(filler)
    assert case("run").code in (3, 6)
    filler.unlink()
    build_tree(case.source, {"big": b"b" * 1000})
    case.works()


# Snapshots


def snapshot_of(case: Case) -> Path:
    (folder,) = case.state.iterdir()
    return folder / "snapshot"


def newer(data: bytes) -> bytes:
    import xxhash

    body = data[:8] + (99).to_bytes(4, "big") + data[12:-16]
    return body + xxhash.xxh3_128_digest(body)


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "no snapshot of reconcile"),
    "truncated": (lambda data: data[:-20], "damaged"),
    "halved": (lambda data: data[: len(data) // 2], "damaged"),
    "flipped": (lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:], "damaged"),
    "flipped at the end": (lambda data: data[:-1] + bytes([data[-1] ^ 0x80]), "damaged"),
    "longer": (lambda data: data + b"\0", "damaged"),
    "something else": (lambda _: b"PK\x03\x04 a zip", "no snapshot of reconcile"),
    "newer": (newer, "newer reconcile"),
}


def test_a_damaged_snapshot(case: Case) -> None:
    build_tree(case.source, {"a": "a", "d": {"b": "b"}, "gone": "g"})
    case.works()
    build_tree(case.source, {"a": "changed"})
    case.works()  # now there is a .bak too
    (case.source / "gone").unlink()
    snapshot = snapshot_of(case)
    good = snapshot.read_bytes()
    for change, word in DAMAGES.values():
        bad = change(good)
        snapshot.write_bytes(bad)
        for command in ("plan", "run"):
            ways_out = ("Nothing was done", ".bak", "--start-over", str(snapshot))
            flags = ("--mirror", "--allow-mass-delete")
            case.harmless(4, word, *ways_out, args=flags, command=command)
        assert snapshot.read_bytes() == bad
    ran = case("run", "--start-over", "--json")  # one way out
    assert (ran.code, ran.counts) == (0, {})
    assert_same_tree(case.source, case.dest, ignore=["gone"])
    (case.source / "a").write_text("changed again")
    case("run")
    snapshot.write_bytes(b"")
    shutil.copy(snapshot.with_name("snapshot.bak"), snapshot)  # the other
    assert case("run", "--mirror", "--json").code == 0
    assert (case.dest / "gone").read_text() == "g", "adopted is not owned"


def test_the_snapshot_of_another_job(case: Case, tmp_path: Path) -> None:
    build_tree(case.source, {"a": "a"})
    build_tree(tmp_path / "other", {"x": "x"})
    case.works()
    other = replace(case, source=tmp_path / "other", target=case.target + "-other")
    other("run")
    first, second = sorted(case.state.glob("*/snapshot"), key=lambda path: path.parent.name[:5] == "other")
    shutil.copy(second, first)
    case.harmless(4, "another job", "Nothing was done", "--state", args=("--mirror",))
    case.harmless(4, "another job", "--start-over", command="plan")
    case.works("--start-over")


def test_state_that_can_not_be_kept(case: Case, tmp_path: Path) -> None:
    build_tree(case.source, {"a": "a"})
    (tmp_path / "file").write_text("f")
    replace(case, state=tmp_path / "file").harmless(1, "--state")
    case.works()
    snapshot = snapshot_of(case)
    snapshot.rename(snapshot.with_name("aside"))
    snapshot.mkdir()
    case.harmless(1, "can't be read", "Nothing was done")


# Names


def test_names_that_are_markup(case: Case) -> None:
    odd = "x [/x]"  # which is a file in a folder
    build_tree(
        case.source, {"x [": {"x]": "1", "[red]y[": {"red]": Link(odd)}}, ":smile:": "3", "[p]": Fifo()}
    )
    build_tree(case.source, {".reconcile-[]": "reserved"})
    ran = case.ends(3, "rename it or exclude it")
    assert ran.problems == {".reconcile-[]": "reserved"}
    (case.source / ".reconcile-[]").unlink()
    (case.source / "[p]").unlink()
    case.works()
    build_tree(case.source, {"x [": {"x]": "changed"}, "[bold]new": "4", "p]": Fifo()})
    build_tree(case.source, {".reconcile-[]": "reserved"})
    for command in ("plan", "run"):
        code, text = on_a_terminal(case, command, "-v")
        assert code == 3
        for name in (odd, "[bold]new", "p]: ", ".reconcile-[]: "):
            assert name in text, text
        assert "Traceback" not in text
    (case.source / ".reconcile-[]").unlink()
    (case.source / "p]").unlink()
    case.works()


def on_a_terminal(case: Case, *args: str) -> tuple[int, str]:
    """Exit code and what a person sees, colours left out."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "reconcile", args[0], str(case.source), case.target]
    command += ["--state", str(case.state), *case.flags, *args[1:]]
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "TERM": "xterm",
        "COLUMNS": "200",
    }
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not piece:
                break
            seen += piece
    os.close(ours)
    return process.returncode, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


# Options


def options() -> list[tuple[str, click.Option]]:
    """Each option of ``run`` and ``plan`` that takes a value."""
    found = {
        option.opts[0]: option
        for command in ("run", "plan")
        for option in find_command(command).params
        if isinstance(option, click.Option) and not option.is_flag
    }
    return sorted(found.items())


@pytest.mark.parametrize("name", [name for name, _ in options()])
def test_a_bad_value_for_each_option(cli: Cli, name: str, tmp_path: Path) -> None:
    option = dict(options())[name]
    values = [""]
    if isinstance(option.type, click.Choice):
        values += ["x [/x]", "KEEP ", "-1"]
    elif option.type in (click.INT, click.FLOAT) or isinstance(
        option.type, click.IntRange | click.FloatRange
    ):
        values += ["x [/x]", "-1", "1e99" if option.type is click.INT else "many", "٣ x"]
    values += {
        "--max-delete": ["x [/x]", "-1", "101%", "5%%", "1.5", "%"],
        "--keep": ["30", "d", "1.5d", "30 d", "never"],
        "--port": ["0", "65536", "22.0"],
        "--remote-workdir": ["relative", "/", "/a/../b", "~", "~other/x", "//"],
        "--identity": ["/x [/x]", str(tmp_path)],
        "--password-env": ["NOT_SET_ANYWHERE", "x [/x]", PASSWORD],
        "--exclude-from": ["/x [/x]", str(tmp_path), "/proc/self/mem"],
        "--include": ["!x", " "],
        "--exclude": [" "],
    }.get(name, [])
    for value in values:
        args = ("run", str(tmp_path), "me@127.0.0.1:dest", name, value)
        ran = judged(cli(*args), cli(*args, "--json"), Exit.USAGE)
        said = ran.document["message"]
        assert name in said, (value, said)
        assert len(said) > len(name) + 15, said
    judged(cli("plan", "s", "h:d", name), cli("plan", "s", "h:d", "--json", name), Exit.USAGE, name)


def test_known_hosts_that_can_not_be_read(door: tuple[Case, Server], tmp_path: Path) -> None:
    case, _ = door
    case.harmless(2, "known hosts", str(tmp_path), args=("--known-hosts", str(tmp_path)))


def test_errors_are_ours(case: Case) -> None:
    """From Python too: everything that ends a run is one type of exception."""
    with pytest.raises(ReconcileError):
        run(replace(case.job(), source=str(case.source / "missing")), Listener())
