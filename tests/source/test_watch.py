"""What is told of a folder that changes, and when nothing can be told any more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from reconcile.source.watch import Watcher
from tests.support.processes import wait_for

Watch = Callable[..., Watcher]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """``watch(*folders)``, which ends with the test."""
    watchers = []

    def start(*folders: Path) -> Watcher:
        watchers.append(Watcher([str(folder) for folder in folders], lambda: False))
        assert watchers[-1].blind == ""
        return watchers[-1]

    yield start
    for watcher in watchers:
        watcher.close()


def wait_to_hear(watcher: Watcher, *what: tuple[int, str]) -> None:
    heard: set[tuple[int, str]] = set()

    def all_of_it() -> bool:
        heard.update(watcher.look())
        return heard >= set(what)

    wait_for(all_of_it, f"news of {what}", 60)


def folders(top: Path, names: Sequence[str]) -> list[Path]:
    for name in names:
        (top / name).mkdir()
    return [top / name for name in names]


def test_which_folder_and_what_in_it(watch: Watch, tmp_path: Path) -> None:
    one, other, inner = folders(tmp_path, ["one", "one.two", "one/in"])
    (tmp_path / "link").symlink_to(one)
    watcher = watch(one, other, inner, tmp_path / "link")
    (inner / "x").write_text("x")
    wait_to_hear(watcher, (0, "in/x"), (2, "x"), (3, "in/x"))
    (other / "y").write_text("y")
    wait_to_hear(watcher, (1, "y"))
    assert not watcher.is_lost()


def test_a_folder_that_is_made_anew(watch: Watch, tmp_path: Path) -> None:
    source, other = folders(tmp_path, ["source", "other"])
    watcher = watch(source, other)
    source.rmdir()
    wait_to_hear(watcher, (0, ""))
    assert not watcher.is_lost(), "there is nothing to be watched instead"
    source.mkdir()
    assert watcher.is_lost()


def test_a_folder_that_comes_later(watch: Watch, tmp_path: Path) -> None:
    watcher = watch(tmp_path / "later")
    assert not list(watcher.look())
    assert not watcher.is_lost()
    (tmp_path / "later").mkdir()
    assert watcher.is_lost()


def test_a_name_that_is_no_text(watch: Watch, tmp_path: Path) -> None:
    """The library can't tell it, and says nothing any more."""
    watcher = watch(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).touch()

    def lost() -> bool:
        list(watcher.look())
        return watcher.is_lost()

    wait_for(lost, "the watcher to break", 60)


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.mkdir(folder)
    watcher = Watcher([folder], lambda: False)
    assert "surrogates not allowed" in watcher.blind
    assert not list(watcher.look())
