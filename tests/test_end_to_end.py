"""The whole of it: the command, a real folder, a real sshd."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconcile.core.marks import BEFORE, is_mark
from tests.support.command import Reconcile
from tests.support.processes import wait_for
from tests.support.proxy import Proxy
from tests.support.sshd import Sshd
from tests.support.trees import File, Link, Tree, assert_same_tree, build_tree, read_tree

OLD = 1_600_000_000  # an mtime that no clock takes for now
MakeTree = Callable[[Tree], Path]


@pytest.fixture
def job(source: Path, dest: Path, state: Path, sshd: Sshd) -> Reconcile:
    """A job from ``source`` to ``dest`` over a real sshd."""
    return Reconcile(source, sshd.url(dest), state, sshd.endpoint.flags())


def copy_of_the_standard_library(folder: Path, *, parts: tuple[str, ...] = ()) -> None:
    """A real tree: the machine's own Python library, or some packages of it."""
    library = Path(sysconfig.get_path("stdlib"))
    skip = shutil.ignore_patterns("__pycache__", "site-packages", "config-*")
    for part in parts or (".",):
        shutil.copytree(library / part, folder / part, symlinks=True, ignore=skip, dirs_exist_ok=True)


def test_a_real_tree_arrives_and_a_second_run_needs_no_server(
    source: Path, dest: Path, state: Path, own_sshd: Sshd
) -> None:
    copy_of_the_standard_library(source)
    job = Reconcile(source, own_sshd.url(dest), state, own_sshd.endpoint.flags())
    first = job.run().document
    assert first["connected"]
    assert first["counts"]["create"] == first["entries"]["create"] > 1000
    assert_same_tree(source, dest)
    own_sshd.stop()
    second = job.run()
    assert second.counts == {}
    assert not second.document["connected"]


def test_five_hundred_random_changes(job: Reconcile, source: Path, dest: Path) -> None:
    copy_of_the_standard_library(source, parts=("json", "email", "asyncio", "xml", "unittest", "lib2to3"))
    job.run()
    change_at_random(source, random.Random(20), 500)
    planned = job.plan("--mirror", "--allow-mass-delete")
    ran = job.run("--mirror", "--allow-mass-delete")
    assert planned.counts == ran.counts
    assert planned.document["entries"] == ran.document["entries"]
    assert len(ran.counts) == 6, "every kind of action should have come up"
    assert_same_tree(source, dest)
    assert job.run("--mirror").counts == {}


def change_at_random(root: Path, chance: random.Random, count: int) -> None:
    """Edits, renames of files and directories, type changes, deletions, as people make them."""
    for number in range(count):
        found = sorted(path for path in root.rglob("*") if not path.is_symlink())
        files = [path for path in found if path.is_file()]
        folders = [path for path in found if path.is_dir()]
        file, folder = chance.choice(files), chance.choice(folders)
        match chance.choice(
            ["edit", "new", "rename", "move", "folder", "link", "type", "delete", "chmod", "touch", "over"]
        ):
            case "edit":
                file.write_text(f"edit {number}\n" * chance.randint(1, 50))
            case "new":
                (folder / f"new{number}").mkdir()
                (folder / f"new{number}" / "file").write_text(f"new {number}")
            case "rename":
                file.rename(file.with_name(f"renamed{number}"))
            case "move":
                file.rename(folder / f"moved{number}")
            case "over":
                file.replace(chance.choice(files))
            case "folder" if len(folders) > 4:
                folder.rename(folder.with_name(f"folder{number}"))
            case "link":
                (folder / f"link{number}").symlink_to(file.name)
            case "type":
                file.unlink()
                file.mkdir()
                (file / "inside").write_text(f"was a file {number}")
            case "delete" if len(files) > 50:
                file.unlink()
            case "chmod":
                file.chmod(0o755 if number % 2 else 0o600)
            case "touch":
                os.utime(file, (OLD + number, OLD + number))


