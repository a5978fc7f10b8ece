"""``--publish release``: a folder for each release, and a link that is switched once all is there."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.cli import main
from reconcile.config import Flags, make_flags, make_job
from reconcile.core.errors import Interrupted, Refused, UsageError
from reconcile.core.job import Job, Options, Release, Result, Stop
from reconcile.core.shelf import is_release
from reconcile.pipeline import run
from reconcile.remotes import Shelving, open_remote
from reconcile.remotes.tree.shelf import TreeShelf
from tests.remotes.conformance import Heard
from tests.support.command import Reconcile
from tests.support.jobs import JobTo
from tests.support.quirky import Quirk
from tests.support.sshd import SFTP_SERVERS, Sshd, start_sshd
from tests.support.trees import File, Link, Tree, assert_same_tree, build_tree, read_tree

OLD = 1_600_000_000
SITE: Tree = {
    "index.html": File("<link href=a.css>", mtime=OLD),
    "a.css": File("a", mtime=OLD),
    "img": {"one.png": File("1", mtime=OLD), "deep": {"two.png": File("2", mtime=OLD)}, "none": {}},
    "link": Link("img/one.png"),
}


class Site:
    """A folder that is brought to another, release by release."""

    def __init__(self, source: Path, dest: Path, state: Path) -> None:
        self.source, self.dest, self.state = source, dest, state
        self.heard = Heard()
        build_tree(source, SITE)

    def bring(self, **flags: object) -> Result:
        told = {"publish": "release", "mirror": True, "state": str(self.state)} | flags
        job = make_job(Flags(source=str(self.source), target=str(self.dest), **told))  # type: ignore[arg-type]
        return run(job, self.heard)

    @property
    def releases(self) -> list[str]:
        return sorted(name for name in os.listdir(self.dest / "releases") if is_release(name))

    @property
    def current(self) -> str:
        head, name = os.readlink(self.dest / "current").split("/")
        assert head == "releases"
        return name

    def shown(self) -> Path:
        return self.dest / "releases" / self.current


@pytest.fixture
def site(source: Path, dest: Path, state: Path) -> Site:
    return Site(source, dest, state)


def test_what_is_brought_is_shown_whole(site: Site) -> None:
    (site.source / "img").chmod(0o750)
    site.bring()
    assert site.releases == [site.current]
    assert_same_tree(site.source, site.shown())
    assert stat.S_IMODE(site.dest.stat().st_mode) == 0o777 & ~_umask()
    assert {path.name for path in site.dest.iterdir()} == {".reconcile", "current", "releases"}
    result = site.bring()
    assert not result.connected
    assert len(site.releases) == 1


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_next_one_sends_what_changed_and_leaves_the_one_before_as_it_was(site: Site) -> None:
    site.bring()
    first, before = site.shown(), read_tree(site.shown())
    build_tree(site.source, {"index.html": File("<link href=b.css>", mtime=OLD + 1), "new": {"x": "x"}})
    (site.source / "a.css").rename(site.source / "b.css")
    (site.source / "img/one.png").rename(site.source / "img/uno.png")
    (site.source / "img/uno.png").chmod(0o600)  # it moves, and has another mode: its other names do not
    (site.source / "img/deep").rename(site.source / "deep")
    os.utime(site.source / "deep/two.png", (OLD + 7, OLD + 7))
    (site.source / "link").unlink()
    result = site.bring()
    sent = {action.path for action in result.done if action.bytes and action.source is None}
    assert {"index.html", "new/x"} <= sent <= {"index.html", "new/x", "img/uno.png", "deep/two.png"}
    assert read_tree(first) == before
    assert site.shown() != first
    assert_same_tree(site.source, site.shown())
    (site.source / "index.html").chmod(0o600)
    os.utime(site.source / "b.css", (OLD + 9, OLD + 9))
    second, before = site.shown(), read_tree(site.shown())
    site.bring()
    assert read_tree(second) == before
    assert_same_tree(site.source, site.shown())
    assert (site.shown() / "new/x").stat().st_nlink == 3  # the same file in two releases, and at work


def test_it_is_never_absent_and_never_half(site: Site) -> None:
    """For who reads all the time while releases come."""
    site.bring()
    over, wrong, seen = threading.Event(), list[str](), set[str]()

    def read() -> None:
        while not over.is_set():
            try:
                top = os.open(site.dest / "current", os.O_RDONLY)
                try:
                    page = os.open("index.html", os.O_RDONLY, dir_fd=top)
                    named = os.read(page, 99).decode().partition("=")[2].rstrip(">")
                    os.close(page)
                    os.stat(named, dir_fd=top)
                    seen.add(named)
                finally:
                    os.close(top)
            except OSError as error:
                wrong.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(6):
            (site.source / ("a.css" if not number else f"{number - 1}.css")).rename(
                site.source / f"{number}.css"
            )
            build_tree(site.source, {"index.html": f"<link href={number}.css>"})
            site.bring(keep_releases=3)
    finally:
        over.set()
        reader.join()
    assert wrong == []
    assert len(site.releases) == 3


def test_what_the_site_writes_is_shared(site: Site) -> None:
    build_tree(site.source, {"uploads": {"mine": "is not sent"}})
    build_tree(site.dest, {"shared": {"config.php": "secret"}})
    shared = ("uploads", "var/cache/", "config.php")
    result = site.bring(shared=shared)
    assert any("uploads" in note.path and "--shared" in note.message for note in result.notes)
    (site.dest / "current/uploads/photo").write_text("by a visitor")
    (site.dest / "current/var/cache/x").write_text("cached")
    assert (site.dest / "current/config.php").read_text() == "secret"
    build_tree(site.source, {"a.css": "b"})
    site.bring(shared=shared)
    assert len(site.releases) == 2
    assert (site.dest / "current/uploads/photo").read_text() == "by a visitor"
    assert read_tree(site.dest / "shared").keys() == {
        *("config.php", "uploads", "uploads/photo", "var", "var/cache", "var/cache/x")
    }


def test_what_others_have_put_there_is_not_left_behind_unasked(site: Site) -> None:
    site.bring()
    first = site.current
    build_tree(site.shown(), {"uploads": {"photo": "by a visitor"}, "img": {"thumb": "t"}})
    build_tree(site.source, {"a.css": "b"})
    with pytest.raises(
        Refused, match=r"holds what we did not put there: 'img/thumb', 'uploads'\. current is as"
    ) as no:
        site.bring()
    assert "Nothing was done" not in str(no.value)
    assert site.releases == [first]
    with pytest.raises(Refused, match="did not put there"):  # also where nothing is left to be brought
        site.bring()
    site.bring(leave_foreign=True)
    assert site.current != first
    assert (site.dest / "releases" / first / "uploads/photo").read_text() == "by a visitor"
    for number in range(3):
        build_tree(site.source, {"a.css": str(number)})
        site.bring(keep_releases=1)
    assert site.releases == [first, site.current]  # nor removed
    assert not [*(site.dest / "releases").glob("*.gone")]


def test_what_failed_holds_it_back(site: Site) -> None:
    site.bring()
    first = site.current
    build_tree(site.source, {"a.css": "b", "img": {"x": "y"}, "c": "d"})
    build_tree(site.dest / "releases/next", {"c": {"in": "the way"}})
    result = site.bring(on_drift="skip")
    assert [problem.message for problem in result.problems if "nothing released" in problem.message] == [
        "nothing released: 1 of 3 failed; current is as it was"
    ]
    assert site.releases == [first]
    assert site.bring(on_drift="skip", publish_partial=True).problems
    assert site.current != first
    first = site.current
    (site.dest / "releases/next/c/in").unlink()
    (site.dest / "releases/next/c").rmdir()
    assert not site.bring(on_drift="skip").problems
    assert site.current != first
    assert_same_tree(site.source, site.shown())


@pytest.mark.parametrize("at", ["make", "switch", "tidy"])
def test_a_run_that_dies_before_it_is_shown_is_made_good(
    site: Site, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.bring()
    first = site.current
    build_tree(site.source, {"a.css": "b"})

    def die(*_: object) -> None:
        raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(TreeShelf, at, die)
        with pytest.raises(Interrupted):
            site.bring()
    assert (site.current == first) == (at != "tidy")
    build_tree(site.dest / "releases", {"20200101-000000-abcd.new": {"half": "of it"}})
    site.bring()
    assert site.current != first
    assert_same_tree(site.source, site.shown())
    build_tree(site.source, {"a.css": "c"})
    site.bring()
    assert not [*(site.dest / "releases").glob("*.new")]


def test_what_is_in_the_way_of_the_link_is_told_before_anything_is_done(site: Site) -> None:
    build_tree(site.dest, {"current": {"a": "real folder"}})
    with pytest.raises(Refused, match="is no link"):
        site.bring()
    assert read_tree(site.dest).keys() == {"current", "current/a"}
    (site.dest / "current/a").unlink()
    (site.dest / "current").rmdir()
    (site.dest / "current").symlink_to("../elsewhere")
    with pytest.raises(Refused, match=r"leads to '\.\./elsewhere', which is no release of ours"):
        site.bring()
    assert os.readlink(site.dest / "current") == "../elsewhere"


@pytest.mark.parametrize(
    "flags",
    [
        {"publish": "each", "shared": ("a",)},
        {"publish": "each", "leave_foreign": True},
        {"publish": "each", "keep_releases": 3},
        {"keep_releases": 0},
        *({"shared": (path,)} for path in ("", "/", "/a", "..", "a/../b", "./a", "a//b")),
    ],
)
def test_what_means_nothing_is_refused(site: Site, flags: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        site.bring(**flags)
    assert not site.dest.exists()


@pytest.fixture
def without_links(job_to: JobTo, tree: Callable[[Tree], Path]) -> Callable[..., Job]:
    """A job to a server that gives no second names, told what SRC holds."""

    def make(holds: Tree, *quirks: Quirk) -> Job:
        tree(holds)
        job = job_to(
            *quirks, options=Options(mirror=True, release=Release(), remote_workdir="/dest/.reconcile")
        )
        return replace(job, target=replace(job.target, path="/dest/releases/next"))  # type: ignore[type-var]

    return make


def test_a_server_that_can_not_is_told_with_the_reason(
    without_links: Callable[..., Job], served: Path
) -> None:
    job = without_links({"a": "1"}, Quirk.ANNOUNCES_NOTHING)
    with pytest.raises(Refused, match="not to be had on this server: it can't rename over"):
        run(job, Heard(), stop=Stop())
    assert not (served / "dest").exists()


def test_without_second_names_a_release_is_a_copy(
    without_links: Callable[..., Job], served: Path, source: Path
) -> None:
    job, heard = without_links({"a": "1", "d": {"large": "x" * 600_000, "none": ""}, "l": Link("a")}), Heard()
    (source / "a").chmod(0o640)
    run(job, heard)
    assert any("makes no hard links" in said for said in heard.said)
    dest = served / "dest"
    first = dest / os.readlink(dest / "current")
    assert_same_tree(source, first)
    assert (first / "d" / "large").stat().st_nlink == 1
    (source / "a").write_text("22")
    run(job, heard)
    assert_same_tree(source, dest / "current")
    assert (first / "a").read_text() == "1"


def test_a_copy_that_was_cut_off_is_made_anew(
    without_links: Callable[..., Job], served: Path, source: Path
) -> None:
    job = without_links({"a": "1", "large": "x" * 600_000})
    run(job, Heard())
    remote = open_remote(job, Heard())
    assert isinstance(remote, Shelving)
    remote.shelf.make("20260101-000000-abcd", ())
    fresh = served / "dest/releases/20260101-000000-abcd.new"
    os.truncate(fresh / "large", 300_000)
    remote.shelf.make("20260101-000000-abcd", ())
    assert_same_tree(source, fresh)
    remote.close()


def test_one_command_goes_back(
    site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def releases(*flags: str) -> tuple[int, str]:
        code = main(["releases", str(site.dest), *flags])
        said = capsys.readouterr()
        return code, said.out + said.err

    assert releases() == (0, "there are no releases\n")
    site.bring()
    build_tree(site.source, {"a.css": "b"})
    site.bring()
    first, second = site.releases
    assert releases() == (0, f"{first}\n{second}  current\n")
    assert releases("--activate", first) == (0, f"current leads to releases/{first}, before to {second}\n")
    assert site.current == first
    assert releases("--activate", first) == (0, f"current leads to releases/{first} already\n")
    for name in ("next", "../x", "20200101-000000-abcd", ""):
        assert releases("--activate", name)[0] == 4
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reconcile.toml").write_text(
        f'[jobs.www]\nsource = "{site.source}"\ntarget = "{site.dest}"\n'
    )
    assert main(["releases", "www", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["current"], body["releases"]) == (first, [first, second])
    assert main(["unlock", "www"]) == 0
    assert capsys.readouterr().out == "nobody holds the lock of job 'www' on the server\n"
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    (tmp_path / "reconcile.toml").rename(tmp_path / "mine.toml")
    by_file = ("--config", "../mine.toml")
    assert main(["releases", "www", "--json", *by_file]) == 0
    assert json.loads(capsys.readouterr().out) == body
    assert main(["unlock", "www", *by_file]) == 0
    assert "job 'www'" in capsys.readouterr().out
    for names, told in (("web",), "there is no job 'web'"), ((str(site.dest),), "names a file of jobs"):
        assert main(["releases", *names, *by_file]) == 2
        assert told in capsys.readouterr().err
    assert site.current == first
    ran = site.bring()
    assert not ran.connected  # nothing new is to be shown
    assert ran.target == str(site.dest)
    build_tree(site.source, {"a.css": "c"})
    site.bring()
    assert site.current == site.releases[-1]
    assert_same_tree(site.source, site.shown())


def test_a_saved_plan_is_carried_out_and_shown(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.bring()
    build_tree(site.source, {"a.css": "b"})
    saved, state = str(tmp_path / "saved.plan"), ["--state", str(site.state)]
    typed = [str(site.source), str(site.dest), *state, "--publish", "release", "--mirror"]
    assert main(["plan", *typed, "--out", saved]) == 0
    assert len(site.releases) == 1
    assert main(["run", "--plan", saved, *state]) == 0, capsys.readouterr()
    assert len(site.releases) == 2
    assert_same_tree(site.source, site.shown())


def test_over_ssh(source: Path, dest: Path, state: Path, sshd: Sshd) -> None:
    build_tree(source, SITE)
    job = Reconcile(source, sshd.url(dest), state, [*sshd.endpoint.flags(), "--publish", "release"])
    job.run("--lock", "remote", "--shared", "up")
    build_tree(source, {"a.css": "b"})
    job.run("--shared", "up")
    first, second = sorted(name for name in os.listdir(dest / "releases") if is_release(name))
    assert os.readlink(dest / "current") == f"releases/{second}"
    assert (dest / "current/img/one.png").stat().st_nlink == 3
    (dest / "current/up").unlink()
    assert_same_tree(source, dest / "releases" / second)
    assert (dest / "releases" / first / "a.css").read_text() == "a"


@pytest.mark.parametrize("which", ["releases", "releases/next"])
def test_what_leads_out_of_dest_is_no_place_for_releases(
    site: Site, tmp_path: Path, which: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is to be beside it would be beside what it leads to: in no DEST of ours."""
    (tmp_path / "disk/deep/er").mkdir(parents=True)
    link = site.dest / which
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "disk/deep/er")
    with pytest.raises(Refused, match=rf"/{which} is a link, and releases have to be in DEST itself"):
        site.bring()
    assert main(["releases", str(site.dest)]) == 4
    assert "is a link" in capsys.readouterr().err
    assert [*(tmp_path / "disk").rglob("*")] == [tmp_path / "disk/deep", tmp_path / "disk/deep/er"]


