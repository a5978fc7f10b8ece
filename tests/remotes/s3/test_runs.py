"""Whole runs to a bucket: what is done rarely, or in parts, and what `plan` says of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from reconcile.config import Flags, make_job
from reconcile.core.errors import Refused, UsageError
from reconcile.core.job import Result, Stop
from reconcile.core.model import Op, Reason
from reconcile.phases.move import move_target
from reconcile.phases.verify import verify
from reconcile.pipeline import make_plan, run
from tests.remotes.conformance import Heard
from tests.support.s3 import S3, AtPrefix
from tests.support.trees import Tree, build_tree


@dataclass(frozen=True)
class Push:
    """SRC, a prefix in a bucket, and who else is at it."""

    source: Path
    hand: AtPrefix
    flags: Flags
    heard: Heard

    def __call__(self, tree: Tree | None = None, **flags: object) -> Result:
        """A run that ends well, after SRC was given what is in ``tree``."""
        build_tree(self.source, tree or {})
        result = run(make_job(replace(self.flags, **flags)), self.heard)
        assert not result.problems
        return result

    def names(self) -> set[str]:
        """What the prefix holds, our own left out."""
        return {key for key in self.hand.names() if not key.startswith(".reconcile/")}

    def ours(self, top: str = ".reconcile/") -> list[str]:
        """What is in our folder, the names of lineage and run left out."""
        return sorted(key.split("/", 2)[-1] for key in self.hand.names() if key.startswith(top))


@pytest.fixture(params=["moto", "rclone"])
def push(
    request: pytest.FixtureRequest,
    servers: Callable[[str], S3],
    keys: Callable[[Mapping[str, str]], None],
    source: Path,
    state: Path,
) -> Push:
    server = servers(request.param)
    keys(server.environment)
    prefix = f"{source.parent.name}-{request.param}"
    reaching = {"endpoint": server.endpoint, "path_style": True, "channels": 4}
    flags = Flags(str(source), server.url(prefix), state=str(state), retry_max_wait=0.0, reaching=reaching)
    return Push(source, AtPrefix(server, prefix), flags, Heard())


def keeps_slashes(push: Push) -> bool:
    push.hand.put("try/", b"")
    keeps = "try/" in push.names()
    push.hand.remove("try")
    return keeps


def test_empty_folders_come_and_go(push: Push) -> None:
    if not keeps_slashes(push):
        pytest.skip("the server keeps no key that ends in a slash")
    push({"empty": {}, "deep": {"er": {}}, "full": {"f": "f"}})
    assert push.names() == {"empty/", "deep/er/", "full/f"}
    (push.source / "full/f").unlink()
    (push.source / "empty").rmdir()
    push(mirror=True, allow_mass_delete=True)
    assert push.names() == {"full/", "deep/er/"}, "what is empty now shows, too"
    (push.source / "deep/er").rmdir()
    (push.source / "deep").rmdir()
    push({"full": {"g": "g"}}, mirror=True, allow_mass_delete=True)
    assert push.names() == {"full/", "full/g"}
    assert not push(mirror=True).connected
    assert not push(mirror=True, refresh=True).ended, "and all shows as it was left"


def test_folders_may_be_ignored(push: Push) -> None:
    flags = push.flags.reaching
    push({"empty": {}, "f": "f"}, reaching={**flags, "dirs": "ignore"})
    assert push.names() == {"f"}


def test_a_plan_prices_what_moves(push: Push) -> None:
    push({"d": {f"f{number}": f"{number}" for number in range(12)}})
    (push.source / "d").rename(push.source / "e")
    planned = make_plan(make_job(push.flags), Heard())
    assert planned.plan.bytes_to_send == 0
    (told,) = [note.message for note in planned.notes if "copied there" in note.message]
    assert "12 files" in told
    moved = push(mirror=True, allow_mass_delete=True)
    assert {action.op for action in moved.ended} <= {Op.MOVE, Op.DELETE}
    assert push.names() == {f"e/f{number}" for number in range(12)}


def test_a_copy_too_large_for_one_request(push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    if push.hand.client.meta.endpoint_url and not keeps_slashes(push):
        pytest.skip("the server copies no parts")
    monkeypatch.setattr("reconcile.remotes.s3.copying.MOST", 6 << 20)
    monkeypatch.setattr("reconcile.remotes.s3.copying.PART", 5 << 20)
    content = bytes(range(256)) * (7 << 12)
    push({"page.html": content})
    before = push.hand.client.head_object(Bucket=push.hand.bucket, Key=f"{push.hand.prefix}/page.html")
    (push.source / "page.html").rename(push.source / "moved.html")
    push(mirror=True, allow_mass_delete=True)
    assert push.names() == {"moved.html"}
    assert push.hand.get("moved.html") == content
    after = push.hand.client.head_object(Bucket=push.hand.bucket, Key=f"{push.hand.prefix}/moved.html")
    assert (after["Metadata"], after["ContentType"]) == (before["Metadata"], before["ContentType"])
    assert push.hand.uploads() == []
    assert not push(refresh=True).ended


def test_what_is_kept_goes_once_it_is_old(push: Push) -> None:
    push({"f": "ours"})
    push.hand.put("f", b"theirs")
    push({"f": "ours again"})
    assert any(key.endswith("trash/kept/f") for key in push.hand.names())
    push({"f": "once more"}, keep="30d")
    assert any(key.endswith("trash/kept/f") for key in push.hand.names())
    build_tree(push.source, {"f": "the last"})
    job = make_job(replace(push.flags, keep="1h"))
    run(replace(job, options=replace(job.options, keep=-5.0)), push.heard)
    left = [key for key in push.hand.names() if key.startswith(".reconcile/")]
    assert len(left) == 1, left
    assert "/mark-" in left[0]


def test_our_folder_may_be_elsewhere(push: Push) -> None:
    push({"f": "f"})
    ours = f"/{push.hand.prefix}/private"
    push({"g": "g"}, remote_workdir=ours)
    assert push.names() - {"f", "g"} == {key for key in push.names() if key.startswith("private/")}
    assert not [key for key in push.hand.names() if key.startswith(".reconcile/")]
    push({"h": "h"}, remote_workdir=ours)
    assert {"f", "g", "h"} <= push.names()
    with pytest.raises(UsageError, match="--remote-workdir"):
        push(remote_workdir="~/ours")


def test_what_others_have_changed_is_found(push: Push) -> None:
    push({"f": "f", "g": "g", "d": {"h": "h", "i": "i"}})
    push.hand.put("f", b"x")
    push.hand.remove("d/h")
    push.hand.put("new", b"n")
    checked = verify(make_job(push.flags), Heard()).checked
    assert checked is not None
    assert {finding.path for finding in checked.findings} >= {"f", "d/h", "new"}
    assert "g" not in {finding.path for finding in checked.findings}


def test_what_only_the_bucket_holds_is_deleted_where_that_is_asked_for(push: Push) -> None:
    for key in ("a", "d/c", "old/deep/x", "old/y", "d/gone", "gone", "logs/y.log"):
        push.hand.put(key, b"same")
    flags: dict[str, Any] = {"adopt_existing": True, "mirror": True, "exclude": ("*.log",)}
    result = push({"a": "same", "d": {"c": "same"}}, **flags)
    assert {note.path for note in result.notes if note.reason is Reason.ORPHAN} == {"old", "d/gone", "gone"}
    assert {"old/deep/x", "old/y", "d/gone", "gone"} <= push.names()
    push(**flags, adopt_orphans=True)
    assert push.names() == {"a", "d/c", "logs/y.log"}
    assert not push(**flags).connected


def test_objects_of_others_are_adopted_by_their_etags(push: Push) -> None:
    for path in ("f", "d/g"):
        push.hand.put(path, b"same")
    push.hand.put("h", b"else")
    result = push({"f": "same", "d": {"g": "same"}, "h": "mine"}, adopt_existing=True)
    assert [action.path for action in result.ended] == ["h"]
    assert not [said for said in push.heard.said if "read back" in said]
    assert push.hand.get("h") == b"mine"


def test_the_state_may_be_in_the_bucket(push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines in turns: each knows what the other has sent."""
    turns: list[tuple[str, Tree, list[str]]] = [
        ("one", {"a": "a", "d": {"b": "b"}}, ["a", "d/b"]),
        ("other", {}, []),
        ("other", {"a": "another"}, ["a"]),
        ("one", {}, []),
        ("one", {"d": {"b": "longer"}}, ["d/b"]),
        ("third", {}, []),
    ]
    for machine, tree, ended in turns:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / machine))
        assert sorted(each.path for each in push(tree, state="remote").ended) == ended
    states = [name for name in push.ours(".reconcile/store/") if name.endswith(".state")]
    assert states == ["job-default.2.state", "job-default.3.state"]


