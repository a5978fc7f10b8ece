"""What seems to be gone and may be there all the same is not deleted."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.core.diff import diff
from reconcile.core.filters import Filter, make_filter
from reconcile.core.job import Links, Options
from reconcile.core.model import Change, DirectorySnapshot, Entry, Kind, PlainDirectory, Scan
from reconcile.source.doubt import lost_mounts, moved_meanwhile, still_mounts
from reconcile.source.files import Source
from reconcile.source.scan import scan
from tests.support.command import Reconcile
from tests.support.sshd import Sshd
from tests.support.trees import Link, build_tree

ALL = Filter()


def look(root: Path, chosen: Filter = ALL) -> Scan:
    return scan(str(root), chosen, Options())


def remembered(root: Path, chosen: Filter = ALL) -> DirectorySnapshot:
    """As if the tree had been sent."""
    found = look(root, chosen)
    return DirectorySnapshot({path: PlainDirectory(each.entries()) for path, each in found.dirs.items()})


def doubted(old: DirectorySnapshot, root: Path, found: Scan, chosen: Filter = ALL) -> list[str]:
    with Source(str(root)) as source:
        changes: list[Change] = diff(old, found, chosen, Options())
        return [problem.path for problem in moved_meanwhile(changes, found, chosen, source)]


@pytest.fixture
def moving(tmp_path: Path) -> Path:
    build_tree(tmp_path, {"a": {"k": "1"}, "z": {"album": {"1": "one", "2": "two"}, "f": "file"}})
    return tmp_path


def test_what_moves_to_where_we_have_looked_is_unknown(moving: Path) -> None:
    old = remembered(moving)
    rename = [("z/album", "a/album"), ("z/f", "a/f")]
    for here, there in rename:
        album = moving / here
        shown, hidden = look(moving), moving / "hidden"
        album.rename(hidden)
        shown = look(moving, make_filter(["hidden"]))  # neither end is seen
        assert doubted(old, moving, shown, make_filter(["hidden"])) == []
        hidden.rename(moving / there)
        assert doubted(old, moving, shown) == [here]
        (moving / there).rename(album)


def test_what_moves_into_a_new_folder_is_unknown(moving: Path) -> None:
    old = remembered(moving)
    (moving / "z" / "f").rename(moving / "f")
    shown = look(moving, make_filter(["/f"]))
    (moving / "a" / "new").mkdir()
    (moving / "f").rename(moving / "a" / "new" / "g")
    assert doubted(old, moving, shown) == ["z/f"]


def test_a_link_that_is_skipped_is_not_taken_for_a_file_that_moved(tmp_path: Path) -> None:
    build_tree(tmp_path, {"f": "1", "l": Link("x")})
    old = remembered(tmp_path)
    (tmp_path / "f").unlink()
    known = {"f": replace(old.dirs[""].entries()["f"], stamp=None)}
    shown = scan(str(tmp_path), ALL, Options(links=Links.SKIP))  # and the link has the size of the file
    assert doubted(DirectorySnapshot({"": PlainDirectory(known)}), tmp_path, shown) == []


def test_what_is_deleted_while_others_arrive_is_deleted(moving: Path) -> None:
    old = remembered(moving)
    (moving / "z" / "f").unlink()
    shown = look(moving)
    (moving / "a" / "new").write_text("another file")
    assert doubted(old, moving, shown) == []


def test_what_went_long_before_is_deleted(moving: Path) -> None:
    old = remembered(moving)
    (moving / "z" / "f").unlink()
    shown = look(moving)
    (moving / "a" / "new").mkdir()
    later = Scan(shown.dirs, started_ns=time.time_ns() + 3600 * 10**9, grace_ns=shown.grace_ns)
    assert doubted(old, moving, later) == []


def file(size: int = 1) -> Entry:
    return Entry(Kind.FILE, 0o644, size)


def folder(*names: str) -> PlainDirectory:
    return PlainDirectory({name: file() for name in names})


def lost_of(old: DirectorySnapshot, found: Scan, mounts: frozenset[str], chosen: Filter = ALL) -> list[str]:
    return [problem.path for problem in lost_mounts(old, found, mounts, chosen)]


@pytest.mark.parametrize(
    ("held", "holds", "lost"),
    [
        (("a", "b", "c"), (), True),
        (("a", "b", "c"), ("lost+found",), True),
        (("a", "b", "c"), ("a", "x"), True),  # a program made it anew
        (("a", "b", "c"), ("a", "b"), False),
        ((), (), False),
    ],
)
def test_a_mount_point_that_lost_its_mount(held: tuple[str, ...], holds: tuple[str, ...], lost: bool) -> None:
    old = DirectorySnapshot({"": PlainDirectory({"m": Entry(Kind.DIR, 0o755)}), "m": folder(*held)})
    found = Scan({"": old.dirs[""], "m": folder(*holds)}, 0, 0)
    mounts = frozenset({"m"})
    assert lost_of(old, found, mounts) == ["m"] * lost
    assert lost_of(old, found, frozenset()) == []
    assert lost_of(old, Scan(found.dirs, 0, 0, mounts=mounts), mounts) == []
    assert lost_of(old, Scan({"": found.dirs[""]}, 0, 0, unknown=mounts), mounts) == []
    assert lost_of(old, Scan({"": folder()}, 0, 0), mounts) == ["m"] * bool(held), "gone with its mount"
    assert lost_of(old, Scan({"": folder()}, 0, 0), mounts, make_filter(["/m"])) == []
    assert lost_of(old, Scan({"": folder("m")}, 0, 0), mounts) == [], "a file took its place"
    renamed = {"": PlainDirectory({"n": Entry(Kind.DIR, 0o755)}), "n": folder(*held)}
    assert lost_of(old, Scan(renamed, 0, 0, mounts=frozenset({"n"})), mounts) == []


def test_a_lost_mount_whose_folders_were_made_anew() -> None:
    """A program that finds its folders missing makes them: what was in them is not known to be gone."""
    folders = PlainDirectory({name: Entry(Kind.DIR, 0o755) for name in ("a", "b", "c", "d")})
    old = DirectorySnapshot(
        {"m": folders, "m/a": folder("x", "y", "z"), "m/b": folder("x"), "m/d": folder("p", "q")}
    )
    some = PlainDirectory({name: Entry(Kind.DIR, 0o755) for name in ("a", "c", "d")})
    found = Scan({"m": some, "m/a": folder("new"), "m/c": folder(), "m/d": folder("p")}, 0, 0)
    assert sorted(lost_of(old, found, frozenset({"m"}))) == ["m/a", "m/b"]
    again = Scan({**found.dirs, "n": folders}, 0, 0, mounts=frozenset({"n"}))
    assert lost_of(old, again, frozenset({"m"})) == [], "mounted elsewhere by now"


def test_what_is_remembered_of_mounts() -> None:
    found = Scan({"": folder()}, 0, 0, unknown=frozenset({"u"}), mounts=frozenset({"new"}))
    assert still_mounts(found, frozenset({"u/m", "gone"})) == {"new", "u/m"}
    found = Scan({"": folder()}, 0, 0, unknown=frozenset({"m/n/lost"}))
    assert still_mounts(found, frozenset({"m", "m/n/lost/x", "m/o"})) == {"m", "m/n/lost/x"}


IN_A_NAMESPACE = """
import os, subprocess, sys
def mount(*args): subprocess.run(["mount", *args], check=True)
mount("--make-rprivate", "/")
source, *command = sys.argv[1:]
for name in ("disk", "deep/disk"):
    mount("-t", "tmpfs", "none", os.path.join(source, name))
    os.mkdir(os.path.join(source, name, "d"))
    for inside in ("f", "g", "d/h"):
        open(os.path.join(source, name, inside), "w").close()
subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
"""


def can_mount() -> bool:
    probe = ["unshare", "-m", "sh", "-c", "mount --make-rprivate / && mount -t tmpfs none /mnt"]
    return sys.platform == "linux" and subprocess.run(probe, capture_output=True, check=False).returncode == 0


def test_an_unmounted_disk_is_not_deleted(sshd: Sshd, source: Path, dest: Path, state: Path) -> None:
    if not can_mount():
        pytest.skip("can't mount")
    build_tree(source, {"f": "x", "disk": {}, "deep": {"disk": {}}})
    job = Reconcile(
        source, sshd.url(dest), state, [*sshd.endpoint.flags(), "--mirror", "--max-delete", "100%"]
    )
    command = job.argv("run")
    subprocess.run(["unshare", "-m", sys.executable, "-c", IN_A_NAMESPACE, str(source), *command], check=True)
    assert (dest / "deep" / "disk" / "d" / "h").exists()
    (source / "f").write_text("other")
    for command_name in ("plan", "run", "run"):  # it isn't forgotten
        ran = job(command_name)
        assert ran.code == 3
        assert ran.problems == {"disk": "missing", "deep/disk": "missing"}
        assert "delete" not in ran.counts
    assert (dest / "f").read_text() == "other"
    assert (dest / "deep" / "disk" / "d" / "h").exists()
    (source / "deep" / "disk").rmdir()  # as some systems do with what is not mounted
    (source / "deep").rename(source / "moved")
    assert job("run").problems == {"disk": "missing", "deep": "missing"}
    assert (dest / "deep" / "disk" / "d" / "h").exists()
    assert (dest / "moved").exists()
    (source / "moved").rename(source / "deep")
    (source / "deep" / "disk").mkdir()
    assert job.run("--allow-mass-delete").document["entries"]["delete"] == 9
    assert job.run().problems == {}
    assert not any((dest / "disk").iterdir())


BOUND = """
import subprocess, sys
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
subprocess.run(["mount", "--bind", sys.argv[1], sys.argv[2]], check=True)
subprocess.run(sys.argv[3:], check=True, stdout=subprocess.DEVNULL)
"""


def test_what_was_bound_from_the_same_disk_is_not_deleted(
    sshd: Sshd, tmp_path: Path, source: Path, dest: Path, state: Path
) -> None:
    """It has the device number of all the rest."""
    if not can_mount():
        pytest.skip("can't mount")
    build_tree(source, {"f": "x", "g h": {}})
    (tmp_path / "far").mkdir()
    build_tree(tmp_path / "far", {"data": {str(number): "y" for number in range(9)}})
    flags = [*sshd.endpoint.flags(), "--mirror", "--max-delete", "100%"]
    job = Reconcile(source, sshd.url(dest), state, flags)
    bound = [str(tmp_path / "far"), str(source / "g h")]
    subprocess.run(["unshare", "-m", sys.executable, "-c", BOUND, *bound, *job.argv("run")], check=True)
    assert (dest / "g h" / "data" / "8").exists()
    (source / "g h" / "data").mkdir()  # by a program that missed it
    for _ in range(2):
        assert job("run").problems == {"g h/data": "missing"}
        assert len(list((dest / "g h" / "data").iterdir())) == 9


def test_a_source_that_holds_dest_does_not_grow_for_ever(sshd: Sshd, source: Path, state: Path) -> None:
    """As where the server is mounted in the folder that is pushed to it."""
    build_tree(source, {"f": "x", "net": {"nas": {"other": "y"}}})
    dest = source / "net" / "nas" / "backup"
    job = Reconcile(source, sshd.url(dest), state, [*sshd.endpoint.flags(), "--mirror"])
    job.run()
    (source / "f").write_text("other")
    for command in ("plan", "run", "run"):
        ran = job(command)
        assert ran.code == 3
        assert ran.problems == {"net/nas/backup": "loop"}
    assert (dest / "f").read_text() == "other"
    assert sorted(path.name for path in (dest / "net" / "nas").iterdir()) == ["other"]
    assert not job.run("--exclude", "/net/nas/backup").counts
