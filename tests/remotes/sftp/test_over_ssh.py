"""The conformance suite where OpenSSH's own client is the way to the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconcile.core.job import Job, Options
from reconcile.remotes import Remote
from reconcile.remotes import open_remote as really_open
from tests.remotes.conformance import Heard, OpenRemote
from tests.remotes.trees import TreeConformance
from tests.support.sshd import Sshd


class TestOverSsh(TreeConformance):
    @pytest.fixture
    def open_remote(self, sshd: Sshd) -> OpenRemote:
        there = sshd.endpoint.by("ssh")

        def open_remote(dest: Path | str, options: Options, heard: Heard) -> Remote:
            return really_open(Job("/", there.target(dest), "/", options, there.login()), heard)

        return open_remote
