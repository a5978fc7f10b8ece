"""A job's life on each real server: brought, left alone, changed here, and changed by somebody else there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.core.job import Job, Options, Result
from reconcile.core.model import Op, Reason
from reconcile.pipeline import make_plan, run
from reconcile.remotes.tree.quirks import Quirks, unpack
from reconcile.state.memo import Memo
from tests.remotes.conformance import Heard
from tests.support.processes import wait_for
from tests.support.servers import SERVERS, Missing, RealServer, start_server
from tests.support.trees import Dir, File, Link, Node, Tree, assert_alike, build_tree, read_tree

TIME = 1_234_567_891


@pytest.fixture
def server(name: str, tmp_path: Path) -> Iterator[RealServer]:
    (tmp_path / "server").mkdir()
    try:
        with start_server(name, tmp_path / "server") as server:
            yield server
    except Missing as missing:
        pytest.skip(str(missing))


class Pusher:
    """Who brings a folder of their own to the one that all bring theirs to."""

    def __init__(self, name: str, server: RealServer, folder: Path) -> None:
        self.name, self.there, self.source = name, server.folder / "dest", folder / "source"
        self.source.mkdir(parents=True)
        dest = server.at(server.folder / "dest")
        options = Options(mirror=True, retries=20, retry_max_wait=1)
        target, login = server.endpoint.target(dest), server.endpoint.login()
        self.job = Job(str(self.source), target, str(folder / "state"), options, login)
        self.heard = Heard()

    def push(self, tree: Tree, **options: object) -> Result:
        build_tree(self.source, tree)
        return run(replace(self.job, options=replace(self.job.options, **options)), self.heard)

    @property
    def learned(self) -> Quirks:
        value = Memo(self.job.state, keeps=False).recall()
        assert isinstance(value, dict)
        return unpack(value, value["version"], Quirks())

    def has_arrived(self) -> None:
        """All that the server keeps is in its folder, at the latest once it has written what it caches."""
        known = self.learned

        def kept(tree: dict[str, Node]) -> dict[str, Node]:
            return {
                path: Node(
                    node.kind,
                    node.mode if known.keeps_modes else None,
                    None if node.kind == "symlink" else node.content,
                    node.mtime if known.keeps_times else None,
                )
                for path, node in tree.items()
                if path.split("/")[0] != ".reconcile" and (node.kind != "symlink" or known.makes_links)
            }

        def is_there() -> bool:
            try:
                return kept(read_tree(self.source)) == kept(read_tree(self.there))
            except FileNotFoundError:
                return False  # it is at it

        if "cache" in self.name:
            wait_for(is_there, "what is cached", 60)
        assert_alike(kept(read_tree(self.source)), kept(read_tree(self.there)))


@pytest.mark.parametrize("name", SERVERS)
def test_a_job(name: str, server: RealServer, tmp_path: Path) -> None:
    ours, theirs = (Pusher(name, server, tmp_path / who) for who in ("ours", "theirs"))
    files = {f"f{n}": File(f"file {n}", mode=0o640, mtime=TIME + 7 * n) for n in range(30)}
    tree: Tree = {
        "d": {"e": Dir(files, mode=0o750)},
        "big": os.urandom(300_000),
        "old": "old",
        "empty": {},
        "link": Link("d"),
    }
    first = ours.push(tree)
    refused = [] if ours.learned.makes_links else [("link", Reason.UNSUPPORTED)]
    assert [(problem.path, problem.reason) for problem in first.problems] == refused
    ours.has_arrived()
    said = len(ours.heard.said)

    assert not ours.push({}).connected
    (ours.source / "d/e").rename(ours.source / "moved")
    (ours.source / "old").unlink()
    changes: Tree = {"moved": {"f3": File("changed", mtime=TIME)}, "new": {"g": "g"}, "big": "small"}
    build_tree(ours.source, changes)
    planned = make_plan(ours.job, ours.heard).plan
    result = ours.push({})
    assert result.problems == []
    assert {(a.op, a.path) for a in result.done} == {(a.op, a.path) for a in planned.actions}
    assert {action.op for action in result.done} >= {Op.MOVE, Op.MODIFY, Op.CREATE, Op.DELETE}
    ours.has_arrived()
    assert ours.push({}, refresh=True).done == []
    assert len(set(ours.heard.said[said:]) & set(ours.heard.said[:said])) == 0, "told once more"

    their_tree: Tree = {"new": {"g": "theirs"}, "report": "theirs, too"}
    assert theirs.push(their_tree, mirror=False, adopt_existing=True).problems == []
    assert ours.push({"new": {"g": "ours again"}, "report": "ours"}).problems == []
    ours.has_arrived()
    if "cache" not in name:
        in_ours = read_tree(ours.there / ".reconcile")
        kept = {node.content for path, node in in_ours.items() if "/trash/kept/" in path}
        assert kept >= {b"theirs", b"theirs, too"}
    assert not ours.push({}).connected
