"""A remote that outlives its connections: what is tried, asked, or done once more. No network."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from reconcile.apply.connection import Retrying
from reconcile.core.errors import ConnectionLost, ProtocolError, TurnedAway, Unreachable, Untrusted
from reconcile.core.job import Job, Options, Reporter, Stop
from reconcile.core.model import Action, Brought, Entry, Footing, Kind, Op, Outcome, Problem, Range, Seen
from reconcile.remotes import FORGETFUL, NO_ENTRIES, Memory, Remote
from reconcile.remotes.ssh.target import SshTarget
from reconcile.report.recorder import Recorder
from tests.support.memory import LocalTree, MemoryRemote, MemoryStore, Node

T = TypeVar("T")

AWAY = Unreachable("nobody answers")
LOST = ConnectionLost("it broke")


class Calls:
    """A host that takes some calls badly before it takes one well."""

    def __init__(self, *failures: Unreachable) -> None:
        self.failures = list(failures)
        self.count = 0
        self.recorder = Recorder("run")

    def __call__(self, _job: Job, _reporter: Reporter, _memory: Memory) -> Remote:
        self.count += 1
        if self.failures:
            raise self.failures.pop(0)
        return MemoryRemote({}, None)  # type: ignore[arg-type]  # nothing is asked of it

    def line(self, retries: int = 3) -> Retrying:
        """A line that does not wait between two calls."""
        options = Options(retries=retries, retry_max_wait=0.0)
        job = Job("/src", SshTarget("host", "/"), "/state", options)
        return Retrying(job, self.recorder, self, Stop(), FORGETFUL)


@pytest.mark.parametrize("failures", [[AWAY], [AWAY] * 3, [LOST, AWAY, LOST]])
def test_the_first_connection_is_tried_as_often_as_the_later_ones(failures: Sequence[Unreachable]) -> None:
    calls = Calls(*failures)
    line = calls.line()
    assert line.open().stats.requests == 0
    assert line.was_open
    assert calls.count == len(failures) + 1
    words = [message for _, message in calls.recorder.said]
    assert ("not connected (nobody answers)" in words[0]) == (failures[0] is AWAY)
    assert words[0].endswith("attempt 1 of 3")


def test_in_the_end_it_is_given_up() -> None:
    calls = Calls(*[AWAY] * 9)
    with pytest.raises(Unreachable, match="nobody answers"):
        calls.line(retries=3).open()
    assert calls.count == 4
    calls = Calls(*[AWAY] * 9)
    with pytest.raises(Unreachable, match="nobody answers"):
        calls.line(retries=0).open()
    assert calls.count == 1
    assert not calls.recorder.said


@pytest.mark.parametrize("lasting", [TurnedAway("no"), Untrusted("who are you"), ProtocolError("no SFTP")])
@pytest.mark.parametrize("before", [0, 1])
def test_what_will_not_change_is_not_tried_again(lasting: Unreachable, before: int) -> None:
    calls = Calls(*[AWAY] * before, lasting, AWAY)
    with pytest.raises(type(lasting)):
        calls.line().open()
    assert calls.count == before + 1


def test_who_had_let_us_in_may_do_so_again() -> None:
    """A server that is starting up lets nobody in for a while; but another host key stays another."""
    calls = Calls()
    line = calls.line()
    assert line.open().stats.requests == 0
    calls.failures = [AWAY, TurnedAway("not yet")]
    line._reopen(LOST)
    assert calls.count == 4
    calls.failures = [Untrusted("who are you"), AWAY]
    with pytest.raises(Untrusted):
        line._reopen(LOST)
    assert calls.count == 5


@dataclass
class Breaking(MemoryRemote):
    """Its connection breaks after so many answers; what comes then is done, but nobody hears of it."""

    answers: int = 1
    prepared: int = 0
    resumed: list[bool] = field(default_factory=list)

    def begin(self, footing: Footing, *args: object, **more: object) -> None:
        self.prepared += 1
        super().begin(footing, *args, **more)  # type: ignore[arg-type]

    def check(self, footing: Footing, *, resume: bool = False) -> None:
        self.resumed.append(resume)
        super().check(footing, resume=resume)

    def perform(self, *args: object) -> Iterator[Outcome]:
        return self._break(super().perform(*args))  # type: ignore[arg-type]

    def look(self, paths: Iterable[str]) -> Iterator[tuple[str, Seen | None]]:
        return self._break(super().look(paths))

    def walk(self, top: str) -> Iterator[tuple[str, Seen]]:
        return self._break(super().walk(top))

    def read(self, ranges: Sequence[Range]) -> Iterator[tuple[str, bytes | None]]:
        single = [(path, at, 1) for path, start, length in ranges for at in range(start, start + length)]
        return self._break(super().read(single))

    def end(self, mark: str = "") -> Iterator[Problem]:
        self.answers -= 1
        if self.answers < 0:
            raise LOST
        return super().end(mark)

    def _break(self, answers: Iterable[T]) -> Iterator[T]:
        for answer in answers:
            self.answers -= 1
            if self.answers < 0:
                raise ConnectionLost("it broke")
            yield answer


FILES = {path: Node(Kind.FILE, path) for path in ("a", "b", "c")}


def over(*remotes: Breaking, recorder: Recorder | None = None, **more: Any) -> Retrying:
    """A connection to each, one after the other."""
    waiting = list(remotes)
    options = Options(**{"retries": len(remotes), "retry_max_wait": 0.0, **more})
    job = Job("/src", SshTarget("host", "/"), "/state", options)
    return Retrying(job, recorder or Recorder("run"), lambda *_: waiting.pop(0), Stop(), FORGETFUL)


def test_what_was_told_before_a_loss_is_not_asked_again() -> None:
    first, second = (Breaking(FILES, LocalTree(), answers=count) for count in (1, 2))
    assert [path for path, _ in over(first, second).look(FILES)] == ["a", "b", "c"]
    assert second.answers == 0


@pytest.mark.parametrize("resume", [True, False])
def test_where_dead_runs_have_something_aside_is_found_again(*, resume: bool) -> None:
    first, second = (Breaking(FILES, LocalTree(), answers=count) for count in (1, 2))
    remote = over(first, second)
    remote.check(Footing("lineage"), resume=resume)
    assert [path for path, _ in remote.look(FILES)] == ["a", "b", "c"]
    assert first.resumed == [resume]
    assert second.resumed == [True] * resume


def test_a_walk_begins_anew() -> None:
    first, second = (Breaking(FILES, LocalTree(), answers=count) for count in (1, 3))
    assert [path for path, _ in over(first, second).walk("")] == ["a", "a", "b", "c"]


def test_reading_goes_on_from_the_last_byte_that_came() -> None:
    files = {path: Node(Kind.FILE, path * 5) for path in ("a", "b")}
    first, second = (Breaking(files, LocalTree(), answers=count) for count in (7, 3))
    pieces = list(over(first, second).read([("a", 0, 5), ("b", 0, 5)]))
    assert pieces == [("a", b"a")] * 5 + [("b", b"b")] * 5
    assert second.answers == 0


def test_reading_may_be_cut_as_often_as_it_goes_on() -> None:
    files = {"a": Node(Kind.FILE, "a" * 9)}
    remotes = [Breaking(files, LocalTree()) for _ in range(9)]
    assert list(over(*remotes, retries=2).read([("a", 0, 9)])) == [("a", b"a")] * 9


class Waits(Recorder):
    """Notes how long it is waited before each attempt."""

    def __init__(self) -> None:
        super().__init__("run")
        self.waits: list[float] = []

    def retrying(self, lost: str, attempt: int, most: int, wait_s: float) -> None:  # noqa: ARG002
        self.waits.append(wait_s)


def test_what_opens_without_a_word_and_answers_nothing_is_waited_for() -> None:
    """As a bucket does: that it opens again tells nothing."""
    remotes = [Breaking(FILES, LocalTree(), answers=0) for _ in range(4)]
    noted = Waits()
    with pytest.raises(ConnectionLost):
        list(over(*remotes, recorder=noted, retries=3, retry_max_wait=0.001).look(FILES))
    assert noted.waits == [0.0, 0.001, 0.001]


def test_what_was_under_way_is_looked_at_before_it_goes_on() -> None:
    local, there = LocalTree(dict(FILES)), dict[str, Node]()
    first, second = (Breaking(there, local, answers=count) for count in (1, 9))
    remote = over(first, second)
    remote.begin(Footing("lineage"), "run")
    wishes = {path: Entry(Kind.FILE, 0o644, 1, 10**9) for path in FILES}
    actions = [Action(Op.CREATE, path, wish) for path, wish in wishes.items()]
    outcomes = list(remote.perform(actions, None))  # type: ignore[arg-type]  # nothing is read from it
    assert sorted(outcome.action.path for outcome in outcomes if outcome.done) == ["a", "b", "c"]
    assert there.keys() == FILES.keys()
    assert [action.path for action in second.performed] == ["a"]  # "b" was done when the first one broke
    assert (first.prepared, second.prepared) == (1, 1)


@dataclass
class Staging(Breaking):
    """Remembers what is staged over it, and what is known of it by then."""

    asked: list[tuple[str, bool]] = field(default_factory=list)

    def stage(
        self,
        actions: Sequence[Action],
        source: object = None,
        stop: object = None,
        known: Mapping[str, Entry] = NO_ENTRIES,
        leaving: Container[str] = (),
    ) -> Iterator[Brought | Outcome]:
        for each in super().stage(actions, source, stop, known, leaving):
            self.asked.append((each.action.path, each.action.path in known))
            self.answers -= 1
            if self.answers < 0:
                raise LOST
            yield each


def test_what_was_staged_is_taken_over_after_a_loss_and_what_was_not_is_sent() -> None:
    local, there = LocalTree(dict(FILES)), dict[str, Node]()
    first, second, third = (Staging(there, local, answers=count) for count in (1, 4, 9))
    remote = over(first, second, third)
    remote.begin(Footing("lineage"), "run")
    actions = [Action(Op.CREATE, path, Entry(Kind.FILE, 0o644, 1, 10**9)) for path in FILES]
    staged = list(remote.stage(actions, None))  # type: ignore[arg-type]  # nothing is read from it
    assert {each.action.path for each in staged} == FILES.keys()
    assert first.asked == [("a", False), ("b", False)]  # of "b" nobody heard
    assert second.asked == [("a", True), ("b", False), ("c", False)]
    outcomes = list(remote.perform(actions, None))  # type: ignore[arg-type]  # as above
    assert len(outcomes) == len(actions)
    assert all(known for _, known in third.asked)
    assert {path for path, _ in third.asked} == FILES.keys() - {a.path for a in second.performed}


def test_the_end_comes_over_another_connection() -> None:
    first, second = (Breaking({}, LocalTree(), answers=count) for count in (0, 1))
    remote = over(first, second)
    remote.begin(Footing("lineage"), "run")
    assert list(remote.end("mark")) == []
    assert remote.marks == ("mark",)
    assert second.prepared == 1


@dataclass
class LosingStore(MemoryStore):
    """The first name that is asked for is taken, and nobody hears of it."""

    lost: bool = False

    def claim(self, name: str) -> bool:
        claimed = super().claim(name)
        if not self.lost:
            self.lost = True
            self.values[name] = self.values[name] or b"mine"
            raise ConnectionLost("it broke")
        return claimed


def test_what_was_put_as_the_connection_broke_is_ours() -> None:
    for value, there in ((b"mine", True), (b"another", False)):
        store = LosingStore()
        remote = over(*(Breaking({}, LocalTree(), store=store) for _ in range(2)))
        assert remote.store.put_new("state", value) == there
        assert remote.store.get("state") == b"mine"


def test_a_claim_of_which_the_answer_was_lost_is_nobodys() -> None:
    """It may be another's: who is not sure to have it does not have it."""
    store = LosingStore()
    remote = over(*(Breaking({}, LocalTree(), store=store) for _ in range(2)))
    assert not remote.store.claim("lock")
    assert remote.store.names() == ["lock"]
    assert remote.store.drop("lock")
    assert remote.store.claim("lock")
