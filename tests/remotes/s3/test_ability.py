"""What each server can do is found out, and the README says it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.remotes.s3 import ability
from reconcile.remotes.s3.ability import Ability
from reconcile.remotes.s3.service import Service
from tests.support.http_faults import start_faulty
from tests.support.s3 import S3, SERVERS
from tests.support.s3_sums import Sums

README = Path(__file__).parents[3] / "README.md"
NAMES = {"rclone": "rclone serve s3"}


@pytest.mark.parametrize("name", SERVERS)
def test_what_a_server_heeds_is_tried_and_told(servers: Callable[[str], S3], name: str) -> None:
    server = servers(name)
    client = server.client()
    can = ability.try_out(Service(client, server.bucket, name), "tried/")
    assert "Contents" not in client.list_objects_v2(Bucket=server.bucket, Prefix="tried/"), "nothing is left"
    fields = [field for field in Ability.__struct_fields__ if field != "known"]
    answers = ["yes" if getattr(can, field) else "no" for field in fields]
    assert f"| {NAMES.get(name, name)} | {' | '.join(answers)} |" in README.read_text()


def test_a_server_that_compares_crc_32(servers: Callable[[str], S3]) -> None:
    """None of those above does. One that only tells what it was told does not."""
    server = servers("moto")
    with start_faulty(server) as proxy:
        service = Service(proxy.server.client(), server.bucket, "moto")
        assert not ability.try_out(service, "tried/").compares_crc
        proxy.sums = Sums()
        assert ability.try_out(service, "tried/").compares_crc


def test_what_is_remembered_is_what_was_found() -> None:
    can = Ability(known=True, puts_new=True, keeps_slashes=True)
    assert ability.unpack(ability.pack(can)) == can
    for other in (None, [], [0, True], [ability.VERSION + 1, *[True] * 9], "x"):
        assert ability.unpack(other) == Ability()
