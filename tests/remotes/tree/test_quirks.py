"""What is learned of a server: by trying in our own folder, and kept for the runs that come after."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.core.job import Job, Options
from reconcile.pipeline import run
from reconcile.remotes.sftp.extensions import claims_openssh, version_of
from reconcile.remotes.tree.quirks import Quirks, pack, unpack
from reconcile.state.memo import Memo
from tests.remotes.conformance import Heard
from tests.support.jobs import JobTo
from tests.support.quirky import OPENSSH, Quirk
from tests.support.sshd import Sshd
from tests.support.trees import File, Link, assert_same_tree, build_tree, read_tree

PLAIN = Quirks(
    ordered=False,
    refuses=True,
    makes_links=True,
    path_first=False,
    lstat_shows=True,
    readdir_shows=True,
    moves_links=True,
    removes_links=True,
    verbatim=True,
    takes_modes=True,
    keeps_modes=True,
    takes_times=True,
    keeps_times=True,
)


def learned(job: Job) -> Quirks:
    """What the last run remembered."""
    value = Memo(job.state, keeps=False).recall()
    assert isinstance(value, dict)
    return unpack(value, value["version"], Quirks())


@pytest.mark.parametrize(
    ("quirk", "fact"),
    [
        (Quirk.LSTAT_FOLLOWS, {"lstat_shows": False}),
        (Quirk.READDIR_FOLLOWS, {"readdir_shows": False}),
        (Quirk.RENAME_FOLLOWS, {"moves_links": False}),
        (Quirk.RENAME_REPLACES, {"refuses": False}),
        (Quirk.READLINK_WHOLE, {"verbatim": False}),
        (Quirk.SYMLINK_REVERSED, {"path_first": True}),
        (Quirk.CLAIMS_OPENSSH, {"ordered": True, "takes_fsync": False}),
        (Quirk.UNORDERED, {}),
    ],
)
def test_what_a_server_does_is_found_out_by_trying(
    quirk: Quirk, fact: dict[str, bool], job_to: JobTo, source: Path, served: Path
) -> None:
    build_tree(source, {"d": {"f": "f"}})
    job = job_to(quirk)
    assert run(job, Heard()).problems == []
    assert learned(job) == replace(PLAIN, **fact)
    assert read_tree(served / "dest").keys() >= {"d", "d/f"}


def test_order_is_not_believed_in_for_what_a_server_announces(job_to: JobTo, source: Path) -> None:
    build_tree(source, {"d": {"f": "f"}})
    job = job_to(Quirk.CLAIMS_OPENSSH, Quirk.UNORDERED)
    assert run(job, Heard()).problems == []
    assert learned(job).ordered is False


def test_it_is_tried_once(job_to: JobTo, source: Path) -> None:
    build_tree(source, {"f": "f"})
    job = job_to(Quirk.CLAIMS_OPENSSH)
    first = run(job, Heard())
    build_tree(source, {"g": "g"})
    second = run(job, Heard())
    assert first.problems == second.problems == []
    assert second.traffic.requests < 40 < first.traffic.requests


def test_what_is_remembered_of_another_version_does_not_count() -> None:
    before, now = version_of("SSH-2.0-x_1", OPENSSH), version_of("SSH-2.0-x_2", OPENSSH)
    assert unpack(pack(PLAIN, before), before, Quirks()) == PLAIN
    assert unpack(pack(PLAIN, before), now, Quirks()) == Quirks()
    assert unpack(pack(PLAIN, before), version_of("SSH-2.0-x_1", {}), Quirks()) == Quirks()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"version": ["x"]},
        {"version": ["x"], "quirks": {"never_heard_of": True}},
        {"version": ["x"], "quirks": {"refuses": "yes"}},
        {"version": ["x"], "quirks": []},
    ],
)
def test_what_we_would_not_have_remembered_does_not_count(value: object) -> None:
    assert unpack(value, ["x"], Quirks(path_first=True)) == Quirks(path_first=True)


def test_openssh_is_who_announces_all_it_has_and_nothing_else() -> None:
    assert claims_openssh(OPENSSH)
    assert not claims_openssh({})
    assert not claims_openssh({**OPENSSH, b"vendor-id": b"x"})
    assert not claims_openssh({**OPENSSH, b"statvfs@openssh.com": b"1"})
    assert not claims_openssh({name: OPENSSH[name] for name in list(OPENSSH)[1:]})


def test_openssh_proves_itself(sshd: Sshd, source: Path, dest: Path, tmp_path: Path) -> None:
    build_tree(source, {"f": "f"})
    at = sshd.endpoint
    job = Job(str(source), at.target(dest), str(tmp_path / "state"), Options(), at.login())
    assert run(job, Heard()).problems == []
    assert learned(job) == replace(PLAIN, ordered=True)


def believe(job: Job, **facts: bool) -> None:
    """What was true of the server until somebody set it up otherwise, under the same version."""
    value = Memo(job.state, keeps=False).recall()
    assert isinstance(value, dict)
    Memo(job.state, keeps=True).remember(pack(replace(learned(job), **facts), value["version"]))


@pytest.mark.parametrize("also", [(), (Quirk.CLAIMS_OPENSSH,)], ids=str)
def test_a_server_that_makes_links_by_now_gets_them(
    also: tuple[Quirk, ...], job_to: JobTo, source: Path, served: Path
) -> None:
    build_tree(source, {"f": "f"})
    job = job_to(*also)
    assert run(job, Heard()).problems == []
    believe(job, makes_links=False)
    build_tree(source, {"link": Link("f")})
    assert not run(job, Heard()).connected
    assert run(replace(job, options=Options(refresh=True)), Heard()).problems == []
    build_tree(source, {"tries": "it out"})
    assert run(job, Heard()).problems == []
    assert run(job, Heard()).problems == []
    assert_same_tree(source, served / "dest")
    assert learned(job).makes_links


def test_a_refresh_asks_anew_what_the_server_did_not_keep(job_to: JobTo, source: Path, served: Path) -> None:
    build_tree(source, {"f": "f"})
    job = job_to()
    assert run(job, Heard()).problems == []
    believe(job, takes_modes=False, keeps_modes=False, takes_times=False, keeps_times=False)
    assert run(replace(job, options=Options(refresh=True)), Heard()).problems == []
    build_tree(source, {"tries": "it out"})
    assert run(job, Heard()).problems == []
    assert learned(job) == PLAIN
    build_tree(source, {"g": File("g", 0o640, mtime=1_500_000_000)})
    assert run(job, Heard()).problems == []
    there = read_tree(served / "dest")["g"]
    assert (there.mode, there.mtime) == (0o640, 1_500_000_000)


@pytest.mark.parametrize("first", [(Quirk.ENDS_IN_HASTE,), (Quirk.ENDS_UNASKED,), ()], ids=str)
def test_below_opensshs_banner_may_be_anything(
    first: tuple[Quirk, ...], job_to: JobTo, source: Path, served: Path
) -> None:
    """What somebody else put into DEST since the last run is not overwritten unseen."""
    build_tree(source, {"a": "a"})
    job = job_to(Quirk.BELOW_SSHD, Quirk.RENAME_REPLACES, *first)
    assert run(job, Heard()).problems == []
    build_tree(served / "dest", {"report": "the only copy of somebody else's work"})
    build_tree(source, {"report": "ours"})
    assert run(job, Heard()).problems == []
    assert (served / "dest/report").read_text() == "ours"
    assert [
        node.content for path, node in read_tree(served / "dest").items() if path.endswith("kept/report")
    ] == [b"the only copy of somebody else's work"]


def test_order_that_ends_is_never_relied_on_again(job_to: JobTo, source: Path, served: Path) -> None:
    tree: dict[str, object] = {f"d{n}": {"e": {"f": {f"g{m}": "g" for m in range(9)}}} for n in range(9)}
    build_tree(source, tree)
    job = job_to(Quirk.CLAIMS_OPENSSH, Quirk.ORDERED_AT_FIRST)
    assert run(job, Heard()).problems == []
    assert_same_tree(source, served / "dest")
    assert learned(job).ordered is False
    assert not run(job, Heard()).connected


def test_small_files_alone_show_that_order_has_ended(job_to: JobTo, source: Path, served: Path) -> None:
    build_tree(source, {"d": {f"g{n}": "g" for n in range(9)}})
    job = job_to(Quirk.CLAIMS_OPENSSH, Quirk.ORDERED_AT_FIRST)
    assert run(job, Heard()).problems == []
    assert_same_tree(source, served / "dest")
    assert learned(job).ordered is False