def test_what_the_site_has_replaced_is_neither_hidden_nor_removed(site: Site) -> None:
    site.bring()
    first = site.current
    (site.shown() / "new").write_text("by the site")
    (site.shown() / "new").rename(site.shown() / "a.css")
    with (site.shown() / "img/one.png").open("a") as file:  # the same file as in what is to come
        file.write(" and more")
    build_tree(site.source, {"index.html": "b"})
    with pytest.raises(Refused, match=r"holds what we did not put there: 'a\.css'\. current is as"):
        site.bring()
    for number in range(2):
        build_tree(site.source, {"index.html": str(number)})
        site.bring(keep_releases=1, leave_foreign=True)
    assert site.releases == [first, site.current]
    assert (site.dest / "releases" / first / "a.css").read_text() == "by the site"
    assert (site.shown() / "img/one.png").read_text() == "1 and more"


def test_who_has_gone_back_stays_there_whichever_machine_runs_next(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bring(machine: str) -> str:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / machine))
        site.bring(state="remote", job="site")
        return site.current

    first = bring("laptop")
    build_tree(site.source, {"a.css": "b"})
    second = bring("laptop")
    assert bring("runner") == second
    assert main(["releases", str(site.dest), "--activate", first]) == 0
    assert bring("another runner") == first
    assert any(f"somebody has gone back from {second}" in told for told in site.heard.said)
    build_tree(site.source, {"a.css": "c"})
    assert bring("third runner") not in (first, second)
    assert_same_tree(site.source, site.shown())


