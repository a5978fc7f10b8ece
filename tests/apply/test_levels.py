"""Each action of a plan has an outcome, whatever its remote makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from reconcile.core.job import Options
from reconcile.core.model import Action, Kind, Op, Outcome, Reason
from tests.support.memory import MemoryRemote
from tests.support.world import World


class Forgetful(MemoryRemote):
    """It does all, and does not tell of some, as one whose helper dies with the answers may."""

    def perform(
        self, actions: Sequence[Action], source: object = None, stop: object = None
    ) -> Iterator[Outcome]:
        outcomes = super().perform(actions, source, stop)
        return (each for each in outcomes if not each.action.path.endswith("untold"))


@dataclass
class ForgetfulWorld(World):
    remote_type: ClassVar[type[MemoryRemote]] = Forgetful


def test_what_is_not_told_of_counts_as_failed() -> None:
    """It is nothing that may pass for done: the next run looks."""
    world = ForgetfulWorld()
    for path in ("told", "untold", "d/untold", "untold too"):
        world.local.put(path, Kind.FILE, path)
    _, outcomes = world.reconcile(Options(), failing=frozenset({"none"}))
    failed = {each.action.path: each.problem for each in outcomes if each.problem is not None}
    assert failed.keys() == {"untold", "d/untold"}
    assert {problem.reason for problem in failed.values()} == {Reason.FAILED}
    known = dict(world.snapshot.walk())
    assert known.keys() == {"told", "untold too", "d"}
    plan = world.plan(Options())
    assert {(each.op, each.path) for each in plan.actions} == {(Op.CREATE, "untold"), (Op.CREATE, "d/untold")}
