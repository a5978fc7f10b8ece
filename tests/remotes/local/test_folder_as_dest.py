"""DEST as a folder of this machine: how it is written, and what it must not be."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from reconcile.config import Flags, make_job
from reconcile.core.errors import UsageError
from reconcile.remotes import parse_target, scheme_of
from tests.support.command import Reconcile
from tests.support.mounts import in_memory, mounted, unmount
from tests.support.trees import File, Link, assert_same_tree, build_tree, read_tree


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/mnt/usb", "/mnt/usb"),
        ("/mnt//usb/./x/", "/mnt/usb/x"),
        ("//mnt/usb", "/mnt/usb"),
        ("./backup", "{here}/backup"),
        ("backup/daily", "{here}/backup/daily"),
        ("../backup", "{above}/backup"),
        ("./a:b", "{here}/a:b"),
        ("/a/b:c", "/a/b:c"),
        ("~/backup", "{home}/backup"),
        ("file:///mnt/usb", "/mnt/usb"),
        ("FILE://localhost/mnt/us%62/%ff", "/mnt/usb/\udcff"),
        ("/a\udcff", "/a\udcff"),
        ("/", "/"),
    ],
)
def test_how_it_is_written(text: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    target = parse_target(text)
    assert target.scheme == "file"
    assert target.path == path.format(here=here, above=tmp_path, home=tmp_path / "home")
    assert parse_target(str(target)) == target


def test_a_path_goes_up_from_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    assert parse_target(f"{tmp_path}/link/../x").path == str(tmp_path / "a/x")
    assert parse_target(f"{tmp_path}/link/x").path == str(tmp_path / "link/x")


def test_a_new_name_may_have_been_meant_as_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    doubt = scheme_of(parse_target("host/x")).doubt
    assert "write host:backup/x" in (doubt("host/backup/x") or "")
    for sure in ("/host/x", "./host/x", "../x", "~/x", "there/x", "file:///host/x"):
        assert doubt(sure) is None


@pytest.mark.parametrize("option", ["port", "identity", "known_hosts", "password_env", "compress"])
def test_nobody_is_called(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "x")
    given: object = {"port": 22, "compress": True, "password_env": "PW"}.get(option, str(tmp_path))
    if option == "identity":
        (tmp_path / "key").touch()
        given = str(tmp_path / "key")
    flags = Flags(str(tmp_path / "src"), str(tmp_path / "dest"), reaching={option: given})
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} means nothing"):
        make_job(flags)


def _job_of(src: object, dest: object, state: Path, **more: object) -> list[tuple[str, str]]:
    """What of ours is in SRC."""
    flags = Flags(str(src), str(dest), state=str(state), **more)  # type: ignore[arg-type]
    return [(own.path, own.what) for own in make_job(flags).options.own]


@pytest.mark.parametrize("where", ["itself", "below", "link to below", "link to itself", "deep below"])
def test_src_in_dest_is_refused(where: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    (dest / "a/b").mkdir(parents=True)
    (tmp_path / "one").symlink_to("dest/a")
    (tmp_path / "other").symlink_to("dest")
    src = {
        "itself": dest,
        "below": dest / "a",
        "link to below": tmp_path / "one",
        "link to itself": tmp_path / "other",
        "deep below": tmp_path / "other/a/b",
    }[where]
    with pytest.raises(UsageError, match="SRC is DEST, or lies in it"):
        _job_of(src, dest, tmp_path / "state")
    with pytest.raises(UsageError, match="SRC is DEST, or lies in it"):
        _job_of(src, tmp_path / "other", tmp_path / "state")


def test_src_in_dest_is_refused_through_a_mount(tmp_path: Path) -> None:
    (tmp_path / "dest/a").mkdir(parents=True)
    with mounted(tmp_path / "mount", "--bind", str(tmp_path / "dest")):
        with pytest.raises(UsageError, match="SRC is DEST, or lies in it"):
            _job_of(tmp_path / "mount/a", tmp_path / "dest", tmp_path / "state")
        assert _job_of(tmp_path / "mount", tmp_path / "dest/a/b", tmp_path / "state") == [("a/b", "is DEST")]


def test_dest_in_src_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "src/in").mkdir(parents=True)
    (tmp_path / "link").symlink_to("src/in")
    state = tmp_path / "state"
    assert _job_of(tmp_path / "src", tmp_path / "src/in/dest", state) == [("in/dest", "is DEST")]
    assert _job_of(tmp_path / "src", tmp_path / "link/dest", state) == [("in/dest", "is DEST")]
    assert _job_of(tmp_path / "src", tmp_path / "dest", state) == []
    assert _job_of(tmp_path / "src", tmp_path / "srcs", state) == []
    work = {"remote_workdir": str(tmp_path / "src/work")}
    assert _job_of(tmp_path / "src", tmp_path / "dest", state, **work) == [
        ("work", "is the folder of --remote-workdir")
    ]


@pytest.fixture
def job(source: Path, dest: Path, state: Path) -> Reconcile:
    return Reconcile(source, str(dest), state)


def test_a_tree_is_brought_and_kept_as_it_is(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(
        source, {"f": File("f", mode=0o751, mtime=1_000_000_000), "d": {"e": {"g": "g"}}, "l": Link("f")}
    )
    build_tree(source, {"many": {f"n{n}": f"{n}" for n in range(100)}, "big": os.urandom(3 << 20)})
    assert job.run("--mirror").counts == {"create": 104, "mkdir": 3}
    assert_same_tree(source, dest)
    assert job.run("--mirror").document["connected"] is False
    (source / "f").rename(source / "f2")
    (source / "d").rename(source / "d2")
    shutil.rmtree(source / "many")
    build_tree(source, {"big": "small by now"})
    again = job.run("--mirror", "--allow-mass-delete")
    assert again.counts == {"modify": 1, "move": 2, "delete": 1}
    assert_same_tree(source, dest)
    assert {path.split("/")[-1][:5] for path in read_tree(dest / ".reconcile") if "/" in path} <= {
        "mark-",
        "id",
    }


def test_what_others_changed_is_kept_aside(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(source, {"f": "old"})
    job.run()
    build_tree(dest, {"f": "of somebody else"})
    build_tree(source, {"f": "newer"})
    job.run()
    assert (dest / "f").read_text() == "newer"
    assert b"of somebody else" in {node.content for node in read_tree(dest / ".reconcile").values()}


def test_a_disk_that_is_not_mounted_is_not_filled_underneath(
    job: Reconcile, source: Path, dest: Path
) -> None:
    build_tree(source, {"f": "f"})
    with mounted(dest, *in_memory()):
        job.run()
        unmount(dest)
        build_tree(source, {"g": "g"})
        ran = job("run")
        assert ran.code == 4
        assert "not mounted" in ran.document["message"]
        assert os.listdir(dest) == []
        dest.rmdir()
        assert job("run").code == 4
        assert not dest.exists()


def test_a_disk_that_is_not_mounted_is_missed_also_where_our_folder_is_on_another(
    job: Reconcile, source: Path, dest: Path, tmp_path: Path
) -> None:
    elsewhere = "--remote-workdir", str(tmp_path / "work")
    build_tree(source, {"f": "f", "d": {"g": "g"}})
    with mounted(dest, *in_memory()):
        job.run(*elsewhere)
        unmount(dest)
        build_tree(source, {"f": "other"})
        for command in ("plan --check-mark", "run", "run --refresh"):
            ran = job(*command.split(), *elsewhere)
            assert ran.code == 4, command
            assert "not mounted" in ran.document["message"]
            assert os.listdir(dest) == []
        dest.rmdir()
        assert job("run", *elsewhere).code == 4
        assert not dest.exists()
    job.run("--start-over", *elsewhere)
    assert_same_tree(source, dest)


def test_what_a_mirror_has_emptied_is_no_disk_that_is_missing(
    job: Reconcile, source: Path, dest: Path, tmp_path: Path
) -> None:
    flags = "--remote-workdir", str(tmp_path / "work"), "--mirror", "--allow-mass-delete"
    build_tree(source, {"f": "f"})
    job.run(*flags)
    (source / "f").unlink()
    job.run(*flags)
    assert os.listdir(dest) == []
    build_tree(source, {"g": "g"})
    job.run(*flags)
    assert os.listdir(dest) == ["g"]


def test_a_mark_that_is_gone_without_any_mount(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(source, {"f": "f"})
    job.run()
    dest.rename(dest.with_name("elsewhere"))
    build_tree(source, {"g": "g"})
    assert job("run").code == 4
    assert not dest.exists()
    dest.mkdir()
    assert job("run").code == 4
    assert os.listdir(dest) == []


def test_a_disk_below_dest(job: Reconcile, source: Path, dest: Path) -> None:
    tree = {"m": {"f": "f", "d": {"g": "g"}, "big": "x" * 3_000_000, "l": Link("f")}, "h": "h"}
    build_tree(source, tree)
    dest.mkdir()
    with mounted(dest / "m", *in_memory()):
        job.run("--mirror", "--adopt-existing")
        assert_same_tree(source, dest)
        build_tree(source, {"m": {"f": "new"}, "h": "new"})
        (source / "m/big").rename(source / "big")
        (source / "m/l").unlink()
        shutil.rmtree(source / "m/d")
        job.run("--mirror", "--allow-mass-delete")
        assert_same_tree(source, dest)
        assert {name for name in os.listdir(dest / "m") if name.startswith(".")} == set()


def test_a_full_disk(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(source, {"big": os.urandom(3 << 20), "small": "s", "gone": "x"})
    with mounted(dest, *in_memory("1m")):
        ran = job("run")
        assert ran.code == 3
        assert ran.problems == {"big": "no-space"}
        assert (dest / "small").read_text() == "s"
        (source / "big").unlink()
        job.run()


def test_a_disk_that_may_not_be_written(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(source, {"f": "f"})
    with mounted(dest, *in_memory(options="ro")):
        ran = job("run")
        assert ran.code == 6
        assert "read-only" in ran.document["message"]


def test_dest_in_src_is_told_and_left_out(source: Path, state: Path) -> None:
    build_tree(source, {"f": "f", "in": {"g": "g"}})
    job = Reconcile(source, str(source / "in/dest"), state)
    job.run("--mirror")
    again = job.run("--mirror")
    assert again.counts == {}
    assert [(note["path"], note["reason"]) for note in again.document["notes"]] == [("in/dest", "reserved")]
    assert set(read_tree(source / "in/dest")) - {".reconcile"} >= {"f", "in", "in/g"}
    assert not (source / "in/dest/in/dest").exists()


def test_a_followed_link_brings_no_dest_into_itself(source: Path, dest: Path, state: Path) -> None:
    build_tree(source, {"f": "f", "to": Link(str(dest))})
    build_tree(dest, {"theirs": "t"})
    job = Reconcile(source, str(dest), state)
    for _ in range(2):
        job.run("--links", "follow", "--adopt-existing")
    assert not (dest / "to").exists()


def test_holes_stay_holes(job: Reconcile, source: Path, dest: Path) -> None:
    with open(source / "sparse", "wb") as file:
        file.write(b"begins")
        file.seek(10 << 20)
        file.write(b"middle")
        file.truncate(30 << 20)
    job.run()
    assert_same_tree(source, dest)
    assert (dest / "sparse").stat().st_blocks * 512 < 1 << 20


def test_nothing_of_a_folder_that_may_not_be_written(source: Path, dest: Path, state: Path) -> None:
    build_tree(source, {"f": "f"})
    dest.mkdir(mode=0o555)
    ran = Reconcile(source, str(dest), state, bound=True)("run")
    assert ran.code == 6
    assert "permission denied" in ran.document["message"]
    dest.chmod(0o755)


def test_large_files_share_their_blocks_where_that_goes(tmp_path: Path) -> None:
    if shutil.which("mkfs.xfs") is None:
        pytest.skip("no file system that shares blocks")
    with open(tmp_path / "image", "wb") as image:
        image.truncate(400 << 20)
    subprocess.run(["mkfs.xfs", "-q", str(tmp_path / "image")], check=True)
    with mounted(tmp_path / "disk", "-o", "loop", str(tmp_path / "image")):
        source, dest = tmp_path / "disk/source", tmp_path / "disk/dest"
        build_tree(source, {"large": File(os.urandom(100 << 20), mode=0o640, mtime=10**9), "small": "s"})
        before = shutil.disk_usage(tmp_path / "disk").used
        Reconcile(source, str(dest), tmp_path / "state").run()
        assert_same_tree(source, dest)
        assert shutil.disk_usage(tmp_path / "disk").used - before < 10 << 20
        with open(source / "large", "r+b") as file:
            file.write(b"changed")
        assert (dest / "large").read_bytes()[:7] != b"changed"
        Reconcile(source, str(dest), tmp_path / "state").run()
        assert_same_tree(source, dest)


def test_a_link_as_dest_that_leads_elsewhere_by_now(source: Path, tmp_path: Path, state: Path) -> None:
    """What lies where it led is not there: nothing of ours is taken along, or believed to be there."""
    build_tree(source, {"f": "f", "g": "g"})
    build_tree(tmp_path, {"one": {}, "other": {}, "link": Link("one")})
    job = Reconcile(source, str(tmp_path / "link"), state)
    job.run()
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("other")
    (source / "f").write_text("changed")
    for command in (("run",), ("run", "--mirror", "--refresh")):
        refused = job(*command)
        assert refused.code == 4
        assert "its mark is missing" in refused.document["message"]
    assert os.listdir(tmp_path / "other") == []
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("one")
    job.run()
    assert (tmp_path / "one/f").read_text() == "changed"
