"""Trees to copy: the same bytes and times on every machine, made when first asked for."""

from __future__ import annotations

import os
import random
import shutil
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SEED = 20240229
BORN = 1_600_000_000  # mtime of the oldest file, seconds
NO_SOURCE = {"__pycache__", "site-packages", "dist-packages"}
BLOCK = 8 * 1024 * 1024


@dataclass(frozen=True)
class Tree:
    """A folder that is not changed once it is made. ``files``: files, and folders that hold nothing."""

    path: Path
    files: int
    bytes: int


def make_files(path: Path, count: int, size: int, per_folder: int) -> Tree:
    """``count`` files of ``size`` bytes, ``per_folder`` to a folder."""
    pool = random.Random(SEED).randbytes(size + 64 * 1024)
    for index in range(count):
        if index % per_folder == 0:
            folder = path / f"folder-{index // per_folder:05d}"
            folder.mkdir(parents=True)
            base = os.fspath(folder)
        start = index * 13 % (64 * 1024)
        number = b"%016d" % index  # no two are equal
        _write(f"{base}/file-{index:07d}.dat", (number + pool[start : start + size])[:size], BORN + index)
    return Tree(path, count, count * size)


def make_large(path: Path, count: int, size: int, per_folder: int = 0) -> Tree:
    """``count`` files of ``size`` bytes that don't compress, in folders if ``per_folder`` is given."""
    for index in range(count):
        dice = random.Random(SEED + index)
        folder = path / f"folder-{index // per_folder}" if per_folder else path
        folder.mkdir(parents=True, exist_ok=True)
        name = folder / f"large-{index}.bin"
        with name.open("wb") as out:
            for start in range(0, size, BLOCK):
                out.write(dice.randbytes(min(BLOCK, size - start)))
        os.utime(name, (BORN + index, BORN + index))
    return Tree(path, count, count * size)


def make_folders(path: Path, count: int, per_folder: int) -> Tree:
    """``count`` folders and nothing in them; one in ``per_folder`` holds the others."""
    for index in range(count):
        outer, inner = divmod(index, per_folder)
        (path / f"outer-{outer:04d}" / (f"inner-{inner:04d}" if inner else "")).mkdir(parents=True)
    return measure_tree(path)


def copy_source_tree(path: Path) -> Tree:
    """The standard library of the Python that runs this, sources only: nested, and of every size."""
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, path, ignore=_no_source, symlinks=True)
    return measure_tree(path)


def take_share(tree: Tree, path: Path, share: int) -> Tree:
    """A copy of the first 1/``share`` of a tree's files in order of names, with the folders they are in."""
    for name in sorted(_leaves(tree.path))[: tree.files // share]:
        there = path / name.relative_to(tree.path)
        if name.is_dir():
            there.mkdir(parents=True)
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, there, follow_symlinks=False)
    return measure_tree(path)


def measure_tree(path: Path) -> Tree:
    """Count what is there."""
    leaves = list(_leaves(path))
    return Tree(path, len(leaves), sum(leaf.stat().st_size for leaf in leaves if leaf.is_file()))


def _leaves(path: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(path):
        if not folders and not names:
            yield Path(folder)
        yield from (Path(folder, name) for name in names)


def _no_source(folder: str, names: list[str]) -> set[str]:
    # What is neither file, folder nor link would be no fair work: peers differ in what they do with it.
    return {n for n in names if n in NO_SOURCE or n.endswith(".pyc") or _odd(os.path.join(folder, n))}


def _odd(path: str) -> bool:
    return os.path.islink(path) or not (os.path.isdir(path) or os.path.isfile(path))


def _write(path: str, content: bytes, mtime: int) -> None:
    with open(path, "wb", buffering=0) as out:
        out.write(content)
    os.utime(path, (mtime, mtime))
