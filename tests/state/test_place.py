"""A job is the path as given: a link may turn, states of before are found, and a state is taken over."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.support.command import Ran, Reconcile
from tests.support.sshd import Sshd
from tests.support.trees import File, assert_same_tree, build_tree

OLD = 1_600_000_000  # an mtime that no clock takes for now
OK, USAGE, REFUSED = 0, 2, 4


class Site:
    """A site in releases, ``current`` a link to one of them."""

    def __init__(self, folder: Path, sshd: Sshd) -> None:
        self.folder = folder
        self.sshd = sshd
        self.dest = folder / "dest"
        self.current = folder / "site/current"
        for number in (1, 2):
            release = folder / f"site/releases/{number}"
            build_tree(release, {"same": File("same", mtime=OLD), "page": File(f"page {number}", mtime=OLD)})
        self.turn(1)

    def turn(self, number: int) -> Path:
        self.current.unlink(missing_ok=True)
        self.current.symlink_to(f"releases/{number}")
        return self.folder / f"site/releases/{number}"

    def __call__(self, source: Path, command: str = "run", *flags: str) -> Ran:
        job = Reconcile(source, self.sshd.url(self.dest), self.folder / "state", self.sshd.endpoint.flags())
        return job(command, *flags)

    def states(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "state").iterdir())


@pytest.fixture
def site(tmp_path: Path, sshd: Sshd) -> Site:
    return Site(tmp_path, sshd)


def test_a_link_that_turns(site: Site) -> None:
    assert site(site.current).counts == {"create": 2}
    release = site.turn(2)
    assert site(site.current, "plan").counts == {"modify": 1}
    assert site(site.current).counts == {"modify": 1}
    assert_same_tree(release, site.dest)
    assert len(site.states()) == 1


def test_a_state_that_was_made_by_the_real_path(site: Site) -> None:
    release = site.turn(1)
    assert site(release).counts == {"create": 2}
    before = site.states()
    assert site(site.current, "plan").counts == {}
    assert site.states() == before, "a plan changes nothing"
    assert site(site.current).counts == {}
    assert len(site.states()) == 1
    assert site.states() != before
    site.turn(2)
    assert site(site.current).counts == {"modify": 1}


def test_a_state_of_the_link_serves_the_real_path_and_stays_the_link_s(site: Site) -> None:
    release = site.turn(1)
    assert site(site.current).counts == {"create": 2}
    before = site.states()
    build_tree(release, {"new": "new"})
    assert site(release).counts == {"create": 1}
    assert site.states() == before
    site.turn(2)
    assert site(site.current).counts == {"modify": 1}


def test_a_state_of_another_source(site: Site) -> None:
    old = site.folder / "old place"
    build_tree(old, {"same": File("same", mtime=OLD), "page": File("page 0", mtime=OLD)})
    assert site(old).counts == {"create": 2}
    new = old.rename(site.folder / "new")
    build_tree(new, {"more": "more", "page": "no more than half is the same"})
    refused = site(new)
    assert refused.code == REFUSED
    assert f"--moved-from '{old}'" in refused.document["message"]
    assert site(new, "plan", "--moved-from", str(old)).counts == {"create": 1, "modify": 1}
    assert site(new, "run", "--moved-from", str(old)).counts == {"create": 1, "modify": 1}
    assert_same_tree(new, site.dest)
    assert len(site.states()) == 1
    assert site(new).counts == {}, "it lasts"
    assert site(new, "run", "--moved-from", str(old)).counts == {}, "and does no harm again"
    unknown = site(site.current, "run", "--moved-from", "/nowhere")
    assert unknown.code == USAGE
    assert "nothing is known of '/nowhere'" in unknown.document["message"]


def test_a_new_job_says_nothing_of_others_where_dest_is_empty(site: Site) -> None:
    assert site(site.turn(1)).code == OK
    other = site.folder / "other"
    build_tree(other, {"a": "a"})
    site.dest = site.folder / "elsewhere"
    assert site(other).counts == {"create": 1}


def test_the_folder_on_the_server_goes_where_the_option_says(site: Site, tmp_path: Path) -> None:
    source = site.turn(1)
    one, other = tmp_path / "one", tmp_path / "deeper/other"
    assert site(source).counts == {"create": 2}
    for number, place in enumerate([one, other, None, other]):
        flags = () if place is None else ("--remote-workdir", str(place))
        assert site(source, "run", "--check-mark", *flags).counts == {}, "a look does not take it for wiped"
        build_tree(source, {"page": f"page {number} again"})
        assert site(source, "run", *flags).counts == {"modify": 1}
        folders = [path for path in (one, other, site.dest / ".reconcile") if path.exists()]
        assert folders == [place or site.dest / ".reconcile"]
        assert site(source, "run", "--check-mark", *flags).counts == {}


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs another file system")
def test_the_folder_on_the_server_begins_anew_on_another_file_system(site: Site) -> None:
    source = site.turn(1)
    assert site(source).counts == {"create": 2}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        flags = ("--remote-workdir", f"{elsewhere}/work")
        build_tree(source, {"page": "page again"})
        assert site(source, "run", *flags).counts == {"modify": 1}
        assert not (site.dest / ".reconcile").exists()
        assert len(list(Path(elsewhere).glob("work/*/mark-*"))) == 1
        again = site(source, "run", "--check-mark", *flags)
        assert (again.code, again.counts) == (OK, {})
