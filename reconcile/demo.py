"""``reconcile demo``: the whole thing on a server of its own, in a folder that is gone afterwards.

Nothing here is staged: the server speaks SFTP over SSH on a loopback port, the files are copies of
Python's own library, and what is printed is what ``plan`` and ``run`` print.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec.structs import replace

from reconcile.config import Flags, make_job
from reconcile.core.job import Result
from reconcile.core.model import RESERVED_NAME
from reconcile.pipeline import make_plan, run
from reconcile.report import Outlet, make_reporter

PASSWORD_ENV = "RECONCILE_DEMO_PASSWORD"  # noqa: S105 - a name
PACKAGES = ("asyncio", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest", "xml")
ODD_NAME = "x [/x]\n\udcff"  # looks like markup, holds a newline and a byte that is no UTF-8


def demo() -> int:
    """Show it. 0 if every step did what it should and both trees are equal in the end, else 1."""
    out = Outlet(sys.stdout)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reconcile-demo-")))
        flags = stack.enter_context(_server_for(folder))
        out.line(f"SRC   {flags.source}: {make_sample(Path(flags.source))} of Python's own library")
        out.line(f"DEST  {flags.target}: an SFTP server that was just started")
        planned = _step(out, "1. What would be done?", "plan", flags)
        first = _step(out, "2. Do it.", "run", flags)
        again = _step(out, "3. Once more: nothing has changed since.", "run", flags)
        out.line("\n4. Now some of it is edited, moved and deleted:")
        for change in edit_sample(Path(flags.source)):
            out.line(f"   {change}")
        flags = replace(flags, mirror=True)
        replanned = _step(out, "5. What would be done?", "plan", flags)
        last = _step(out, "6. Do it.", "run", flags)
        faults = [
            *(
                f"{problem.path!r}: {problem.message}"
                for result in (first, last)
                for problem in result.problems
            ),
            *_compare_plan(planned, first),
            *_compare_plan(replanned, last),
            *(["a run with nothing to do made a connection"] if again.connected else []),
            *compare(Path(flags.source), folder / "server" / "site"),
        ]
        if faults:
            out.line("\n7. This is not as it should be:")
            for fault in faults[:20]:
                out.line(f"   {fault}")
            return 1
        count = sum(1 for _ in _tree(Path(flags.source)))
        out.line(
            f"\n7. Both sides compared, {count} entries, byte by byte: equal, with modes and times. "
            f"Step 6 took {last.traffic.requests} SFTP requests."
        )
    out.line("   The server is stopped, and all of this is deleted again.")
    return 0


def _step(out: Outlet, title: str, command: str, flags: Flags) -> Result:
    out.line(f"\n{title}\n$ reconcile {command} SRC DEST{' --mirror' if flags.mirror else ''}")
    reporter = make_reporter(command)
    try:
        result = (make_plan if command == "plan" else run)(make_job(flags), reporter)
        reporter.finish(result, 0)
    finally:
        reporter.close()
    return result


def _compare_plan(planned: Result, done: Result) -> list[str]:
    if len(planned.done) == len(done.done):
        return []
    return [f"{len(planned.done)} actions were planned, {len(done.done)} done"]


# The tree


def make_sample(root: Path) -> str:
    """Some hundred real files; how many, and how large, in words."""
    library = Path(sysconfig.get_path("stdlib"))
    skip = shutil.ignore_patterns("__pycache__", "test", "tests", "*.exe", "*.so", "*.dll")
    for package in PACKAGES:
        shutil.copytree(library / package, root / "lib" / package, ignore=skip)
    (root / "bin").mkdir()
    (root / "bin" / "hello").write_text("#!/bin/sh\necho hello\n")
    (root / "bin" / "hello").chmod(0o755)
    (root / "empty").mkdir()
    (root / "current").symlink_to("lib/json")
    (root / ODD_NAME).parent.mkdir()
    (root / ODD_NAME).write_text("names are bytes\n")
    sizes = [path.lstat().st_size for path in root.rglob("*") if path.is_file()]
    return f"{len(sizes)} files, {sum(sizes) / 1e6:.1f} MB,"


def edit_sample(root: Path) -> Iterator[str]:
    """What may happen to a tree between two runs; each change in words."""
    lib = root / "lib"
    for path in sorted((lib / "email").glob("*.py"))[:5]:
        path.write_text(path.read_text() + "\n# edited\n")
    (root / "bin" / "hello").chmod(0o644)
    yield "5 files in lib/email are edited, bin/hello is no longer executable"
    (root / "archive").mkdir()
    (lib / "asyncio").rename(root / "archive" / "asyncio")
    yield "lib/asyncio moves to archive/asyncio, a directory with all that is in it"
    one, other, between = (lib / "json" / name for name in ("decoder.py", "encoder.py", "swapped"))
    one.rename(between)
    other.rename(one)
    between.rename(other)
    yield "lib/json/decoder.py and encoder.py change places"
    shutil.rmtree(lib / "xml" / "sax")
    (lib / "http" / "cookies.py").unlink()
    yield "lib/xml/sax and lib/http/cookies.py are deleted"
    (root / "empty").rmdir()
    (root / "empty").write_text("a file now\n")
    (root / "current").unlink()
    (root / "current").symlink_to("archive/asyncio")
    yield "a directory becomes a file, and a link points elsewhere"


def compare(source: Path, remote: Path) -> Iterator[str]:
    """What differs, in words: kind, content, mode, time of files to the second, target of links."""
    ours, theirs = dict(_tree(source)), dict(_tree(remote))
    for path in sorted(ours.keys() | theirs.keys()):
        if path not in theirs:
            yield f"{path!r} is missing on the remote"
        elif path not in ours:
            yield f"{path!r} is on the remote only"
        elif ours[path] != theirs[path]:
            yield f"{path!r} differs"


def _tree(root: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Every path below ``root`` with all that is kept of it; our own folder on the remote is left out."""
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.partition(os.sep)[0] == RESERVED_NAME:
            continue
        status = path.lstat()
        kind, mode = stat.S_IFMT(status.st_mode), status.st_mode & 0o777
        if stat.S_ISLNK(status.st_mode):
            yield name, (kind, os.readlink(path))
        elif stat.S_ISREG(status.st_mode):
            yield name, (kind, mode, int(status.st_mtime), path.read_bytes())
        else:
            yield name, (kind, mode)


# The place


@contextmanager
def _server_for(folder: Path) -> Iterator[Flags]:
    """A server on a free loopback port, its state and ours in folders that go away with it."""
    from reconcile.serve.server import Server

    (folder / "server").mkdir()
    password = secrets.token_urlsafe(12)
    with (
        _state_folder(folder) as state,
        _variable(PASSWORD_ENV, password),
        Server(folder / "server", user="demo", password=password) as server,
    ):
        known_hosts = folder / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{server.port} {' '.join(server.host_key)}\n")
        yield Flags(
            source=str(folder / "source"),
            target=f"sftp://demo@127.0.0.1:{server.port}/site",
            state=str(state),
            reaching={"known_hosts": str(known_hosts), "password_env": PASSWORD_ENV},
        )


@contextmanager
def _state_folder(folder: Path) -> Iterator[Path]:
    """In a checkout its ``snapshots``, where it can be looked at meanwhile; else beside the trees."""
    snapshots = Path(__file__).parents[1] / "snapshots"
    in_checkout = (snapshots / "README.md").is_file() and os.access(snapshots, os.W_OK)
    state = Path(tempfile.mkdtemp(prefix="demo-", dir=snapshots if in_checkout else folder))
    try:
        yield state
    finally:
        shutil.rmtree(state)


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """An environment variable for a while."""
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