def test_what_another_job_brings_to_a_folder_of_dest_is_no_orphan(push: Push, tmp_path: Path) -> None:
    build_tree(tmp_path / "blog", {"post": "p", "more": {"q": "q"}})
    target = f"{push.flags.target}/x/blog"
    nested = replace(push.flags, source=str(tmp_path / "blog"), target=target)
    run(make_job(nested), Heard())
    push({"a": "a"}, adopt_existing=True)
    push({"b": "b"}, mirror=True, adopt_orphans=True, allow_mass_delete=True)
    assert {"x/blog/post", "x/blog/more/q"} <= push.names()
    assert run(make_job(replace(nested, refresh=True)), Heard()).plan.empty


@pytest.mark.parametrize("how", ["mv d e && echo new > e/f", "mv d/f d/n && echo new > d/n"])
def test_what_moves_while_it_is_still_written_loses_nothing(push: Push, how: str) -> None:
    push({"d": {"f": "ff", "g": "gg", "h": {"i": "ii"}}})
    for path in push.source.rglob("*"):
        if path.is_file():
            os.utime(path, (1e9, 1e9))
    push(mirror=True)

    def held() -> list[bytes]:
        return sorted(push.hand.get(name) for name in push.names() if not name.endswith("/"))

    before = held()
    subprocess.run(["sh", "-ec", how], cwd=push.source, check=True)
    push(mirror=True, min_age="5m")
    assert held() == before
    push(mirror=True)
    assert make_plan(make_job(replace(push.flags, mirror=True, refresh=True)), Heard()).plan.empty


def test_a_job_goes_along_to_another_prefix(push: Push) -> None:
    push({"a": "one", "d": {"b": "two", "c": "three"}})
    hand = push.hand
    new_prefix = f"{hand.prefix}-moved"
    for key in hand.names():
        source = {"Bucket": hand.bucket, "Key": f"{hand.prefix}/{key}"}
        hand.client.copy_object(Bucket=hand.bucket, Key=f"{new_prefix}/{key}", CopySource=source)
    old = make_job(push.flags)
    new = make_job(replace(push.flags, target=push.flags.target.replace(hand.prefix, new_prefix)))
    assert move_target(old, new, push.heard, Stop()).again == ()
    assert not run(new, push.heard).connected
    build_tree(push.source, {"a": "anew"})
    assert [action.path for action in run(new, push.heard).ended] == ["a"]
    nowhere = make_job(replace(push.flags, target=f"{push.flags.target}-none"))
    with pytest.raises(Refused, match="mark"):
        move_target(new, nowhere, push.heard, Stop())
