"""The state folder is ours alone: another owner's, or one with a link planted in it, is refused."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.state.lock import hold_lock
from tests.support.command import Reconcile
from tests.support.sshd import Sshd
from tests.support.trees import Tree, build_tree

REFUSED = 4
STRANGER = 12345  # uid

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def job(source: Path, dest: Path, state: Path, sshd: Sshd, tree: Callable[[Tree], Path]) -> Reconcile:
    """A job whose first run is done, and that has something to do."""
    tree({"a": "first"})
    job = Reconcile(source, sshd.url(dest), state, sshd.endpoint.flags())
    job.run()
    build_tree(source, {"b": "second"})
    return job


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    "name", ["journal.new", "lock", "lock.holder", "device.new", "server.new", "snapshot.bak", "snapshot"]
)
def test_a_link_planted_in_it(
    job: Reconcile, dest: Path, state: Path, tmp_path: Path, name: str, command: str
) -> None:
    (folder,) = state.iterdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(victim)
    refused = job(command)
    assert refused.code == REFUSED
    assert str(folder / name) in refused.document["message"]
    assert victim.read_text() == "precious"
    assert not (dest / "b").exists()


@as_root
@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("what", ["", "snapshot", "lock"])
def test_another_owner(job: Reconcile, dest: Path, state: Path, what: str, command: str) -> None:
    (folder,) = state.iterdir()
    os.chown(folder / what, STRANGER, STRANGER)
    refused = job(command)
    assert refused.code == REFUSED
    assert "Nothing was done" in refused.document["message"]
    assert not (dest / "b").exists()


def test_a_file_with_a_second_name_elsewhere_is_not_written_through(
    job: Reconcile, state: Path, tmp_path: Path
) -> None:
    (folder,) = state.iterdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("journal.new", "lock.holder", "device.new", "problems.new", "server.new"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).hardlink_to(victim)
    assert job.run().counts == {"create": 1}
    assert victim.read_text() == "precious"


def test_the_base_may_be_a_link(job: Reconcile, state: Path) -> None:
    moved = state.with_name("elsewhere")
    state.rename(moved)
    state.symlink_to(moved)
    assert job.run().counts == {"create": 1}


def test_a_mistyped_source_leaves_no_folder(job: Reconcile, source: Path, state: Path) -> None:
    before = list(state.iterdir())
    wrong = Reconcile(source.with_name("sauce"), job.target, state, job.flags)
    assert wrong("run").code == REFUSED
    assert list(state.iterdir()) == before


def test_a_first_run_of_which_nothing_came_leaves_no_folder(
    source: Path, dest: Path, state: Path, sshd: Sshd, tree: Callable[[Tree], Path]
) -> None:
    tree({"a": "first"})
    build_tree(dest, {"theirs": "x"})
    job = Reconcile(source, sshd.url(dest), state, sshd.endpoint.flags())
    assert job("run").code == REFUSED
    assert list(state.iterdir()) == []
    assert job.run("--adopt-existing").counts == {"create": 1}


def test_the_lock_outlives_that_it_is_removed_while_others_wait(tmp_path: Path) -> None:
    folder, order = tmp_path / "job", list[str]()
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        with hold_lock(str(folder)):
            entered.set()
            leave.wait()
            order.append("first")

    def later(name: str) -> None:
        with hold_lock(str(folder), wait=60):
            (folder / "inside").touch(exist_ok=False)
            order.append(name)
            (folder / "inside").unlink()

    threads = [threading.Thread(target=first), *(threading.Thread(target=later, args=(n,)) for n in "xy")]
    threads[0].start()
    entered.wait()
    for thread in threads[1:]:
        thread.start()
    leave.set()
    for thread in threads:
        thread.join()
    assert order[0] == "first"
    assert sorted(order[1:]) == ["x", "y"]
    assert not folder.exists()