def test_deleting_a_tree_lists_each_directory_once(
    source: Path, dest: Path, state: Path, shim_sshd: Sshd, tree: MakeTree
) -> None:
    tree({"a": {"b": {"c": {"d": {"f": "f"}}, "g": "g"}}, "kept": "kept", "more": "more"})
    job = Reconcile(source, shim_sshd.url(dest), state, shim_sshd.endpoint.flags())
    job.run("--mirror")
    shim_sshd.requests()
    shutil.rmtree(source / "a")
    (source / "more").unlink()
    job.run("--mirror", "--allow-mass-delete")
    assert set(os.listdir(dest)) == {".reconcile", "kept"}
    requests = shim_sshd.requests().requests
    assert requests["OPENDIR"] == 2 + 4, requests  # of our own folder and the job's in it, and of what goes
    assert requests["REMOVE"] == 3


def test_renaming_a_directory_of_a_thousand_files_is_one_action(
    source: Path, dest: Path, state: Path, shim_sshd: Sshd, tree: MakeTree
) -> None:
    tree({"photos": {f"{n}.jpg": File(f"photo {n}", mtime=OLD) for n in range(1000)}})
    job = Reconcile(source, shim_sshd.url(dest), state, shim_sshd.endpoint.flags())
    job.run()
    shim_sshd.requests()
    (source / "photos").rename(source / "pictures")
    ran = job.run()
    assert ran.counts == {"move": 1}
    assert ran.document["entries"]["move"] == 1001
    # Besides the rename: connecting, our folders and what is in them, the mark's two names.
    assert ran.document["requests"] < 22
    assert shim_sshd.requests().total < 22
    assert_same_tree(source, dest)


def test_what_an_upload_costs(source: Path, dest: Path, state: Path, shim_sshd: Sshd, tree: MakeTree) -> None:
    tree({f"f{n}": f"content {n}" for n in range(3000)})
    job = Reconcile(source, shim_sshd.url(dest), state, shim_sshd.endpoint.flags())
    shim_sshd.requests()
    job.run()
    requests = shim_sshd.requests()
    # Five for each file; the first thousand, under way together, are looked at before they are published.
    assert requests.total < 3000 * 5 + 1000 + 60, requests


def test_first_run_onto_a_full_remote_is_refused(job: Reconcile, tree: MakeTree, dest: Path) -> None:
    tree({"a": "mine"})
    build_tree(dest, {"b": "theirs"})
    before = read_tree(dest)
    for command in ("plan", "run"):
        refused = job(command)
        assert refused.code == 4
        assert refused.document["status"] == "refused"
    assert "--adopt-existing" in job("run", json_out=False).err
    assert read_tree(dest) == before


def test_adopting_a_full_remote(job: Reconcile, tree: MakeTree, dest: Path, source: Path) -> None:
    tree(
        {
            "same": File("same", mtime=OLD),
            "differs": File("mine", mtime=OLD),
            "new": "new",
            "d": {"same": File("inner", mtime=OLD)},
            "was-dir": "a file",
            "link": Link("same"),
        }
    )
    build_tree(
        dest,
        {
            "same": File("same", mtime=OLD),
            "differs": File("theirs", mtime=OLD),
            "d": {"same": File("inner", mtime=OLD), "extra": "theirs"},
            "was-dir": {"inside": "theirs"},
            "only-there": "theirs",
            "link": Link("same"),
        },
    )
    assert job.plan("--adopt-existing").document["bytes_to_send"] == len("minenewa file")
    ran = job.run("--adopt-existing")
    assert ran.counts["modify"] == 1
    assert_same_tree(source, dest, ignore=("only-there", "d/extra"))
    assert (dest / "only-there").read_text() == "theirs"
    assert (dest / "d/extra").read_text() == "theirs"
    inside = (dest / ".reconcile").rglob("*")
    kept = [path.read_text() for path in inside if path.is_file() and path.name != BEFORE]
    assert sorted(kept) == ["theirs", "theirs"]
    assert job.run("--mirror").counts == {}
    assert (dest / "only-there").exists()


def test_without_mirror_the_remote_keeps_what_was_deleted(
    job: Reconcile, tree: MakeTree, source: Path, dest: Path
) -> None:
    tree({"keep": "k", "gone": File("g", mtime=OLD), "d": {"x": "1", "y": "2"}})
    job.run()
    saved = source.parent / "aside"
    (source / "d").rename(saved)
    (source / "gone").unlink()
    ran = job.run()
    assert ran.counts == {}
    assert (dest / "d/x").read_text() == "1"
    saved.rename(source / "d")
    back = job.run()
    assert back.counts == {}
    assert not back.document["connected"]
    (source / "d/x").unlink()
    job.run()
    mirrored = job.run("--mirror", "--allow-mass-delete")
    assert mirrored.counts == {"delete": 2}
    assert_same_tree(source, dest)


