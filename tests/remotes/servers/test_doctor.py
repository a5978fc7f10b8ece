"""What doctor says of real servers is what the README says of them, and it leaves nothing there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reconcile.remotes.tree import pace
from tests.doctors import KEPT, SHOWN, essence, examine
from tests.support.servers import Missing, start_server


@pytest.mark.parametrize("name", SHOWN)
def test_it_is_as_the_readme_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, look at the difference, then run ``python -m tests.doctors``, and ``tests.readme``."""
    monkeypatch.setattr(pace, "SECONDS", 0.05)
    kept = json.loads(KEPT.read_text())[name]
    try:
        with start_server(name, tmp_path) as server:
            found = essence(examine(server))
            assert os.listdir(server.folder / "dest") == []
    except Missing as missing:
        pytest.skip(str(missing))
    if found["software"] == kept["software"]:
        assert found == kept
