"""A job to a server that goes wrong in its own ways: fixtures for all tests, made known in ``conftest``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from reconcile.core.job import Job, Options
from reconcile.serve.files import Files
from reconcile.serve.server import Server
from tests.support.quirky import Quirk, reach, start_quirky

JobTo = Callable[..., Job]


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """The folder that such a server shows."""
    folder = tmp_path / "remote"
    folder.mkdir()
    return folder


@pytest.fixture
def job_to(tmp_path: Path, source: Path, served: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobTo]:
    """``job_to(*quirks)``: a job whose server has them; it brings to ``served/dest``.

    ``interface``: what does with files as no quirk does.
    """
    with ExitStack() as stack:

        def job_to(
            *quirks: Quirk, options: Options | None = None, interface: type[Files] | None = None
        ) -> Job:
            if interface is not None:
                odd = Server(served, user="user", password="pw", interface=interface)
                server = stack.enter_context(odd)
            else:
                server = stack.enter_context(start_quirky(served, *quirks))
            target, login = reach(server, tmp_path / "known_hosts", "/dest", monkeypatch)
            return Job(str(source), target, str(tmp_path / "state"), options or Options(mirror=True), login)

        yield job_to