def test_names_are_bytes(job: Reconcile, source: Path, dest: Path) -> None:
    names: dict[bytes, object] = {
        b"new\nline": "1",
        b"\xff\xfe invalid": "2",
        b"x [": {b"x]": "3"},
        b"n" * 255: "4",
        b" spaced ": "5",
        b"-rf": "6",
        b"d\xc3\xa4r": {b"\x80": "7"},
        b"back\\slash": "8",
        b"\x1b[31mred": "9",
    }
    build_tree(source, names)
    planned = job("plan", json_out=False)
    assert planned.code == 0
    assert "\x1b" not in planned.out
    job.run()
    assert_same_tree(source, dest)
    document = job.plan("--rehash").document
    assert document["counts"]["create"] == 0
    os.rename(source / "-rf", os.fsencode(source) + b"/\xf0 moved")
    ran = job.run()
    assert ran.counts == {"move": 1}
    (action,) = ran.document["actions"]
    assert action["path"].encode("utf-8", "surrogateescape") == b"\xf0 moved"
    assert_same_tree(source, dest)


def test_modes_and_times_alone_send_no_content(
    job: Reconcile, tree: MakeTree, source: Path, dest: Path
) -> None:
    tree({"a": File("a" * 1000, mtime=OLD), "b": File("b" * 1000, mtime=OLD), "d": {"c": "c"}})
    job.run()
    (source / "a").chmod(0o600)
    os.utime(source / "b", (OLD + 5, OLD + 5))
    (source / "d").chmod(0o700)
    ran = job.run()
    assert ran.counts == {"setmeta": 3}
    assert ran.document["bytes_to_send"] == 0
    assert ran.document["bytes_avoided"] == 2000
    assert_same_tree(source, dest)
    os.utime(source / "b", ns=(OLD * 10**9, (OLD + 5) * 10**9 + 5))
    assert job.run().counts == {}


def test_times_and_perms_can_be_ignored(job: Reconcile, tree: MakeTree, source: Path, dest: Path) -> None:
    tree({"a": File("a", mode=0o600, mtime=OLD)})
    flags = ("--times", "ignore", "--perms", "ignore")
    job.run(*flags)
    assert (dest / "a").stat().st_mtime > OLD + 1000
    os.utime(source / "a", (OLD + 9, OLD + 9))
    (source / "a").chmod(0o755)
    assert job.run(*flags).counts == {}
    assert job.run().counts == {"setmeta": 1}
    assert_same_tree(source, dest)


@pytest.mark.parametrize("before", ["file", "dir", "link"])
@pytest.mark.parametrize("after", ["file", "dir", "link"])
@pytest.mark.parametrize("mirror", [True, False])
def test_type_changes(
    job: Reconcile, source: Path, dest: Path, before: str, after: str, mirror: bool
) -> None:
    kinds: dict[str, object] = {
        "file": "content",
        "dir": {"in": "side", "deep": {"er": "x"}},
        "link": Link("elsewhere"),
    }
    flags = ("--mirror", "--allow-mass-delete") if mirror else ()
    build_tree(source, {"p": kinds[before], "q": "stays"})
    job.run()
    if (source / "p").is_dir() and not (source / "p").is_symlink():
        shutil.rmtree(source / "p")
    else:
        (source / "p").unlink()
    build_tree(source, {"p": kinds[after]})
    assert job.plan(*flags).counts == job.run(*flags).counts
    assert_same_tree(source, dest)
    assert job.run(*flags).counts == {}


def test_chains_and_swaps(job: Reconcile, tree: MakeTree, source: Path, dest: Path) -> None:
    tree(
        {"log": "0", "log.1": "1", "log.2": "2", "a": "left", "b": "right", "D": {"x": "1"}, "E": {"y": "2"}}
    )
    job.run()
    (source / "log.1").replace(source / "log.2")
    (source / "log").replace(source / "log.1")
    (source / "log").write_text("new day")
    for one, two in (("a", "b"), ("D", "E")):
        (source / one).rename(source / "tmp")
        (source / two).rename(source / one)
        (source / "tmp").rename(source / two)
    ran = job.run("--mirror")
    assert ran.counts == {"move": 6, "create": 1}
    assert_same_tree(source, dest)


