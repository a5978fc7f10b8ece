from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from reconcile.core.chmod import Chmod, parse_chmod
from reconcile.core.errors import UsageError
from reconcile.core.model import Kind


def bits(text: str, kind: str, mode: int) -> str:
    formats = {"f": stat.S_IFREG, "d": stat.S_IFDIR, "l": stat.S_IFLNK}
    found = parse_chmod(text).of(formats[kind] | mode)
    assert stat.S_IFMT(found) == formats[kind]
    return f"{found & 0o7777:o}"


@pytest.mark.parametrize(
    ("text", "file", "folder"),
    [
        ("D755,F644", "644", "755"),
        ("F0600", "600", "700"),
        ("Dgo=rx,Fu+w,Fgo=", "600", "755"),
        ("a+X", "600", "711"),
        ("u+x,a+X", "711", "711"),
        ("go=u", "666", "777"),
        ("o+r-w", "604", "704"),
        ("F644,Fo=", "640", "700"),
    ],
)
def test_what_becomes_of_a_mode(text: str, file: str, folder: str) -> None:
    assert (bits(text, "f", 0o600), bits(text, "d", 0o700)) == (file, folder)
    assert bits(text, "l", 0o777) == "777"


def test_a_folder_stays_one_that_its_owner_can_read() -> None:
    assert bits("644", "d", 0o755) == "744"
    assert bits("D=", "d", 0o755) == "500"


def test_nothing_is_said_of_the_other_kind() -> None:
    chmod = parse_chmod("F644")
    assert chmod.names(Kind.FILE)
    assert not chmod.names(Kind.DIR)
    assert not chmod.names(Kind.SYMLINK)
    assert bits("F644", "d", 0o2711) == "2711"  # what is not sent is not touched either
    assert not Chmod()


@pytest.mark.parametrize("text", ["u+rw,g-x", "a=r,u+w", "g=u,o=g", "ugo-w+X", "u=,g=rx", "o=u-w", "754"])
@pytest.mark.parametrize("mode", [0o000, 0o641, 0o755, 0o777])
def test_it_is_what_chmod_does(text: str, mode: int, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch()
    file.chmod(mode)
    subprocess.run(["chmod", text, file], check=True)
    assert bits(text, "f", mode) == f"{stat.S_IMODE(os.stat(file).st_mode):o}"


@pytest.mark.parametrize("text", ["", "D", "644,", "X644", "F888", "F4755", "u+s", "+t", "u+rw g-x", "d755"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--chmod"):
        parse_chmod(text)
