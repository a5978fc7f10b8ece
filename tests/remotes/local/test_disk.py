"""A folder of this machine as a remote: the suite that all pass, and what is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconcile.core.job import Job, Options
from reconcile.remotes import Remote, open_remote
from reconcile.remotes.local.scheme import Folder
from tests.remotes.conformance import Conformance, Heard, OpenRemote
from tests.remotes.stores import StoreConformance


def open_folder(dest: Path | str, options: Options, heard: Heard) -> Remote:
    return open_remote(Job("/", Folder(str(dest)), "/", options), heard)


class TestConformance(Conformance, StoreConformance):
    @pytest.fixture
    def open_remote(self) -> OpenRemote:
        return open_folder
