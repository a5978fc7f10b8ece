"""``--publish end``: nobody sees anything before all is there, and what has come is not sent again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.config import Flags, make_job
from reconcile.core.errors import Interrupted, Refused, UsageError
from reconcile.core.job import Result, Stop
from reconcile.core.marks import name_mark
from reconcile.core.model import Brought
from reconcile.pipeline import make_plan, run
from reconcile.state.journal import begin_journal
from reconcile.state.store import read_snapshot
from tests.remotes.conformance import Heard
from tests.support.mounts import in_memory, mounted
from tests.support.trees import Link, assert_same_tree, build_tree
from tests.support.website import missed, versions, write_site


class Listening(Heard):
    """Remembers of which files something was sent."""

    def __init__(self, told: Callable[[str], None] = lambda _: None) -> None:
        super().__init__()
        self.files: set[str] = set()
        self.told = told

    def sent(self, count: int, path: str, /) -> None:
        super().sent(count, path)
        self.files.add(path)
        self.told(path)


class Site:
    """Its first version is there, its second one here."""

    def __init__(self, source: Path, dest: Path, state: Path) -> None:
        self.source, self.dest, self.state = source, dest, state
        write_site(source, 1)
        self.deploy()
        write_site(source, 2)

    def flags(self, **flags: object) -> Flags:
        more = {"publish": "end", "mirror": True, "allow_mass_delete": True, **flags}
        return Flags(str(self.source), str(self.dest), state=str(self.state), **more)  # type: ignore[arg-type]

    def deploy(self, heard: Heard | None = None, stop: Stop | None = None, **flags: object) -> Result:
        return run(make_job(self.flags(**flags)), heard or Heard(), stop=stop)

    def stand_in_the_way(self) -> None:
        """A third hand puts a link where there is a directory: what is to come into it is not brought."""
        (self.dest / "js").rename(self.dest.parent / "aside")
        (self.dest / "js").symlink_to(self.dest.parent / "aside")

    def make_way(self) -> None:
        (self.dest / "js").unlink()
        (self.dest.parent / "aside").rename(self.dest / "js")


@pytest.fixture
def site(source: Path, dest: Path, state: Path) -> Site:
    return Site(source, dest, state)


def test_one_that_fails_holds_all_back_and_the_rest_is_not_sent_again(site: Site) -> None:
    before = sorted(site.dest.rglob("*"))
    site.stand_in_the_way()
    first = Listening()
    result = site.deploy(first)
    assert result.problems[0].message.startswith("nothing published: 1 of 9 failed ('js/app.js').")
    assert [problem.path for problem in result.problems[1:]] == ["js/app.js"]
    assert not result.done
    assert versions(site.dest) == {"1"}
    site.make_way()
    assert [path for path in sorted(site.dest.rglob("*")) if ".reconcile" not in path.parts] == [
        path for path in before if ".reconcile" not in path.parts
    ]
    assert first.files == {"css/style-2.css", "index.html", "page/about.html", "page/more.html"}
    planned = make_plan(make_job(site.flags()), Heard())
    second = Listening()
    result = site.deploy(second)
    assert (result.problems, second.files) == ([], {"js/app.js"})
    assert len(planned.done) == len(result.done)
    assert_same_tree(site.source, site.dest)
    assert make_plan(make_job(site.flags()), Heard()).plan.empty


def test_what_has_come_is_known_by_what_it_holds(site: Site) -> None:
    site.stand_in_the_way()
    site.deploy()
    site.make_way()
    changed = site.source / "css/style-2.css"
    for path in site.source.rglob("*.html"):
        os.utime(path, (1_600_000_000, 1_600_000_000))  # as another checkout does
    changed.write_text("x" * changed.stat().st_size)  # as long as it was
    heard = Listening()
    assert not site.deploy(heard).problems
    assert heard.files == {"js/app.js", "css/style-2.css"}
    assert_same_tree(site.source, site.dest)


def test_what_has_come_and_is_not_wanted_any_more_goes(site: Site) -> None:
    site.stand_in_the_way()
    site.deploy()
    site.make_way()
    shutil.rmtree(site.source)
    site.source.mkdir()
    write_site(site.source, 3)
    assert not site.deploy().problems
    assert_same_tree(site.source, site.dest)
    [job] = (site.dest / ".reconcile").iterdir()
    assert [path.name.partition("-")[0] for path in job.iterdir()] == ["mark"]


def test_the_rest_goes_if_that_is_wanted(site: Site) -> None:
    site.stand_in_the_way()
    result = site.deploy(publish_partial=True)
    assert [problem.path for problem in result.problems] == ["js/app.js"]
    assert versions(site.dest) == {"2"}
    site.make_way()
    assert not site.deploy().problems
    assert_same_tree(site.source, site.dest)


def test_a_stop_while_content_is_brought_publishes_nothing_and_loses_nothing(site: Site) -> None:
    stop = Stop()

    def end(path: str) -> None:
        if path.endswith("more.html"):
            stop.requested = 15

    first = Listening(end)
    with pytest.raises(Interrupted):
        site.deploy(first, stop)
    assert versions(site.dest) == {"1"}
    assert not missed(site.dest)
    second = Listening()
    assert not site.deploy(second).problems
    assert not first.files & second.files
    assert_same_tree(site.source, site.dest)


def test_where_it_has_no_room_nothing_is_begun(source: Path, dest: Path, state: Path) -> None:
    with mounted(dest, *in_memory("2m")):
        site = Site(source, dest, state)
        (source / "film").write_bytes(os.urandom(3 << 20))
        with pytest.raises(Refused, match=r"has room for .*, and --publish end brings 3"):
            site.deploy()
        assert versions(dest) == {"1"}
        (source / "film").write_bytes(b"short")
        assert not site.deploy().problems
        assert versions(dest) == {"2"}


def test_nothing_but_deletes_is_done_as_ever(site: Site) -> None:
    site.deploy()
    (site.source / "js/app.js").unlink()
    assert len(site.deploy().done) == 1
    assert not (site.dest / "js/app.js").exists()


def test_a_part_of_nothing_is_refused(site: Site) -> None:
    with pytest.raises(UsageError, match="goes with --publish end"):
        make_job(site.flags(publish="each", publish_partial=True))


def test_what_changes_its_kind_holds_nothing_back(site: Site) -> None:
    build_tree(site.source, {"file": "f", "link": Link("js"), "folder": {"in": "in it"}})
    site.deploy()
    (site.source / "file").unlink()
    (site.source / "link").unlink()
    shutil.rmtree(site.source / "folder")
    build_tree(site.source, {"file": {"in": "x"}, "link": {"deep": {"er": "y"}}, "folder": "z"})
    assert not site.deploy().problems
    assert_same_tree(site.source, site.dest)


def test_a_second_name_of_what_is_seen_is_not_made_into_another_file(site: Site) -> None:
    """A run that was held back had staged it; by now both are wanted, each with a mode of its own."""
    site.deploy()
    old, new = (site.source / f"css/{name}.css" for name in ("old", "new"))
    old.write_text("the same")
    site.deploy()
    old.rename(new)
    (site.source / "index.html").write_text("<p>version 3</p>")
    (site.source / "js/app.js").write_text("another")
    site.stand_in_the_way()
    assert site.deploy().problems
    site.make_way()
    shutil.copy2(new, old)
    new.chmod(0o600)
    os.utime(new, (1_600_000_000, 1_600_000_000))
    assert not site.deploy().problems
    assert_same_tree(site.source, site.dest)
    assert not (site.dest / "css/old.css").samefile(site.dest / "css/new.css")


def test_what_is_brought_to_its_end_takes_no_only_copy_away(site: Site) -> None:
    """A run has died that had let go; what it was to bring to a new place can't come there any more."""
    site.deploy()
    (site.source / "css/style-2.css").rename(site.source / "js/style-2.css")
    (site.source / "index.html").write_text("<p>version 3</p>")
    job = make_job(site.flags())
    plan, old = make_plan(job, Heard()).plan, read_snapshot(job.state, job.source, job.target)
    assert old is not None
    marks = [name_mark(old.serial + 1, letter * 12) for letter in "ab"]
    journal = begin_journal(job.state, old.lineage, old.serial, 0, plan.levels, marks, at_end=True)
    journal.begin(old.marks)
    page = next(action for action in plan.actions if action.path == "index.html")
    journal.stage(Brought(page, page.new or page.old))  # type: ignore[arg-type]
    journal.let_go()
    journal.close()
    site.stand_in_the_way()
    assert site.deploy(publish_partial=True).problems
    assert (site.dest / "css/style-2.css").exists()
    site.make_way()
    assert not site.deploy().problems
    assert_same_tree(site.source, site.dest)
