"""Fixtures for what starts OpenSSH's client."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import descendants, wait_for


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the client's own folder goes, by a short path. No process is left, no thread, no file."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    before = set(descendants(os.getpid()))
    yield place
    wait_for(lambda: set(descendants(os.getpid())) <= before, "processes to end")
    wait_for(lambda: not any("ssh" in thread.name for thread in threading.enumerate()), "threads to end")
    place.rmdir()