def test_there_are_none_in_a_bucket(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["releases", "s3://bucket/www"]) == 2
    assert "no releases in a bucket" in capsys.readouterr().err


def test_where_a_server_copies_nothing_is_read_back_nor_sent_again(
    tmp_path: Path, source: Path, dest: Path, state: Path
) -> None:
    """It gives no second names: what is the same in the next release it copies itself."""
    build_tree(source, {"large": File("x" * 600_000, mtime=OLD), "a": File("1", mtime=OLD), "none": ""})
    (tmp_path / "sshd").mkdir()
    server = next(path for path in SFTP_SERVERS if os.access(path, os.X_OK))
    with start_sshd(tmp_path / "sshd", subsystem=f"{server} -P hardlink") as sshd:

        def bring() -> Result:
            told = {"publish": "release", "mirror": True, "state": str(state)}
            flags = make_flags({"source": str(source), "target": sshd.url(dest), **told})
            return run(replace(make_job(flags), login=sshd.endpoint.login()), heard)

        heard = Heard()
        bring()
        assert any("which it makes itself" in said for said in heard.said)
        first = dest / os.readlink(dest / "current")
        assert_same_tree(source, first)
        (source / "a").write_text("22")
        traffic = bring().traffic
        assert traffic.bytes_sent + traffic.bytes_received < 100_000
        assert_same_tree(source, dest / "current")
        assert (first / "a").read_text() == "1"
        assert (first / "large").stat().st_nlink == 1


