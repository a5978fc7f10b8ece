"""A bucket passes the suite of all remotes, on real servers that speak S3."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from msgspec.structs import replace

from reconcile.config import Flags, make_job
from reconcile.core.job import Options
from reconcile.remotes import Remote, open_remote
from tests.remotes.conformance import Conformance, Heard, OpenRemote, ThirdHand
from tests.remotes.stores import LeaseConformance
from tests.support.s3 import S3, AtPrefix

LACKS = frozenset({"bytes", "dirs", "links", "modes", "shadows", "times"})


class OnServer(Conformance, LeaseConformance):
    """The suite on one server. DEST is below a prefix of its own for each test."""

    server: ClassVar[str]
    lacks = LACKS
    many = 12  # servers for tests are slow

    @pytest.fixture
    def place(self, servers: Callable[[str], S3], keys: Callable[[Mapping[str, str]], None]) -> S3:
        server = servers(self.server)
        keys(server.environment)
        return server

    @pytest.fixture
    def dest(self) -> Path:
        return Path(f"/{uuid.uuid4().hex}/dest")

    @pytest.fixture
    def there(self, place: S3, dest: Path) -> ThirdHand:
        return AtPrefix(place, str(dest).strip("/"))

    @pytest.fixture
    def open_remote(self, place: S3, tmp_path: Path) -> OpenRemote:
        def open_it(dest: Path, options: Options, heard: Heard) -> Remote:
            flags = Flags(
                str(tmp_path / "source"),
                place.url(str(dest).strip("/")),
                state=str(tmp_path / "state"),
                reaching={"endpoint": place.endpoint, "path_style": True, "channels": 4},
            )
            return open_remote(replace(make_job(flags), options=options), heard)

        return open_it


class TestMoto(OnServer):
    """With conditional writes."""

    server = "moto"
    lacks = LACKS | {"controls"}


class TestRclone(OnServer):
    """Without."""

    server = "rclone"
