"""The snapshot's format: everything comes back, every damage is a refusal with ways out."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconcile.core.errors import Refused
from reconcile.core.filters import make_filter
from reconcile.core.job import Options
from reconcile.core.model import DirectorySnapshot, Entry, Kind, PlainDirectory
from reconcile.source.scan import scan
from reconcile.state.rows import PackedDirectory
from reconcile.state.snapshot import FORMAT, MAGIC, load
from tests.golden.make_snapshot import GOLDEN, HERE, dumped, golden_snapshot, sealed, unsealed
from tests.state.test_rows import ENTRIES, NAMES


def contents(snapshot: DirectorySnapshot) -> dict[str, dict[str, Entry]]:
    return {path: dict(directory.entries()) for path, directory in snapshot.dirs.items()}


def header(snapshot: DirectorySnapshot) -> DirectorySnapshot:
    return replace(snapshot, dirs={})


@pytest.mark.parametrize("end", GOLDEN)
@pytest.mark.parametrize("version", range(1, FORMAT + 1))
def test_every_version_ever_written_can_be_read(version: int, end: str) -> None:
    loaded = load((HERE / f"snapshot-v{version}{end}.msgpack").read_bytes())
    assert header(loaded) == header(GOLDEN[end]())
    assert contents(loaded) == contents(GOLDEN[end]())


@pytest.mark.parametrize("end", GOLDEN)
@pytest.mark.parametrize("version", range(1, FORMAT + 1))
def test_what_was_read_from_any_version_is_saved_in_the_present_one(version: int, end: str) -> None:
    """Directories stay packed as they were: of the version before, that is."""
    loaded = load((HERE / f"snapshot-v{version}{end}.msgpack").read_bytes())
    again = dumped(loaded)
    assert unsealed(again)[0] == FORMAT
    assert header(load(again)) == header(GOLDEN[end]())
    assert contents(load(again)) == contents(GOLDEN[end]())


@pytest.mark.parametrize("end", GOLDEN)
def test_the_present_version_writes_the_same_bytes(end: str) -> None:
    assert dumped(GOLDEN[end]()) == (HERE / f"snapshot-v{FORMAT}{end}.msgpack").read_bytes()


def test_a_golden_file_is_never_overwritten() -> None:
    path = HERE / f"snapshot-v{FORMAT}.msgpack"
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden.make_snapshot"],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "stays as it is" in done.stderr
    assert path.read_bytes() == before


@given(
    st.dictionaries(
        st.lists(NAMES, max_size=3).map("/".join), st.dictionaries(NAMES, ENTRIES, max_size=3), max_size=4
    )
)
def test_everything_comes_back(dirs: dict[str, dict[str, Entry]]) -> None:
    snapshot = replace(
        golden_snapshot(), dirs={path: PlainDirectory(entries) for path, entries in dirs.items()}
    )
    loaded = load(dumped(snapshot))
    assert contents(loaded) == dirs
    assert list(loaded.dirs) == list(dirs)
    assert dumped(loaded) == dumped(snapshot)


def test_a_loaded_directory_compares_with_a_scan(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"some")
    found = scan(str(tmp_path), make_filter([]), Options())
    loaded = load(dumped(DirectorySnapshot(found.dirs)))
    assert {path: entry.raw for path, entry in loaded.dirs.items()} == {
        path: entry.raw for path, entry in found.dirs.items()
    }


def test_what_stayed_packed_is_not_packed_again() -> None:
    loaded = load(dumped(golden_snapshot()))
    undecodable = PackedDirectory(b"never looked at", b"")
    again = load(dumped(replace(loaded, dirs={**loaded.dirs, "x": undecodable})))
    assert again.dirs["x"].raw == b"never looked at"


def test_every_truncation_and_every_extra_byte_is_refused() -> None:
    data = dumped(golden_snapshot())
    for damaged in [*(data[:end] for end in range(len(data))), data + b"\0", data + data]:
        with pytest.raises(Refused, match=r"\.bak.*--start-over"):
            load(damaged)


def test_every_flipped_bit_is_refused() -> None:
    data = dumped(golden_snapshot())
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << random.randrange(8)
        with pytest.raises(Refused, match=r"\.bak.*--start-over"):
            load(bytes(damaged))


def test_a_newer_version_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="newer reconcile"):
        load(sealed({"what": "ever"}, version=FORMAT + 1), "The snapshot x")


def parts() -> tuple[dict[str, object], list[object]]:
    _, [head, flat] = unsealed(dumped(golden_snapshot()))
    return head, flat


@pytest.mark.parametrize("path", ["..", "/etc", "a/../b", "a//b", "a/", "./a", "a/.", "a\0b", "dir", 7, None])
def test_paths_that_lead_elsewhere_are_refused(path: object) -> None:
    head, flat = parts()
    load(sealed([head, flat]))
    with pytest.raises(Refused, match="no snapshot can hold"):
        load(sealed([head, [*flat[:-3], path, *flat[-2:]]]))


@pytest.mark.parametrize(
    "changes",
    [
        {"serial": "1"},
        {"lineage": "../x"},
        {"lineage": ".."},
        {"directories": 2},
        {"extra": 1},
    ],
)
def test_headers_that_are_none_are_refused(changes: dict[str, object]) -> None:
    head, flat = parts()
    with pytest.raises(Refused, match="no snapshot can hold"):
        load(sealed([head | changes, flat]))


@given(st.binary(max_size=40))
def test_rubbish_with_a_good_checksum_is_refused(body: bytes) -> None:
    content = MAGIC + (1).to_bytes(4, "big") + body
    with pytest.raises(Refused):
        load(content + xxhash.xxh3_128_digest(content))


@pytest.mark.parametrize("path", ["..", "a//b", "/a", "a\0"])
def test_what_could_not_be_loaded_is_not_dumped(path: str) -> None:
    with pytest.raises(ValueError, match="below the base"):
        dumped(DirectorySnapshot({path: PlainDirectory({"x": Entry(Kind.DIR, 0o700)})}))
