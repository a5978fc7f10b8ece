"""Without a mirror nothing that holds content is purged, whatever comes into its place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.core.job import Options
from reconcile.core.model import Kind, Op, Reason
from tests.support.command import Reconcile
from tests.support.memory import LocalTree
from tests.support.sshd import Sshd
from tests.support.trees import Link, build_tree
from tests.support.world import World, files, synced

PHOTOS = {f"{n}.jpg": f"photo {n}" for n in range(8)}
REST = {f"k{n}": "k" for n in range(30)}


@pytest.fixture
def job(source: Path, dest: Path, state: Path, sshd: Sshd) -> Reconcile:
    return Reconcile(source, sshd.url(dest), state, sshd.endpoint.flags())


def contents(dest: Path) -> dict[str, list[Path]]:
    """Where each content is, the trash included."""
    found: dict[str, list[Path]] = {}
    for path in dest.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found.setdefault(path.read_text(), []).append(path)
    return found


def becomes_link(source: Path) -> None:
    shutil.rmtree(source / "photos")
    os.symlink("/big/photos", source / "photos")


def becomes_file(source: Path) -> None:
    shutil.rmtree(source / "photos")
    (source / "photos").write_text("a list of them")


def is_replaced_by_a_moved_file(source: Path) -> None:
    shutil.rmtree(source / "photos")
    (source / "k0").rename(source / "photos")


@pytest.mark.parametrize("change", [becomes_link, becomes_file, is_replaced_by_a_moved_file])
def test_a_folder_that_makes_room_is_kept(
    job: Reconcile, source: Path, dest: Path, change: Callable[[Path], None]
) -> None:
    build_tree(source, {"photos": PHOTOS, **REST})
    job.run()
    (source / "photos/0.jpg").unlink()  # deleted here, and so it stays there
    job.run()
    (dest / "photos/theirs").write_text("somebody else's")
    change(source)
    planned, ran = job.plan(), job.run()
    for document in (planned.document, ran.document):
        notes = {note["path"]: note for note in document["notes"] if note["reason"] == Reason.KEPT}
        assert "kept trash" in notes["photos"]["message"]
    held = contents(dest)
    assert {*PHOTOS.values(), "somebody else's"} <= held.keys()
    assert all("kept" in path.parts for photo in PHOTOS.values() for path in held[photo])
    assert job.run().counts == {}


def test_a_file_that_becomes_a_folder_or_a_link_is_kept(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(source, {"disk.img": "image", "notes": "old notes", "log": "entries", **REST})
    job.run()
    for name in ("disk.img", "notes", "log"):
        (source / name).unlink()
    build_tree(source, {"disk.img": Link("/big/disk.img"), "notes": {"today": "new"}, "link": Link("x")})
    (source / "link").rename(source / "log")
    job.run()
    assert {"image", "old notes", "entries"} <= contents(dest).keys()
    assert os.readlink(dest / "disk.img") == "/big/disk.img"
    assert job.run().counts == {}


def test_a_mirror_purges_what_makes_room(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(source, {"photos": PHOTOS, **REST})
    job.run()
    becomes_link(source)
    ran = job.run("--mirror")
    assert not contents(dest).keys() & PHOTOS.values()
    assert Reason.KEPT not in {note["reason"] for note in ran.document["notes"]}


def swap_for(kind: Kind) -> Callable[[LocalTree], None]:
    def change(tree: LocalTree) -> None:
        tree.remove("d")
        tree.put("d", kind, "new")

    return change


@pytest.mark.parametrize("kind", [Kind.FILE, Kind.SYMLINK])
def test_a_folder_without_a_file_leaves_nothing_to_keep(kind: Kind) -> None:
    world = synced(
        *files(30, "rest"),
        lambda t: t.put("d/e", Kind.DIR, mode=0o755),
        lambda t: t.put("d/l", Kind.SYMLINK, "x"),
    )
    world.edit([swap_for(kind)])
    plan, _ = world.reconcile(Options())
    assert [action.keep for action in plan.actions if action.op is Op.DELETE] == [False]
    assert not plan.notes


def test_what_lies_where_a_folder_moves_to_is_kept() -> None:
    world: World = synced(*files(5, "new"), lambda t: t.put("at", Kind.FILE, "precious"))
    world.local.remove("at")
    world.local.rename("new", "at")
    plan, _ = world.reconcile(Options())
    [cleared] = [action for action in plan.actions if action.op is Op.DELETE]
    assert (cleared.path, cleared.keep) == ("at", True)
    assert [note.path for note in plan.notes] == ["at"]


def test_a_file_gone_here_is_kept_where_a_renamed_folder_brings_another_of_its_name(
    job: Reconcile, source: Path, dest: Path
) -> None:
    """What stands there may be the only copy, and is no earlier state of what comes."""
    build_tree(source, {"card": {"1.jpg": "last year", "2.jpg": "the same"}, **REST})
    job.run()
    shutil.rmtree(source / "card")
    job.run()
    build_tree(source, {"new": {"1.jpg": "this year", "2.jpg": "the same", "3.jpg": "more"}})
    job.run()
    (source / "new").rename(source / "card")
    planned, ran = job.plan(), job.run()
    for document in (planned.document, ran.document):
        [note] = [note for note in document["notes"] if note["reason"] == Reason.KEPT]
        assert note["path"] == "card/1.jpg"
        assert note["message"].startswith(
            "another file was moved there; the file on the remote goes to the kept"
        )
    held = contents(dest)
    assert [path.relative_to(dest).parts[-4:] for path in held["last year"]] == [
        ("trash", "kept", "card", "1.jpg")
    ]
    assert held["this year"] == [dest / "card/1.jpg"]
    assert not any("kept" in path.parts for path in held["the same"])
    assert job.run("--refresh").counts == {}


def test_a_mirror_keeps_no_file_that_another_was_moved_over() -> None:
    world: World = synced(*files(5, "rest"), lambda t: t.put("a", Kind.FILE, "one"))
    world.local.remove("a")
    world.reconcile(Options())
    world.local.rename("rest/f0", "a")
    plan, _ = world.reconcile(Options(mirror=True))
    assert not any(action.keep for action in plan.actions)
