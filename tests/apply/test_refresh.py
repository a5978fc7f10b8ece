"""``--refresh``: what somebody else did to DEST is found, and put right."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import Reconcile
from tests.support.faults import Fault
from tests.support.sshd import Sshd
from tests.support.trees import File, Link, Tree, assert_same_tree, build_tree

OLD = 1_600_000_000  # an mtime that no clock takes for now


@pytest.fixture
def job(source: Path, dest: Path, state: Path, sshd: Sshd, tree: Callable[[Tree], Path]) -> Reconcile:
    """A job whose first run is done."""
    tree(
        {
            "same": File("same", mtime=OLD),
            "gone": File("gone", mtime=OLD),
            "edited": File("edited", mtime=OLD),
            "closed": File("closed", mode=0o644, mtime=OLD),
            "link": Link("same"),
            "folder": {"a": File("a", mtime=OLD), "deeper": {"b": File("b", mtime=OLD)}},
            "private": {"c": File("c", mtime=OLD)},
        }
    )
    job = Reconcile(source, sshd.url(dest), state, sshd.endpoint.flags())
    job.run()
    return job


def meddle(dest: Path) -> None:
    (dest / "gone").unlink()
    (dest / "edited").write_text("edited by a third hand")
    (dest / "closed").chmod(0o600)
    (dest / "link").unlink()
    (dest / "link").symlink_to("gone")
    shutil.rmtree(dest / "folder")
    (dest / "folder").write_text("a file in its place")
    (dest / "private").chmod(0o700)


def test_what_somebody_did_is_put_right(job: Reconcile, source: Path, dest: Path) -> None:
    meddle(dest)
    assert job.run().counts == {}, "without it nothing is looked at"
    planned = job.plan("--refresh")
    ran = job.run("--refresh")
    assert planned.counts == ran.counts == {"create": 5, "mkdir": 2, "setmeta": 2}
    assert_same_tree(source, dest)
    kept = {path.read_bytes() for path in (dest / ".reconcile").rglob("trash/kept/**/*") if path.is_file()}
    assert kept == {b"edited by a third hand", b"a file in its place"}
    assert job.run("--refresh").counts == {}


def test_what_was_put_beside_ours_stays(job: Reconcile, source: Path, dest: Path) -> None:
    (dest / "folder/foreign").write_text("not ours")
    assert job.run("--refresh", "--mirror").counts == {}
    assert (dest / "folder/foreign").read_text() == "not ours"


def test_modes_that_are_not_ours_to_set_are_left(job: Reconcile, dest: Path) -> None:
    (dest / "closed").chmod(0o600)
    assert job.run("--refresh", "--perms", "ignore").counts == {}
    assert (dest / "closed").stat().st_mode & 0o777 == 0o600


def test_what_was_seen_is_known_even_if_the_run_breaks_off(
    source: Path, dest: Path, state: Path, shim_sshd: Sshd
) -> None:
    build_tree(source, {name: File(name, mode=0o644, mtime=OLD) for name in ("closed", "gone")})
    job = Reconcile(source, shim_sshd.url(dest), state, shim_sshd.endpoint.flags())
    job.run()
    (dest / "closed").chmod(0o600)
    (dest / "gone").unlink()
    shim_sshd.arm(Fault("cut", 1, kind="MKDIR"))
    assert job("run", "--refresh", "--retries", "0").code == 6
    assert not shim_sshd.armed
    assert job.run().counts == {"create": 1, "setmeta": 1}
    assert_same_tree(source, dest)


def test_a_retained_file_that_is_gone_is_forgotten(job: Reconcile, source: Path, dest: Path) -> None:
    for name in ("same", "gone"):
        (source / name).unlink()
    job.run()
    (dest / "gone").unlink()
    (dest / "same").chmod(0o600)
    assert job.run("--refresh").counts == {}
    assert job.run("--mirror").counts == {"delete": 1}
    assert not os.path.lexists(dest / "same")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give a folder away")
@pytest.mark.parametrize("mode", [0o700, 0o711])  # nothing in it can be looked at; it can't be listed
def test_what_can_not_be_seen_is_taken_to_be_there(
    source: Path, dest: Path, state: Path, bound_sshd: Sshd, tree: Callable[[Tree], Path], mode: int
) -> None:
    tree({"closed": {"a": "a", "deeper": {"b": "b"}}, "open": "x"})
    job = Reconcile(source, bound_sshd.url(dest), state, [*bound_sshd.endpoint.flags(), "--perms", "ignore"])
    job.run()
    os.chown(dest / "closed", 54321, 54321)
    (dest / "closed").chmod(mode)
    (dest / "open").write_text("changed")
    ran = job.run("--refresh", "--mirror")
    assert ran.counts == {"create": 1}
    assert "the server does not list 'closed'" in str(ran.document["notes"])
    assert job.run("--mirror").counts == {}
    os.chown(dest / "closed", 0, 0)
    assert job.run("--refresh", "--mirror").counts == {}, "nothing of it was forgotten"
