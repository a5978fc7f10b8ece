"""``reconcile doctor`` of a bucket: it answers, and tells what it can do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from reconcile.cli import main
from tests.support.s3 import S3


def test_a_bucket_tells_what_it_can_do(
    servers: Callable[[str], S3],
    keys: Callable[[Mapping[str, str]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = servers("rclone")
    keys(server.environment)
    typed = ["doctor", server.url("doctor"), *server.flags, "--json"]
    assert main(typed) == 3
    told = {fact["name"]: fact["value"] for fact in json.loads(capsys.readouterr().out)["facts"]}
    assert (told["links"], told["replace"]) == (False, True)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert main(typed) == 6
    assert json.loads(capsys.readouterr().out)["status"] == "unreachable"