def test_special_files_are_skipped_with_a_note(
    job: Reconcile, tree: MakeTree, source: Path, dest: Path
) -> None:
    tree({"a": "a"})
    os.mkfifo(source / "pipe")
    ran = job.run()
    assert [note["path"] for note in ran.document["notes"]] == ["pipe"]
    assert ran.problems == {}
    assert not (dest / "pipe").exists()


def test_links_keep_follow_skip(sshd: Sshd, tree: MakeTree, source: Path, tmp_path: Path) -> None:
    tree(
        {
            "d": {"x": "1", "loop": Link("..")},
            "to-d": Link("d"),
            "to-x": Link("d/x"),
            "dangling": Link("nowhere"),
        }
    )
    for how, code in (("keep", 0), ("skip", 0), ("follow", 3)):
        dest = tmp_path / how
        ran = Reconcile(source, sshd.url(dest), tmp_path / "state", sshd.endpoint.flags())(
            "run", "--links", how
        )
        assert ran.code == code
        there = read_tree(dest)
        if how == "keep":
            assert_same_tree(source, dest)
        elif how == "skip":
            assert {name for name in os.listdir(dest) if name != ".reconcile"} == {"d"}
        else:
            assert (dest / "to-d/x").read_text() == (dest / "to-x").read_text() == "1"
            assert "loop" in ran.problems.values()
            assert not any(node.kind == "symlink" for node in there.values())


def test_filters(job: Reconcile, tree: MakeTree, source: Path, dest: Path) -> None:
    tree(
        {
            ".reconcileignore": "*.tmp\n",
            "a.tmp": "1",
            "b.log": "2",
            "keep.log": "3",
            "c": "4",
            "node_modules": {"x": "5"},
        }
    )
    job.run("--exclude", "*.log", "--include", "keep.log", "--exclude", "node_modules/")
    assert {name for name in os.listdir(dest) if name != ".reconcile"} == {
        ".reconcileignore",
        "keep.log",
        "c",
    }
    job.run()
    assert (dest / "b.log").exists()
    (source / "b.log").unlink()
    mirrored = job.run("--mirror", "--exclude", "*.log")
    assert mirrored.counts == {}
    assert (dest / "b.log").exists()


def test_home_relative_targets(sshd: Sshd, tree: MakeTree, source: Path, state: Path, tmp_path: Path) -> None:
    tree({"z": {"a": "1"}})
    folder = f".reconcile-test-{os.getpid()}"
    home = Path("~" + sshd.endpoint.user).expanduser()
    url = f"sftp://{sshd.endpoint.user}@127.0.0.1:{sshd.port}/~/{folder}/deep"
    try:
        Reconcile(source, url, state, sshd.endpoint.flags()).run()
        assert (home / folder / "deep/z/a").read_text() == "1"
        scp = f"{sshd.endpoint.user}@127.0.0.1:{folder}/other"
        flags = [*sshd.endpoint.flags(), "--port", str(sshd.port)]
        Reconcile(source, scp, state, flags).run()
        assert (home / folder / "other/z/a").read_text() == "1"
    finally:
        shutil.rmtree(home / folder, ignore_errors=True)


