"""The patterns that go with the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconcile.core.errors import Refused, UsageError
from reconcile.source.ignorefile import read_ignore_file


def test_the_ignore_file(tmp_path: Path) -> None:
    path = tmp_path / ".reconcileignore"
    assert read_ignore_file(str(tmp_path)) == []
    path.write_bytes(b"\xef\xbb\xbf*.pyc\r\n\xff\n!x")
    assert read_ignore_file(str(tmp_path)) == ["*.pyc", "\udcff", "!x"]
    path.write_bytes(b"#" * (1 << 20) + b"#")
    with pytest.raises(Refused, match="larger than 1 MiB"):
        read_ignore_file(str(tmp_path))
    path.unlink()
    path.symlink_to("elsewhere")
    with pytest.raises(Refused, match="is a symbolic link"):
        read_ignore_file(str(tmp_path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Refused, match="is not a regular file"):
        read_ignore_file(str(tmp_path))


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    (tmp_path / ".reconcileignore").write_text("*.tmp\nbackup[1\n")
    with pytest.raises(UsageError, match=r"^\.reconcileignore, line 2: .*backup\[1"):
        read_ignore_file(str(tmp_path))
