"""A real ssh-agent, with keys of ours."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import end_tree, wait_for


@contextmanager
def start_agent(folder: Path, *keys: Path, confirm: bool = False) -> Iterator[str]:
    """An ssh-agent that holds ``keys``; yields its socket. ``confirm``: it asks somebody who isn't there."""
    path = str(folder / "agent")
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: _listens(path), "ssh-agent")
        env = {**os.environ, "SSH_AUTH_SOCK": path}
        add = ["ssh-add", "-q", *(["-c"] if confirm else []), *map(str, keys)]
        if keys:
            subprocess.run(add, env=env, check=True, stdin=subprocess.DEVNULL)
        yield path
    finally:
        end_tree(process)


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        return line.connect_ex(path) == 0
