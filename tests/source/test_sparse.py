"""Mostly holes: told before hours of zeros are sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconcile.core.model import Action, Entry, Kind, Op, Plan
from reconcile.source.files import Source
from reconcile.source.sparse import LARGE, tell_sparse


def told(source: Path) -> list[str]:
    actions = [
        Action(Op.CREATE, path.name, new=Entry(Kind.FILE, 0o644, path.stat().st_size))
        for path in sorted(source.iterdir())
    ]
    with Source(str(source)) as opened:
        return list(tell_sparse(Plan([actions]), opened))


def make_sparse(path: Path, size: int, *data: tuple[int, int]) -> None:
    with path.open("wb") as file:
        file.truncate(size)
        for start, length in data:
            file.seek(start)
            file.write(os.urandom(length))


def test_a_sparse_file_is_told(source: Path) -> None:
    make_sparse(source / "giant", 1 << 40, (0, 4096), (1 << 39, 4096))
    make_sparse(source / "hole", 2 * LARGE)
    if (source / "giant").stat().st_blocks > 1000:
        pytest.skip("no sparse files here")
    giant, hole = told(source)
    assert "'giant' is sparse" in giant
    assert f"only {8192:,} hold data" in giant
    assert "only 0 hold data" in hole


def test_others_are_not(source: Path) -> None:
    make_sparse(source / "small", LARGE - 1)
    make_sparse(source / "half", 2 * LARGE, (0, LARGE + 4096))
    (source / "swapped").symlink_to("/dev/zero")
    assert told(source) == []
    actions = [Action(Op.CREATE, name, new=Entry(Kind.FILE, 0o644, LARGE)) for name in ("none", "swapped")]
    with Source(str(source)) as opened:
        assert list(tell_sparse(Plan([actions]), opened)) == []
