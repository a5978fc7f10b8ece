"""A folder, a remote in memory and the snapshot between them: the pipeline without a disk or a line.

And random trees to try it on, with edits as people make them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from hypothesis import strategies as st

from reconcile.apply.connection import Retrying
from reconcile.apply.levels import apply
from reconcile.core.caps import as_kept
from reconcile.core.diff import diff, fill, infer, unread
from reconcile.core.filters import Filter, make_filter
from reconcile.core.fold import fold
from reconcile.core.job import Job, Options, Stop
from reconcile.core.model import (
    Caps,
    DirectorySnapshot,
    Kind,
    Op,
    Outcome,
    PlainDirectory,
    Plan,
    Scan,
)
from reconcile.core.plan import make_plan
from reconcile.core.settings import fingerprint
from reconcile.remotes import FORGETFUL
from reconcile.remotes.ssh.target import SshTarget
from reconcile.report import Recorder
from tests.support.memory import LocalTree, MemoryRemote, Tree, pack

NAMES = st.sampled_from(["a", "b", "c", "A", "x.log"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CONTENTS = st.sampled_from(["", "one", "two", "six", "three"])


@dataclass(frozen=True)
class Edit:
    """One thing somebody does to a folder."""

    what: str
    path: str
    other: str
    content: str

    def __call__(self, tree: LocalTree) -> None:
        path, other, content = self.path, self.other, self.content
        match self.what:
            case "file":
                tree.put(path, Kind.FILE, content)
            case "link":
                tree.put(path, Kind.SYMLINK, content or "target")
            case "dir":
                tree.put(path, Kind.DIR, mode=0o755)
            case "remove":
                tree.remove(path)
            case "rename":
                tree.rename(path, other)
            case "swap":
                tree.rename(path, "tmp")
                tree.rename(other, path)
                tree.rename("tmp", other)
            case "chmod" if path in tree.nodes and tree.nodes[path].kind is not Kind.SYMLINK:
                tree.chmod(path, 0o755 if len(content) % 2 else 0o500)
            case "touch" if path in tree.nodes:
                tree.touch(path)


WHAT = ["file", "file", "link", "dir", "remove", "rename", "rename", "swap", "chmod", "touch"]
EDITS = st.builds(Edit, st.sampled_from(WHAT), PATHS, PATHS, CONTENTS)
Steps = list[Callable[[LocalTree], None]]


def trees(minimum: int = 0) -> st.SearchStrategy[Steps]:
    return st.lists(EDITS, min_size=minimum, max_size=12)


JOB = Job("/source", SshTarget("host", "/"), "/state")
SILENT = Recorder("run")


@dataclass
class World:
    """A folder, a remote and the snapshot between them."""

    local: LocalTree = field(default_factory=LocalTree)
    remote: Tree = field(default_factory=dict)
    snapshot: DirectorySnapshot = field(default_factory=lambda: DirectorySnapshot({"": PlainDirectory({})}))
    hidden: tuple[str, ...] = ()
    caps: ClassVar[Caps] = Caps()
    remote_type: ClassVar[type[MemoryRemote]] = MemoryRemote

    def edit(self, steps: Steps) -> None:
        for step in steps:
            step(self.local)

    @property
    def filter(self) -> Filter:
        return make_filter([f"/{path}" for path in self.hidden])

    def plan(self, options: Options, scan: Scan | None = None) -> Plan:
        options, scan = as_kept(options, self.caps), scan or self.local.scan(self.hidden)
        changes = infer(diff(self.snapshot, scan, self.filter, options), options)
        contents = self.local.read(unread(changes))
        changes = infer(fill(changes, contents, set()), options)
        return make_plan(self.snapshot, scan, changes, options, caps=self.caps)

    def reconcile(
        self, options: Options, failing: frozenset[str] = frozenset()
    ) -> tuple[Plan, list[Outcome]]:
        plan = self.plan(options)
        remote = self.remote_type(self.remote, self.local, failing, caps=self.caps)
        line = Retrying(JOB, SILENT, lambda _job, _reporter, _memory: remote, Stop(), FORGETFUL)
        outcomes: list[Outcome] = []

        def between() -> None:
            assert not remote.busy, "something is asked of the remote in the middle of a level"
            planned = {id(action) for action in plan.actions}  # else it is on its way home, and no outcome's
            assert {id(each) for each in remote.performed} & planned <= {id(each.action) for each in outcomes}

        for outcome in apply(plan, line, None, Stop(), between):  # type: ignore[arg-type]  # no file is read
            outcomes.append(outcome)  # noqa: PERF402 - it is looked at in between
        assert failing or not remote.parked, "something was left parked"
        remote.set_aside()
        dirs = fold(self.snapshot, outcomes, plan.restamped, self.local.clock * 10**9 + 10**9).dirs
        self.snapshot = DirectorySnapshot(
            pack(dirs), settled=fingerprint(as_kept(options, self.caps), self.filter)
        )
        return plan, outcomes

    def check_snapshot(self) -> None:
        """The snapshot says the truth about the remote."""
        known = dict(self.snapshot.walk())
        for path, entry in known.items():
            node = self.remote.get(path)
            assert node is not None, f"{path} is claimed and not there"
            assert node.kind is entry.kind
            if entry.kind is Kind.FILE:
                assert (node.mode, node.mtime, len(node.content)) == (entry.mode, entry.mtime, entry.size)


def assert_done(outcomes: list[Outcome]) -> None:
    assert [outcome.problem for outcome in outcomes if outcome.problem] == []


def files(count: int, folder: str) -> Steps:
    return [
        lambda tree, n=n: tree.put(f"{folder}/f{n}", Kind.FILE, f"{folder} content {n}")  # type: ignore[misc]
        for n in range(count)
    ]


def synced(*steps: Callable[[LocalTree], None]) -> World:
    world = World()
    world.edit(list(steps))
    world.reconcile(Options(mirror=True))
    return world


def ops(plan: Plan) -> list[str]:
    return [f"{a.op} {a.source} {a.path}" if a.op is Op.MOVE else f"{a.op} {a.path}" for a in plan.actions]
