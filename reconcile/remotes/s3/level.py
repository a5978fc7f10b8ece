"""One level of a plan, carried out: what is looked at first, what goes together, what goes beside it.

What may live here: what is true of actions as a whole. How each of them is done is in its module.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from msgspec import Struct, field

from reconcile.core.errors import Interrupted
from reconcile.core.job import Stop
from reconcile.core.model import Action, Brought, Kind, Op, Outcome, Reason
from reconcile.core.order import touched
from reconcile.core.paths import is_ours
from reconcile.remotes.s3 import multipart
from reconcile.remotes.s3.delete import Tree, delete_files, delete_trees, remove, spread, survey_tree
from reconcile.remotes.s3.drift import UNLOOKED, There
from reconcile.remotes.s3.failure import Refusal, explain, problem
from reconcile.remotes.s3.keys import unfit
from reconcile.remotes.s3.listing import survey
from reconcile.remotes.s3.move import Copied, bring_again, ended, move
from reconcile.remotes.s3.multipart import Parts, Sent
from reconcile.remotes.s3.pool import Pool, Room
from reconcile.remotes.s3.site import Site
from reconcile.remotes.s3.tags import Shown
from reconcile.remotes.s3.upload import NO_MARKERS, Content, make_marker, put, read
from reconcile.source.files import Source

T = TypeVar("T")

Result = Outcome | list[Outcome]
HELD = 64 << 20  # bytes of small files that are read ahead


class Level(Struct, eq=False):
    """Independent actions on their way."""

    site: Site
    source: Source
    stop: Stop | None
    staged: dict[int, Sent]  # by the id of its action: what is to be brought out
    looked: dict[str, Shown | None] = field(default_factory=dict)  # what is at paths
    unseen: dict[str, Refusal] = field(default_factory=dict)  # paths of which the server does not tell
    room: Room = field(default_factory=lambda: Room(HELD))

    def stage(self, actions: Sequence[Action]) -> Iterator[Brought | Outcome]:
        """Bring content to where nobody sees it: an upload in parts, of which even one may be all."""
        parts = Parts(self.site)
        left: list[Action] = []
        for action in actions:
            if (why := unfit(self.site.keys.of(action.path))) is not None:
                yield Outcome(action, problem=problem(action.path, Reason.BAD_NAME, why))
            elif action.source is None:  # what is at another key is copied, when its turn has come
                left.append(action)
        tasks = (partial(multipart.send, self.site, each, self.source, parts, self.stop) for each in left)
        for result in self._beside(max(multipart.FILES, self.site.pool.size), tasks):
            if isinstance(result, Outcome):
                yield result
            else:
                self.staged[id(result.action)] = result
                yield Brought(result.action, result.wish)

    def perform(self, actions: Sequence[Action]) -> Iterator[Outcome]:
        """Carry them out, once."""
        left: list[Action] = []
        for action in actions:
            if (why := unfit(self.site.keys.of(action.path))) is not None:
                yield Outcome(action, problem=problem(action.subject, Reason.BAD_NAME, why))
            elif action.kind is Kind.SYMLINK and action.op in (Op.CREATE, Op.MODIFY):
                yield Outcome(action, problem=problem(action.path, Reason.UNSUPPORTED, "S3 has no links"))
            else:
                left.append(action)
        self._look(left)
        if self.unseen:
            refused = list(self._refused(left))
            yield from refused
            given_up = {id(outcome.action) for outcome in refused}
            left = [action for action in left if id(action) not in given_up]
        if not self.site.ability.keeps_slashes and any(action.op is Op.MKDIR for action in left):
            self.site.say_once(NO_MARKERS)
        yield from self._run(self._bring_out(left))
        uploads = [action for action in left if _sends(action) and id(action) not in self.staged]
        uploads = yield from self._copy(uploads)
        yield from self._send(uploads)
        yield from self._move([action for action in left if action.op is Op.MOVE])
        rest = [action for action in left if not _sends(action) and action.op is not Op.MOVE]
        yield from self._run(self._others(rest))
        yield from self._delete([action for action in rest if _is_tree_to_go(action)])

    @property
    def _is_stopped(self) -> bool:
        return self.stop is not None and bool(self.stop.requested)

    def _look(self, actions: Sequence[Action]) -> None:
        """At what the server does not make sure of by itself, all at once."""
        can, wanted = self.site.ability, list[str]()
        retires = self.site.options.trash is not None  # not all servers that copy heed a condition
        for action in actions:
            keeps = action.keep or retires
            is_sure = can.puts_new if action.old is None else can.puts_over and not keeps
            # Not all servers that heed conditions on a PUT do so where an upload in parts is completed.
            is_sure &= action.size < multipart.FROM and id(action) not in self.staged
            if _sends(action) and not is_sure:
                wanted.append(action.path)
            elif action.op is Op.DELETE and action.kind is not Kind.DIR:
                if keeps or not can.deletes_all_same:
                    wanted.append(action.path)
            elif action.op is Op.MOVE:
                wanted += (path for path in (action.path, action.source) if path and not is_ours(path))
        for path, answer in survey(self.site.service, self.site.keys, wanted, self.site.pool).items():
            if isinstance(answer, Refusal):
                self.unseen[path] = answer
            else:
                self.looked[path] = answer

    def _refused(self, actions: Sequence[Action]) -> Iterator[Outcome]:
        """What is not begun, as nobody can say what is there."""
        for action in actions:
            for path in touched(action):
                if path in self.unseen:
                    yield Outcome(action, problem=explain(action.subject, "look at it", self.unseen[path]))
                    break

    def _there(self, action: Action) -> There:
        return self.looked.get(action.path, UNLOOKED)

    def _run(self, tasks: Iterable[Callable[[], Result]]) -> Iterator[Outcome]:
        for result in self.site.pool.run(tasks, self.stop):
            if isinstance(result, Outcome):
                yield result
            elif isinstance(result, list):
                yield from result

    def _send(self, actions: Sequence[Action]) -> Iterator[Outcome]:
        """Small files by turns, and large ones beside them, a few at a time."""
        large = [action for action in actions if action.size >= multipart.FROM]
        small = [action for action in actions if action.size < multipart.FROM]
        yield from self._run(self._put(small))
        parts = Parts(self.site)
        for result in self._beside(
            multipart.FILES, (partial(self._send_large, each, parts) for each in large)
        ):
            if result is not None:
                yield result

    def _copy(self, actions: Sequence[Action]) -> Generator[Outcome, None, list[Action]]:
        """What the bucket has at another key. Returns what has to be sent."""
        left = [action for action in actions if action.source is None]
        there = (partial(bring_again, self.site, action) for action in actions if action.source is not None)
        for action, outcome in self.site.pool.run(there, self.stop):
            if outcome is None:
                left.append(action)
            else:
                yield outcome
        return left

    def _put(self, actions: Sequence[Action]) -> Iterator[Callable[[], Result]]:
        for action in actions:
            content = read(self.site, action, self.source)
            if isinstance(content, Outcome):
                yield partial(_as_it_is, content)
            elif not self.room.take(len(content.data), self.stop):
                return
            else:
                yield partial(self._put_one, content, self._there(action))

    def _put_one(self, content: Content, there: There) -> Outcome:
        try:
            return put(self.site, content, there)
        finally:
            self.room.give(len(content.data))

    def _send_large(self, action: Action, parts: Parts) -> Outcome | None:
        try:
            sent = multipart.send(self.site, action, self.source, parts, self.stop)
        except Interrupted:
            return None  # the next run goes on with it
        if isinstance(sent, Outcome):
            return sent
        return multipart.complete(self.site, sent, self._there(action))

    def _beside(self, size: int, tasks: Iterable[Callable[[], T]]) -> Iterator[T]:
        """Files at a time, whose parts share the threads of all."""
        files = Pool(size)
        try:
            yield from files.run(tasks, self.stop)
        except Interrupted:
            if not self._is_stopped:
                raise
        finally:
            files.close()

    def _bring_out(self, actions: Sequence[Action]) -> Iterator[Callable[[], Result]]:
        for sent in (self.staged[id(action)] for action in actions if id(action) in self.staged):
            yield partial(multipart.complete, self.site, sent, self._there(sent.action))

    def _move(self, actions: Sequence[Action]) -> Iterator[Outcome]:
        """Copies, and then the deletes of many together; what is copied is brought to its end."""
        copied: list[Copied] = []
        tasks = (partial(move, self.site, action, self.looked) for action in actions)
        for result in self.site.pool.run(tasks, self.stop):
            if isinstance(result, Outcome):
                yield result
            else:
                copied.append(result)
        deletes = (partial(_leave, self.site, some) for some in spread(self.site, copied))
        for outcomes in self.site.pool.run(deletes):
            yield from outcomes

    def _delete(self, actions: Sequence[Action]) -> Iterator[Outcome]:
        """Directories: what is in each is looked at first, and what goes of all goes together."""
        trees: list[Tree] = []
        for result in self.site.pool.run(
            (partial(survey_tree, self.site, each) for each in actions), self.stop
        ):
            if isinstance(result, Outcome):
                yield result
            else:
                trees.append(result)
        yield from delete_trees(self.site, trees, self.stop)

    def _others(self, actions: Sequence[Action]) -> Iterator[Callable[[], Result]]:
        files = [each for each in actions if each.op is Op.DELETE and not _is_tree_to_go(each)]
        compares = self.site.ability.deletes_all_same
        for some in spread(self.site, files):
            plain = [action for action in some if compares and action.path not in self.looked]
            looked = [action for action in some if action.path in self.looked]
            if plain:
                yield partial(delete_files, self.site, plain, None)
            if looked:
                yield partial(delete_files, self.site, looked, self.looked)
        for action in actions:
            if action.op is Op.MKDIR:
                yield partial(make_marker, self.site, action)
            elif action.op is Op.SETMETA:
                yield partial(_as_it_is, Outcome(action, {action.path: action.new}))


def _is_tree_to_go(action: Action) -> bool:
    return action.op is Op.DELETE and action.kind is Kind.DIR


def _sends(action: Action) -> bool:
    return action.op in (Op.CREATE, Op.MODIFY) and action.kind is Kind.FILE


def _as_it_is(outcome: Outcome) -> Outcome:
    return outcome


def _leave(site: Site, copied: Sequence[Copied]) -> list[Outcome]:
    failed = remove(site, [each.left for each in copied])
    outcomes = []
    for each in copied:
        refusal = failed.get(each.left.key)
        if refusal is None:
            outcomes.append(ended(each))
            continue
        # It is at both places, and the old one is somebody else's by now, or can't be deleted.
        trouble = explain(each.action.subject, f"delete {each.action.source!r}, which is copied", refusal)
        outcomes.append(
            Outcome(each.action, {} if each.action.parks else {each.action.path: each.held}, trouble)
        )
    return outcomes
