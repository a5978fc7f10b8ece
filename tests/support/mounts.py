"""File systems of their own, where we may mount some."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(place: Path, *how: str) -> Iterator[None]:
    """``mount HOW PLACE``; the test is left out where that is not for us."""
    place.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or _run("mount", *how, str(place)):
        pytest.skip("mounts nothing")
    try:
        yield
    finally:
        _run("umount", "-l", str(place))


def in_memory(size: str = "16m", options: str = "mode=755") -> tuple[str, ...]:
    """How such a file system is mounted."""
    return "-t", "tmpfs", "-o", f"size={size},{options}", "tmpfs"


def unmount(place: Path) -> None:
    """At once."""
    assert _run("umount", str(place)) == 0


def _run(*command: str) -> int:
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode
