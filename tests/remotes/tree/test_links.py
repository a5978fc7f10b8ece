"""Servers whose LSTAT, READDIR, RENAME and SYMLINK do otherwise: nothing behind a link is touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.core.errors import Refused
from reconcile.core.job import Job, OnDrift, Options
from reconcile.core.model import Reason
from reconcile.pipeline import make_plan, run
from reconcile.remotes.tree import walk
from reconcile.state.memo import Memo
from tests.remotes.conformance import Heard
from tests.support.jobs import JobTo
from tests.support.quirky import Quirk
from tests.support.trees import File, Link, assert_same_tree, build_tree, read_tree

PROFTPD = (Quirk.LSTAT_FOLLOWS, Quirk.RENAME_FOLLOWS, Quirk.READLINK_WHOLE)
SERVERS = {
    "as OpenSSH": (Quirk.CLAIMS_OPENSSH,),
    "as ProFTPD": PROFTPD,
    "as ProFTPD, in order": (*PROFTPD, Quirk.CLAIMS_OPENSSH),
    "as paramiko's stub": (Quirk.READDIR_FOLLOWS,),
    "as MySecureShell": (
        Quirk.READDIR_FOLLOWS,
        Quirk.LSTAT_FOLLOWS,
        Quirk.SYMLINK_REVERSED,
        Quirk.RENAME_REPLACES,
    ),
    "as asyncssh": (Quirk.SYMLINK_REVERSED, Quirk.READLINK_LOST),
    "as Conch": (Quirk.SYMLINK_REVERSED,),
    "out of order": (Quirk.UNORDERED, Quirk.LSTAT_FOLLOWS),
}
WHEN = 1_700_000_000  # seconds
TREE: dict[str, object] = {
    "releases": {"5": {f"p{n}": File(f"live {n}", mtime=WHEN) for n in range(5)}},
    "config.live": File("config", mtime=WHEN),
    "current": Link("releases/5"),
    "config": Link("config.live"),
    "d": {"up": Link("../config.live"), "self": Link("."), "f": File("f", mtime=WHEN)},
    "out": Link("../outside/precious"),
    "outdir": Link("../outside"),
    "again": Link("current"),
    "into": Link("d/up"),
    "through": Link("current/p0"),
}


@pytest.fixture(params=SERVERS)
def quirks(request: pytest.FixtureRequest) -> tuple[Quirk, ...]:
    return SERVERS[request.param]


@pytest.fixture
def outside(served: Path) -> Path:
    """What links lead to: it must stay as it is."""
    build_tree(served / "outside", {"precious": "not ours", "deep": {"x": "not ours"}})
    return served / "outside"


@pytest.fixture
def dest(served: Path, outside: Path) -> Path:
    (served / "dest").mkdir()
    return served / "dest"


def works(job: Job) -> list[tuple[str, str]]:
    """A run that has no problem; what it did."""
    result = run(job, Heard())
    assert result.problems == []
    return [(str(action.op), action.path) for level in result.plan.levels for action in level]


def theirs_is_whole(outside: Path) -> None:
    assert read_tree(outside).keys() == {"precious", "deep", "deep/x"}
    assert (outside / "precious").read_text() == "not ours"


def kept(dest: Path) -> list[str]:
    return sorted(path for path in read_tree(dest / ".reconcile") if "/trash/kept/" in path)


def test_a_refresh_finds_links_as_they_were_left(
    quirks: tuple[Quirk, ...], job_to: JobTo, source: Path, dest: Path, outside: Path
) -> None:
    build_tree(source, TREE)
    job = job_to(*quirks)
    works(job)
    assert_same_tree(source, dest)
    assert works(replace(job, options=Options(mirror=True, refresh=True))) == []
    assert works(job) == []
    assert_same_tree(source, dest)
    assert kept(dest) == []
    theirs_is_whole(outside)


def test_an_equal_site_is_adopted_as_it_is(
    quirks: tuple[Quirk, ...], job_to: JobTo, source: Path, dest: Path, outside: Path
) -> None:
    build_tree(source, TREE)
    build_tree(dest, TREE)
    job = job_to(*quirks, options=Options(mirror=True, adopt_existing=True))
    plan = make_plan(job, Heard())
    assert plan.plan.empty
    assert works(job) == []
    assert works(job) == []
    assert_same_tree(source, dest)
    assert kept(dest) == []
    theirs_is_whole(outside)


def to_file(source: Path) -> None:
    for path in ("current", "config", "out", "outdir", "lost"):
        (source / path).unlink()
        (source / path).write_text("a file now")


def delete(source: Path) -> None:
    for path in ("current", "config", "out", "outdir", "lost", "d/up", "d/self"):
        (source / path).unlink()


def turn(source: Path) -> None:
    for path in ("current", "config", "out", "outdir", "lost"):
        (source / path).unlink()
    build_tree(
        source,
        {
            "current": Link("d"),
            "config": Link("nowhere"),
            "out": Link("../../outside/deep/x"),
            "outdir": Link("../../outside/deep"),
            "lost": Link("nowhere/else"),
        },
    )


def move(source: Path) -> None:
    (source / "sub").mkdir()
    for path in ("current", "config", "out", "outdir", "lost"):
        (source / path).rename(source / "sub" / path)


def swap(source: Path) -> None:
    (source / "config").rename(source / "aside")
    (source / "current").rename(source / "config")
    (source / "aside").rename(source / "current")


def from_files(source: Path) -> None:
    for number, target in enumerate(
        ["../p1", "../../d", "..", "../../../../outside", "../../../../outside/precious"]
    ):
        (source / f"releases/5/p{number}").unlink()
        (source / f"releases/5/p{number}").symlink_to(target)


def to_folder(source: Path) -> None:
    for path in ("current", "config", "out", "outdir", "lost"):
        (source / path).unlink()
        build_tree(source, {path: {"inside": "ours"}})


def delete_trees(source: Path) -> None:
    shutil.rmtree(source / "d")
    for path in ("current", "releases"):
        shutil.rmtree(source / path) if not (source / path).is_symlink() else (source / path).unlink()


CHANGES = [to_file, delete, turn, move, swap, from_files, to_folder, delete_trees]


ONE_DEEPER: dict[str, object] = {
    **TREE,
    "out": Link("../../outside/precious"),
    "outdir": Link("../../outside"),
    "lost": Link("nowhere"),
}


@pytest.mark.parametrize("on_drift", [OnDrift.BACKUP, OnDrift.OVERWRITE])
def test_links_that_change_leave_what_they_lead_to(
    on_drift: OnDrift, quirks: tuple[Quirk, ...], job_to: JobTo, source: Path, dest: Path, outside: Path
) -> None:
    build_tree(source, {change.__name__: ONE_DEEPER for change in CHANGES})
    job = job_to(*quirks, options=Options(mirror=True, on_drift=on_drift, allow_mass_delete=True))
    works(job)
    for change in CHANGES:
        change(source / change.__name__)
    assert works(job)
    assert_same_tree(source, dest)
    assert works(job) == []
    assert kept(dest) == []
    theirs_is_whole(outside)
    assert [path for path in read_tree(dest / ".reconcile") if "/trash" in path or "/parked" in path] == []


@pytest.mark.parametrize("change", [to_file, delete, turn, move])
def test_what_links_lead_to_stays_on_a_server_that_follows_them_since_yesterday(
    change: Callable[[Path], None], job_to: JobTo, source: Path, dest: Path, outside: Path
) -> None:
    """The version that it tells is the same."""
    build_tree(source, {"t": ONE_DEEPER})
    job = job_to(*PROFTPD)
    works(job)
    memory = Memo(job.state, keeps=True)
    known = memory.recall()
    assert isinstance(known, dict)
    known["quirks"] |= dict.fromkeys(("lstat_shows", "readdir_shows", "moves_links", "verbatim"), True)
    memory.remember(known)
    change(source / "t")
    run(job, Heard())
    theirs_is_whole(outside)
    assert (dest / "t/config.live").read_text() == "config"
    assert sorted(read_tree(dest / "t/releases/5")) == [f"p{n}" for n in range(5)]
    works(job)
    theirs_is_whole(outside)
    works(replace(job, options=Options(mirror=True, refresh=True)))
    theirs_is_whole(outside)
    assert_same_tree(source, dest)


RING = (Quirk.READDIR_FOLLOWS, Quirk.LSTAT_FOLLOWS)
BLIND = (*RING, Quirk.READLINK_DENIED, Quirk.REALPATH_ECHOES)


@pytest.mark.parametrize(
    ("quirks", "links"),
    [(RING, 3), ((*RING, Quirk.READLINK_DENIED), 3), (BLIND, 1)],
    ids=["seen by READLINK", "seen by REALPATH", "not to be seen"],
)
def test_a_walk_through_links_in_a_ring_ends(
    quirks: tuple[Quirk, ...],
    links: int,
    job_to: JobTo,
    source: Path,
    dest: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nothing tells them from directories, at a depth that no tree has."""
    monkeypatch.setattr(walk, "MOST_DEEP", 20)
    build_tree(source, {"f": File("f", mtime=WHEN)})
    ring = {f"l{n}": Link("." if n else "..") for n in range(links)}
    build_tree(dest, {"f": File("f", mtime=WHEN), "d": ring})
    heard = Heard()
    plan = make_plan(job_to(*quirks, options=Options(adopt_existing=True)), heard)
    assert plan.plan.empty
    assert plan.traffic.requests < 2000
    assert any("directories deep" in said for said in heard.said) == (quirks is BLIND)


def test_a_folder_that_is_shown_and_can_not_be_listed_is_not_empty(
    job_to: JobTo, source: Path, dest: Path
) -> None:
    build_tree(source, {"f": "mine"})
    build_tree(dest, {"theirs": "theirs", "dangling": Link("nowhere")})
    with pytest.raises(Refused, match="can't be seen"):
        run(job_to(Quirk.READDIR_FOLLOWS), Heard())
    assert (dest / "theirs").read_text() == "theirs"


def test_a_folder_that_can_not_be_listed_is_not_deleted(job_to: JobTo, source: Path, dest: Path) -> None:
    build_tree(source, {"d": {"ours": "ours"}, "f": "f"})
    job = job_to(Quirk.READDIR_FOLLOWS, options=Options(mirror=True, allow_mass_delete=True))
    works(job)
    build_tree(dest, {"d": {"theirs": "theirs", "dangling": Link("nowhere")}})
    shutil.rmtree(source / "d")
    (problem,) = run(job, Heard()).problems
    assert problem.path == "d"
    assert (dest / "d/theirs").read_text() == "theirs"


@pytest.mark.parametrize("on_drift", OnDrift)
def test_nothing_goes_through_a_link_that_somebody_planted(
    on_drift: OnDrift, quirks: tuple[Quirk, ...], job_to: JobTo, source: Path, dest: Path, outside: Path
) -> None:
    build_tree(source, {"d": {"precious": "ours", "other": "o"}, "e": {"f": "f"}, "f": "f", "g": "g"})
    job = job_to(*quirks, options=Options(mirror=True, on_drift=on_drift, allow_mass_delete=True))
    works(job)
    for path in ("d", "e"):
        shutil.rmtree(dest / path)
        (dest / path).symlink_to("../outside")
    for path in ("f", "g"):
        (dest / path).unlink()
        (dest / path).symlink_to("../outside/precious")
    build_tree(source, {"d": {"precious": "ours, changed", "new": "new"}, "f": "f, changed"})
    (source / "d/other").unlink()
    (source / "g").unlink()
    shutil.rmtree(source / "e")
    for _ in range(2):
        run(job, Heard())
        theirs_is_whole(outside)
    assert (dest / "d").is_symlink()
    assert (dest / "f").is_symlink() == (on_drift is OnDrift.SKIP)


@pytest.mark.parametrize(
    "quirks", [PROFTPD, (Quirk.READDIR_FOLLOWS,)], ids=["as ProFTPD", "as paramiko's stub"]
)
def test_a_trash_with_links_in_it_is_emptied_by_the_next_run(
    quirks: tuple[Quirk, ...], job_to: JobTo, source: Path, dest: Path, outside: Path
) -> None:
    """What a run that broke off left, of a version that renamed links."""
    build_tree(source, {"f": "f"})
    job = job_to(*quirks)
    works(job)
    (lineage,) = (dest / ".reconcile").iterdir()
    away = Link("../../../../../outside")
    build_tree(lineage, {"dead": {"trash": {"1": away}, "staging": {"2": away}}})
    build_tree(source, {"g": "g"})
    works(job)
    theirs_is_whole(outside)
    assert not (lineage / "dead/staging").exists()


@pytest.mark.parametrize(
    "quirks",
    [
        (Quirk.SYMLINK_DENIED,),
        (Quirk.SYMLINK_FROM_LOGIN,),
        (Quirk.SYMLINK_FROM_LOGIN, Quirk.SYMLINK_REVERSED),
        (Quirk.SYMLINK_FROM_LOGIN, Quirk.CLAIMS_OPENSSH),
    ],
    ids=str,
)
def test_a_server_that_makes_no_links_is_told_of_once_and_then_gets_none(
    quirks: tuple[Quirk, ...], job_to: JobTo, source: Path, dest: Path, served: Path
) -> None:
    build_tree(source, {"f": "f", "l": Link("f")})
    job = job_to(*quirks)
    heard = Heard()
    (problem,) = run(job, heard).problems
    assert problem.path == "l"
    assert sum("they are left out" in said for said in heard.said) == 1
    assert "later runs leave them out" in problem.message
    assert not run(job, Heard()).connected
    build_tree(source, {"m": Link("f")})
    for refresh in (False, True):
        build_tree(source, {"f": f"changed, {refresh}"})
        planned = make_plan(job, Heard())
        assert [action.path for action in planned.plan.actions] == ["f"]
        assert "DEST keeps no links: none are sent" in [note.message for note in planned.notes]
        assert run(replace(job, options=Options(refresh=refresh)), Heard()).problems == []
        assert (dest / "f").read_text() == (source / "f").read_text()
        assert not any(path.is_symlink() for path in served.rglob("*"))
        assert kept(dest) == []


