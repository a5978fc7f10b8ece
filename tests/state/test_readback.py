"""What was read back survives a run that breaks off, whatever becomes of the end of its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconcile.state.readback import NAME, ReadBack, forget

# As version 1 writes it; read for ever.
GOLDEN = bytes.fromhex(
    "5245434f4e52424b00000001"
    "0000001c722dc3ce322a680293a161c4053132203334c41011111111111111111111111111111111"
    "00000020"  # and the beginning of another
)


def known(folder: Path) -> dict[str, bytes | None]:
    with ReadBack(str(folder)) as read:
        return {path: read.recall(path, b"12 34") for path in ("a", "b/\udcff", "c")}


def note(folder: Path, path: str, digest: bytes) -> None:
    with ReadBack(str(folder)) as read:
        read.note(path, b"12 34", digest)
        assert read.recall(path, b"12 34") == digest
        assert read.recall(path, b"12 35") is None


def test_what_was_noted_is_known_later(tmp_path: Path) -> None:
    assert known(tmp_path) == {"a": None, "b/\udcff": None, "c": None}
    assert not list(tmp_path.iterdir()), "a look leaves nothing"
    note(tmp_path, "a", bytes(16))
    note(tmp_path, "b/\udcff", bytes(range(16)))
    note(tmp_path, "a", b"\x01" * 16)
    assert known(tmp_path) == {"a": b"\x01" * 16, "b/\udcff": bytes(range(16)), "c": None}
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    forget(str(tmp_path))
    forget(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_what_is_torn_hides_nothing_of_before_nor_of_later(tmp_path: Path) -> None:
    note(tmp_path, "a", bytes(16))
    whole = (tmp_path / NAME).read_bytes()
    note(tmp_path, "c", b"\x02" * 16)
    for end in range(len(whole), (tmp_path / NAME).stat().st_size):
        (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:end])
        assert known(tmp_path) == {"a": bytes(16), "b/\udcff": None, "c": None}
        note(tmp_path, "c", b"\x02" * 16)
        assert known(tmp_path)["c"] == b"\x02" * 16


@pytest.mark.parametrize("content", [b"", b"RECONRBK", b"RECONRBK\0\0\0\2" + bytes(40), b"x" * 99])
def test_what_is_not_ours_is_read_again(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert set(known(tmp_path).values()) == {None}
    note(tmp_path, "a", bytes(16))
    assert known(tmp_path)["a"] == bytes(16)


def test_a_file_of_version_1(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(GOLDEN)
    assert known(tmp_path) == {"a": b"\x11" * 16, "b/\udcff": None, "c": None}


def test_where_nothing_can_be_written_nothing_fails(tmp_path: Path) -> None:
    note(tmp_path / "missing", "a", bytes(16))
    assert not (tmp_path / "missing").exists()