def test_a_run_with_nothing_to_do_does_not_import_paramiko(job: Reconcile, tree: MakeTree) -> None:
    tree({"a": "a"})
    job.run()
    quiet = job("run", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert quiet.code == 0
    assert "paramiko" not in quiet.err
    assert "reconcile.pipeline" in quiet.err


def test_on_cron_there_is_one_line(job: Reconcile, tree: MakeTree) -> None:
    tree({"a": "a"})
    ran = job("run", json_out=False)
    assert len(ran.out.splitlines()) == 1
    assert ran.err == ""
    assert "\x1b" not in ran.out
    silent = job("run", "-q", json_out=False)
    assert (silent.code, silent.out, silent.err) == (0, "", "")


@dataclass(frozen=True)
class Far:
    """A job to a server of its own, through a proxy."""

    job: Reconcile
    proxy: Proxy
    sshd: Sshd
    dest: Path

    def start(self) -> subprocess.Popen[bytes]:
        """Start a run; returns when some files have arrived."""
        process = self.job.start("run")
        wait_for(lambda: self.dest.exists() and len(os.listdir(self.dest)) > 500, "some files to arrive", 30)
        return process

    def kill(self) -> int:
        """Kill a run in the middle of it; how many files had arrived."""
        process = self.start()
        process.kill()
        process.wait()
        self.sshd.end_sessions()
        return len(os.listdir(self.dest)) - 1


@pytest.fixture
def far(
    source: Path, dest: Path, state: Path, own_sshd: Sshd, make_proxy: Callable[..., Proxy]
) -> Callable[[float], Far]:
    """``far(rtt)``."""

    def make(rtt: float) -> Far:
        proxy = make_proxy(own_sshd.port, rtt=rtt)
        endpoint = own_sshd.via(proxy.port)
        return Far(Reconcile(source, endpoint.url(dest), state, endpoint.flags()), proxy, own_sshd, dest)

    return make


def many_files(count: int) -> dict[str, object]:
    return {f"f{n}": File("x" * 1000 + str(n), mtime=OLD) for n in range(count)}


def assert_no_leftovers(dest: Path) -> None:
    """Of ours the remote holds the mark of the job, and nothing else."""
    (lineage,) = (dest / ".reconcile").iterdir()
    (mark,) = lineage.iterdir()
    assert is_mark(mark.name)


def test_a_lost_connection_is_made_again(
    far: Callable[[float], Far], source: Path, dest: Path, tree: MakeTree
) -> None:
    tree(many_files(4000))
    line = far(0)
    line.proxy.cut_after(3_000_000, "up")
    ran = line.job.run()
    assert ran.counts == {"create": 4000}
    assert ran.document["bytes_sent"] < 4000 * 2200, "at most the thousand that were under way are sent twice"
    assert_same_tree(source, dest)
    assert_no_leftovers(dest)
    assert line.job.run().counts == {}


def test_a_killed_run_is_finished_by_the_next(
    far: Callable[[float], Far], source: Path, dest: Path, tree: MakeTree
) -> None:
    tree(many_files(3000))
    line = far(0.02)
    arrived = line.kill()
    assert 500 <= arrived < 3000
    planned = line.job.plan()
    left = planned.counts["create"]
    assert left <= 3000 - arrived, "what had arrived whole is not sent twice, published or not"
    ran = line.job.run()
    assert ran.counts == planned.counts == {"create": left}
    assert_same_tree(source, dest)
    assert_no_leftovers(dest)
    assert line.job.run().counts == {}


def test_what_was_recovered_is_known_by_content(
    far: Callable[[float], Far], source: Path, tree: MakeTree
) -> None:
    tree(many_files(3000))
    line = far(0.02)
    line.kill()
    line.job.run()
    (source / "d").mkdir()
    for path in list(source.iterdir()):
        if path.is_file():
            path.rename(source / "d" / f"{path.name}.moved")
    assert line.job.run().counts == {"mkdir": 1, "move": 3000}


def test_what_stands_already_gets_its_mode(
    source: Path, dest: Path, state: Path, sshd: Sshd, tree: MakeTree
) -> None:
    tree({"a": "a"})
    job = Reconcile(source, sshd.url(dest), state, sshd.endpoint.flags())
    job.run()
    tree({"b": File("the same", mode=0o644, mtime=OLD)})
    build_tree(dest, {"b": File("the same", mode=0o600, mtime=OLD)})
    inode = (dest / "b").stat().st_ino
    assert job.run().counts == {"create": 1}
    assert (dest / "b").stat().st_ino == inode, "it was not sent"
    assert_same_tree(source, dest)
    assert job.run().counts == {}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_a_run_with_all_saved(
    far: Callable[[float], Far],
    source: Path,
    dest: Path,
    state: Path,
    tree: MakeTree,
    number: signal.Signals,
    code: int,
) -> None:
    tree(many_files(6000))
    line = far(0.02)
    process = line.start()
    process.send_signal(number)
    assert process.wait() == code
    assert list(state.glob("*/journal")) == []
    assert_no_leftovers(dest)
    arrived = len(os.listdir(dest)) - 1
    assert 500 <= arrived < 6000
    line.sshd.stop()
    assert line.job("run", "--retries", "0").code == 6
    line.sshd.start()
    assert line.job.run().counts == {"create": 6000 - arrived}
    assert_same_tree(source, dest)
