"""One server of each kind for a whole run of the tests, and one prefix in its bucket for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.s3 import S3, Missing, start_s3


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], S3]]:
    """By name; started when it is first asked for. Skips where it is not installed."""
    started: dict[str, S3] = {}
    with ExitStack() as stack:

        def start(name: str) -> S3:
            if name not in started:
                try:
                    started[name] = stack.enter_context(start_s3(name, tmp_path_factory.mktemp(name)))
                except Missing as missing:
                    pytest.skip(str(missing))
            return started[name]

        yield start


@pytest.fixture(autouse=True, scope="session")
def read_once() -> Iterator[None]:
    """What botocore has to know of S3, a megabyte that each of its clients would read anew."""
    loaders = pytest.importorskip("botocore.loaders")
    with pytest.MonkeyPatch.context() as patch:
        load, loaded = loaders.JSONFileLoader.load_file, dict[str, object]()

        def load_once(self: object, path: str) -> object:
            if path not in loaded:
                loaded[path] = load(self, path)
            return loaded[path]

        patch.setattr(loaders.JSONFileLoader, "load_file", load_once)
        yield


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Mapping[str, str]], None]:
    """Let boto3 find these, and nothing of whoever runs the tests."""

    def keys(environment: Mapping[str, str]) -> None:
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return keys
