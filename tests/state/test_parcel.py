"""What is put at DEST comes back as it was, or is refused with the ways out."""

from __future__ import annotations

import random

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from reconcile.core.errors import Refused
from reconcile.state.parcel import FORMAT, MAGIC, pack, unpack
from tests.golden.make_snapshot import HERE

GOLDEN = {"snapshot": b"one\0" * 9, "journal": b"", "é": b"\xff"}


@given(st.dictionaries(st.text(), st.binary()))
def test_all_comes_back(files: dict[str, bytes]) -> None:
    assert unpack(pack(files), "It") == files


@pytest.mark.parametrize("version", range(1, FORMAT + 1))
def test_every_version_ever_put_there_can_be_read(version: int) -> None:
    assert unpack((HERE / f"parcel-v{version}.bin").read_bytes(), "It") == GOLDEN


def test_every_damage_is_refused() -> None:
    whole = pack(GOLDEN)
    for _ in range(200):
        data = bytearray(whole)
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        with pytest.raises(Refused, match="start-over"):
            unpack(bytes(data), "It")
    for end in range(len(whole)):
        with pytest.raises(Refused, match="start-over"):
            unpack(whole[:end], "It")


@pytest.mark.parametrize("content", [b"", b"x", b"\x78\x9c", pack({})[12:-17]])
def test_what_makes_no_sense_is_refused_though_nothing_is_damaged(content: bytes) -> None:
    data = MAGIC + FORMAT.to_bytes(4, "big") + content
    with pytest.raises(Refused, match="holds what no state can hold"):
        unpack(data + xxhash.xxh3_128_digest(data), "It")


def test_a_later_version_is_refused_by_name() -> None:
    data = MAGIC + (FORMAT + 1).to_bytes(4, "big") + b"whatever"
    with pytest.raises(
        Refused, match=rf"newer reconcile \(format {FORMAT + 1}; this one reads up to {FORMAT}\)"
    ):
        unpack(data + xxhash.xxh3_128_digest(data), "It")