def test_a_file_with_another_name_gets_its_mode_and_time_as_a_copy(
    sshd: Sshd, source: Path, dest: Path, state: Path
) -> None:
    """That the server makes: they share all with the file in the release before."""
    build_tree(source, {"large": File("x" * 600_000, mtime=OLD), "also": File("y" * 600_000, mtime=OLD)})
    told = {"publish": "release", "mirror": True, "state": str(state), "perms": "keep"}
    job = make_job(make_flags({"source": str(source), "target": sshd.url(dest), **told}))
    job = replace(job, login=sshd.endpoint.login())
    run(job, Heard())
    first = dest / os.readlink(dest / "current")
    before = read_tree(first)
    (source / "large").chmod(0o600)
    os.utime(source / "also", (OLD + 9, OLD + 9))
    traffic = run(job, Heard()).traffic
    assert traffic.bytes_sent < 100_000
    assert read_tree(first) == before
    assert_same_tree(source, dest / "current")
    (dest / "releases/next/large").unlink()
    (dest / "releases/next/large").write_text("z" * 600_000)  # a third hand: it is not ours to copy
    (source / "large").chmod(0o640)
    run(job, Heard())
    assert_same_tree(source, dest / "current")


@pytest.mark.parametrize("quirk", [Quirk.COPIES_NOTHING, Quirk.COPIES_ZEROS, Quirk.COPIES_NOT])
def test_a_server_that_only_says_that_it_copies_is_seen_through(
    without_links: Callable[..., Job], served: Path, source: Path, quirk: Quirk
) -> None:
    job = without_links({"a": "1", "large": "x" * 600_000, "none": ""}, quirk)
    for content in ("1", "22"):
        (source / "a").write_text(content)
        run(job, Heard())
        assert_same_tree(source, served / "dest/current")
