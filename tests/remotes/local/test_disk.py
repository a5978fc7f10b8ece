"""A folder of this machine as a remote: the suite that all pass, and what is its own."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from reconcile.core.job import Job, Options
from reconcile.core.model import Reason
from reconcile.remotes import Remote, open_remote
from reconcile.remotes.local.scheme import Folder
from reconcile.run import run
from tests.remotes.conformance import Conformance, Heard, OpenRemote
from tests.remotes.stores import StoreConformance
from tests.support.trees import Link, build_tree


def open_folder(dest: Path | str, options: Options, heard: Heard) -> Remote:
    return open_remote(Job("/", Folder(str(dest)), "/", options), heard)


class TestConformance(Conformance, StoreConformance):
    @pytest.fixture
    def open_remote(self) -> OpenRemote:
        return open_folder


def test_a_file_system_without_links_says_so(
    source: Path, dest: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of USB disks are: that is told, and not tried anew each time as if it might be otherwise."""
    build_tree(source, {"f": "f", "l": Link("f")})

    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "symlink", no_links)
    result = run(Job(str(source), Folder(str(dest)), str(state)), Heard())
    [problem] = result.problems
    assert (problem.path, problem.reason) == ("l", Reason.UNSUPPORTED)
    assert "--links skip" in problem.message
    assert sorted(os.listdir(dest)) == [".reconcile", "f"]
