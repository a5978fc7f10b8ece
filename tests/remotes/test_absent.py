"""What one thread does without is there for all others."""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path

import pytest

from reconcile.remotes.ssh.absent import Absent

NAME = "wanted_by_some"


def test_only_who_does_without_it_misses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{NAME}.py").write_text("THERE = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    absent = Absent(NAME)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(NAME)
    others: list[bool] = []
    other = threading.Thread(target=lambda: others.append(importlib.import_module(NAME).THERE))
    other.start()
    other.join()
    assert others == [True]
    monkeypatch.delitem(sys.modules, NAME)
    absent.end()
    assert importlib.import_module(NAME).THERE
    monkeypatch.delitem(sys.modules, NAME)