@pytest.mark.parametrize("on_drift", [OnDrift.BACKUP, OnDrift.OVERWRITE])
def test_a_move_to_where_somebody_planted_a_link_leaves_what_that_leads_to(
    on_drift: OnDrift, quirks: tuple[Quirk, ...], job_to: JobTo, source: Path, dest: Path, outside: Path
) -> None:
    build_tree(source, {"f": "the one", "g": "another", "l": Link("f"), "h": "a third"})
    job = job_to(*quirks, options=Options(mirror=True, on_drift=on_drift, allow_mass_delete=True))
    works(job)
    for path in ("g", "h"):
        (dest / path).unlink()
        (dest / path).symlink_to("../outside/precious")
        (source / path).unlink()
    (source / "f").rename(source / "g")
    (source / "l").rename(source / "h")
    works(job)
    assert_same_tree(source, dest)
    theirs_is_whole(outside)


def test_what_a_dead_run_had_staged_goes_though_a_link_to_nowhere_hides_it(
    job_to: JobTo, source: Path, dest: Path
) -> None:
    """One is enough for a server that lists what links lead to, to say that the folder is not there."""
    build_tree(source, {"f": "f"})
    job = job_to(Quirk.READDIR_FOLLOWS)
    works(job)
    [ours] = (path for path in (dest / ".reconcile").iterdir() if path.is_dir())
    build_tree(ours / "dead/staging", {"1": "file", "2a": Link("nowhere"), "3": Link("../nowhere")})
    (source / "f").write_text("changed")
    works(job)
    assert not list(ours.glob("dead*"))


def test_what_a_link_holds_is_not_turned_into_text(job_to: JobTo, source: Path, dest: Path) -> None:
    build_tree(source, {"f": "f", "text": Link("caf\u00e9"), "bytes": Link(b"caf\xe9")})
    job = job_to(Quirk.NAMES_AS_TEXT)
    for _ in range(2):
        (problem,) = run(job, Heard()).problems
        assert (problem.path, problem.reason) == ("bytes", Reason.BAD_NAME)
    assert os.readlink(dest / "text") == "caf\u00e9"
    assert not (dest / "bytes").is_symlink()


def test_a_link_that_led_to_itself_and_leads_elsewhere_now_is_not_ours(
    job_to: JobTo, source: Path, dest: Path
) -> None:
    """Asyncssh tells where a link leads in the end: asked for ours, it follows the one that is there now."""
    build_tree(source, {"l": Link("l"), "f": "f"})
    job = job_to(Quirk.READLINK_LOST, Quirk.SYMLINK_REVERSED, options=Options(on_drift=OnDrift.SKIP))
    assert run(job, Heard()).problems == []
    (dest / "l").unlink()
    (dest / "l").symlink_to("theirs")
    (source / "l").unlink()
    (source / "l").symlink_to("new")
    (problem,) = run(job, Heard()).problems
    assert (problem.path, problem.reason) == ("l", Reason.DRIFT)
    assert os.readlink(dest / "l") == "theirs"
