"""Fixtures for the tests of what speaks SFTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from reconcile.model import Job, Options
from tests.support.quirky import Quirk, reach, start_quirky


@pytest.fixture
def job_to(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Job]]:
    """``job_to(*quirks)``: a job whose server has them; it shows ``remote`` and brings to ``remote/dest``."""
    (tmp_path / "remote").mkdir()
    with ExitStack() as stack:

        def job_to(*quirks: Quirk, options: Options = Options(mirror=True)) -> Job:
            server = stack.enter_context(start_quirky(tmp_path / "remote", *quirks))
            target, login = reach(server, tmp_path / "known_hosts", "/dest", monkeypatch)
            return Job(str(source), target, str(tmp_path / "state"), options, login)

        yield job_to
