"""The state of a job that lies at DEST: fetched before a run, published after. ``job.state`` has a copy.

    job-<job>.is-<lineage>        claimed: what the states there are of
    job-<job>.<number>.state      a snapshot without stamps; the last two stay
    job-<job>.<number>.of-<hash>  claimed: which one that is, as another may have had its number, where DEST
                                  was restored since
    job-<job>.<number>.intent     what a run was about to do that began from that one
    job-<job>.<number>.part-<n>   what became of it, as far as that was known between two of its levels

All are names in the remote's store, which are made once: of two who save a state, or begin from one, a single
one wins. What a state says is true once the next is there, or with what is found of its intent. Nothing is
put there but under the lock, which is taken late: to look takes none, nor has a run with nothing to do.

What may live here: what there is at DEST, which of it counts, and in what order it changes.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory

from msgspec import Struct
from msgspec.structs import replace

from reconcile.apply.turn import describe
from reconcile.ci import name_ourselves
from reconcile.core.bare import with_stamps_of, without_stamps
from reconcile.core.errors import Exit, Locked, Overtaken, Refused
from reconcile.core.job import Job, Result
from reconcile.core.model import DirectorySnapshot
from reconcile.core.turns import last_turn, name_turn, read_holder
from reconcile.remotes import Remote, Store
from reconcile.state import done, history, small
from reconcile.state.journal import Journal, put_journal
from reconcile.state.parcel import WAYS_OUT, checksum, pack, unpack
from reconcile.state.snapshot import dump, load
from reconcile.state.store import forget_snapshot, read_copy, save_snapshot
from reconcile.state.there import keep_there, note_there, recall_there
from reconcile.state.undone import HELD
from reconcile.state.unfinished import discard_journal

COPY = "copy"  # in the state folder: which state at DEST the snapshot beside it is of

_SNAPSHOT, _JOURNAL = "snapshot", "journal"  # in a parcel
_RUNS = "runs"  # the last ones, on all machines: see ``state.there``
_PLACE = "place"  # where DEST is, from our folder there: several may have that in common
_NUMBER = "[0-9]{1,18}"
_NAMES = (
    rf"(?P<state>{_NUMBER})\.state|(?P<intent>{_NUMBER})\.intent|(?P<of>{_NUMBER})\.part-(?P<part>{_NUMBER})"
    rf"|is-(?P<lineage>[0-9a-f-]{{36}})|(?P<kin>{_NUMBER})\.of-(?P<digest>[0-9a-f]{{32}})"
)
_ATTEMPTS = 3


class _There(Struct, frozen=True):
    """What a job has at DEST, by the names there."""

    states: frozenset[int]
    intents: frozenset[int]
    parts: frozenset[tuple[int, int]]  # of which, and which in turn
    lineages: frozenset[str]
    digests: frozenset[tuple[int, str]]  # of which state, and what it is


class _Copy(Struct, frozen=True):
    """What this machine has of it."""

    known: DirectorySnapshot | None = None
    number: int = 0  # of the state at DEST that it is of
    digest: str = ""  # of that


class Shared:
    """What a run knows of it. ``take_turn``, told a lineage, has the lock from then on, or raises Locked; it
    returns what was in the store as the turn began."""

    def __init__(
        self, job: Job, remote: Remote, say: Callable[[str], None], take_turn: Callable[[str], Sequence[str]]
    ) -> None:
        self.is_unknown = False  # what is there can't be used, and is to be forgotten
        self.moved_from = ""  # another DEST, of which the state may be that is there
        self.is_news = False  # what is known here was never put there
        self.undone: Collection[int] = ()  # serials of runs that are undone with the next state
        self._job = job
        self._remote = remote
        self._say = say
        self._take_turn = take_turn
        self._is_ours = False  # the lock
        self._names: set[str] = set()  # the job's own, without what they all begin with
        self._number = 0  # of the state that the copy here is of
        self._digest = ""  # of that
        self._parts = 0  # of the intent of this run

    @property
    def _store(self) -> Store:
        return self._remote.store

    @property
    def _called(self) -> str:
        return f"The state of the job {self._job.name!r} at DEST"

    def fetch(self, *, repair: bool) -> None:
        """Bring the copy here up to what is at DEST.

        Raises Refused for what can't be read, what a newer program wrote, and what is older than the copy.
        Without ``repair`` nothing changes at DEST, whatever has broken off.
        """
        self.is_news, start_over = False, self._job.options.start_over
        if repair and start_over:
            self._secure("")
        try:
            self._bring(repair=repair)
        except Refused:
            if not start_over:
                raise
            self.is_unknown = True
            self._number = max(*_read(self._names).states, _recall(self._job.state).number, 0)
            self._digest = ""
            self._forget_copy()

    def secure(self, lineage: str) -> None:
        """Have the lock from now on. Raises Locked, and Overtaken if what was fetched is of before."""
        if not self._is_ours:
            known = set(self._names)
            self._secure(lineage)
            if self._names != known:
                raise Overtaken

    def intend(self, journal: Journal, base: DirectorySnapshot, *, is_new: bool) -> None:
        """Put there what is going to be done. ``is_new``: what it begins from is not there yet."""
        self.give_up()  # what was of a state that is not to be known any more
        is_news = is_new or self.is_news
        files = {_JOURNAL: journal.take_news(), **done.parcel_of(self._job.state)}
        files |= self._files(base) if is_news else {}
        self._parts = 0
        self._put(f"{self._number}.intent", pack(files))
        if not self.is_news:  # should nothing come of it, the copy is not of what is there
            self._note(base)

    def tell(self, journal: Journal) -> None:
        """Put there what became of it so far: before anything is begun that may hide that."""
        self._parts += 1
        self._put(f"{self._number}.part-{self._parts}", pack({_JOURNAL: journal.take_news()}))

    def note(self, result: Result) -> None:
        """Have what is published next tell of this run, too."""
        code = Exit.PROBLEMS if result.problems else Exit.OK
        run = history.describe(result, "problems" if result.problems else "ok", code)
        note_there(self._job.state, replace(run, by=name_ourselves(), paths=()))

    def publish(self, snapshot: DirectorySnapshot) -> None:
        """Save a snapshot there, and then here."""
        self.secure(snapshot.lineage)
        if (mark := f"is-{snapshot.lineage}") not in self._names:
            self._store.claim(self._prefix + mark)
            self._names.add(mark)
        number, value = self._number + 1, pack(self._files(snapshot))
        digest = checksum(value)
        self._store.claim(f"{self._prefix}{number}.of-{digest}")
        self._names.add(f"{number}.of-{digest}")
        self._put(f"{number}.state", value)
        self._number, self._digest, self.is_news = number, digest, False
        save_snapshot(self._job.state, snapshot)
        self._note(snapshot)
        self._tidy(mark)

    def keep(self, snapshot: DirectorySnapshot) -> None:
        """Save here what is as true as what is there."""
        save_snapshot(self._job.state, snapshot)
        self._note(snapshot)

    def give_up(self) -> None:
        """Nothing more can come of what was intended."""
        there = _read(self._names)
        intents = [f"{n}.intent" for n in there.intents if n == self._number]
        if self._is_ours:  # parts alone are of who died meanwhile: they would be taken for the next one's
            self._drop([*intents, *_parts_of(there, self._number)])

    @property
    def is_there(self) -> bool:
        """Whether the job has anything there, as it was seen last."""
        return bool(self._names)

    @property
    def lineages(self) -> frozenset[str]:
        """What the states there are of."""
        return _read(self._names).lineages

    def drop(self) -> None:
        """Let go of all that the job has there."""
        self._drop([*self._names])

    def find_others(self) -> list[str]:
        """Names of other jobs that have their state at DEST."""
        found = (re.fullmatch(r"job-(.+)\.[0-9]+\.state", name) for name in self._store.names())
        return sorted({match[1] for match in found if match is not None} - {self._job.name})

    @property
    def _prefix(self) -> str:
        return f"job-{self._job.name}."

    def _secure(self, lineage: str) -> None:
        names = self._take_turn(lineage)
        self._is_ours = True
        self._note_names(names)

    def _note_names(self, names: Iterable[str]) -> _There:
        names = (name for name in names if name.startswith(self._prefix))
        names = (name.removeprefix(self._prefix) for name in names)
        self._names = {name for name in names if re.fullmatch(_NAMES, name)}
        return _read(self._names)

    def _bring(self, *, repair: bool) -> None:
        copy = _recall(self._job.state)
        known, last = copy.known, copy.number
        there = _read(self._names) if self._is_ours else self._note_names(self._store.names())
        number, value = self._find_newest(there, copy)
        void = {n for n in there.states if n > number}  # taken by who died before there was a value
        if repair and not self._is_ours and (void or number in there.intents):
            self._secure(next(iter(there.lineages), ""))
            return self._bring(repair=repair)
        self._check_age(there, known, last, number)
        if repair and void:
            self._drop([f"{n}.state" for n in void])
        self._number = number
        if value is not None:
            self._save_copy(unpack(value, self._called), known)
        elif not number and not there.intents:
            self._forget_copy()
        return self._bring_intent(there)

    def _find_newest(self, there: _There, copy: _Copy) -> tuple[int, bytes | None]:
        """The newest state that has a value, and that, unless the copy here is of it. 0: there is none."""
        for number in sorted(there.states, reverse=True):
            if _is_of(copy, number, there):
                self._digest = copy.digest
                return number, None
            if (value := self._store.get(f"{self._prefix}{number}.state")) is not None:
                self._digest = checksum(value)
                return number, value
        self._digest = ""
        return 0, None

    def _check_age(self, there: _There, known: DirectorySnapshot | None, last: int, number: int) -> None:
        """Raises Refused if the copy here is of a later state than there is at DEST."""
        if number >= last:
            return
        if not number:
            raise Refused(
                f"No state of the job {self._job.name!r} is at DEST any more, and it has had {last} that are "
                f"known of here, in {self._job.state!r}. Was DEST wiped, is it not mounted, or is our folder "
                "elsewhere now (--remote-workdir)? Nothing was done. If DEST is to be filled anew, run once "
                "with --start-over, which forgets what was known, and adopts what is there."
            )
        if known is not None and known.lineage not in there.lineages:
            self._say("the state at DEST was begun anew since it was last seen from here")
        elif not self._job.options.refresh:
            raise Refused(
                f"DEST is older than what is known of it here: state {number} of the job {self._job.name!r} "
                f"is there, and state {last} was seen. It was restored from a backup, or rolled back. "
                "Nothing was done. If that was on purpose, run once with --refresh, which takes the state "
                "that is there, lists DEST, and brings again what is not as it was left."
            )

    def _bring_intent(self, there: _There) -> None:
        """The journal of a run that broke off, if there is one: the one here if that has more to tell."""
        number, folder = self._number, self._job.state
        value = self._store.get(f"{self._prefix}{number}.intent") if number in there.intents else None
        if value is None:
            discard_journal(folder)
            return
        if not self._is_ours:
            self._tell_holder()
        files = unpack(value, self._called)
        if _SNAPSHOT in files:
            self._save_copy(files, _recall(folder).known)
        elif HELD in files:
            done.put_parcel(folder, files)
        told = files.get(_JOURNAL, b"")
        for part in _parts_of(there, number):
            if (value := self._store.get(self._prefix + part)) is None:
                break
            told += unpack(value, self._called).get(_JOURNAL, b"")
        put_journal(folder, told, self._called, WAYS_OUT)

    def _tell_holder(self) -> None:
        """Whose turn it is. Whether that one is dead can't be told without writing."""
        turn = last_turn(self._store.names(), self._job.name)
        holder = (
            None if turn.is_over else read_holder(self._store.get(name_turn(self._job.name, turn.number)))
        )
        if holder is not None:
            self._say(
                f"a run of this job has begun and not ended ({describe(holder)}); if it is still at work, "
                "what it is about to do shows here as left open"
            )

    def _save_copy(self, files: Mapping[str, bytes], known: DirectorySnapshot | None) -> None:
        """A snapshot from DEST as if it had been made here, with the stamps that still hold."""
        there = load(files.get(_SNAPSHOT, b""), self._called, WAYS_OUT)
        self._check_place(there, files.get(_PLACE))
        keep_there(self._job.state, files.get(_RUNS, b""))
        done.put_parcel(self._job.state, files)
        there = replace(there, target=str(self._job.target))
        if known is not None:
            there = with_stamps_of(there, known)
        self.keep(there)

    def _check_place(self, there: DirectorySnapshot, place: bytes | None) -> None:
        """Raises Refused where it is of another DEST, whose state lies in the same folder.

        Of one that was reached by another name, or has moved with our folder in it, it is not.
        """
        here = str(self._job.target)
        if place not in (None, self._place()) and there.target not in (here, self.moved_from):
            raise Refused(
                f"The state of the job {self._job.name!r} that lies in our folder there, "
                f"{self._remote.workdir!r}, is of another DEST: {there.target!r}, and this one is {here!r}. "
                "Nothing was done. Give each a name of its own, with --job."
            )

    def _place(self) -> bytes:
        return os.fsencode(os.path.relpath(self._remote.base, self._remote.workdir))

    def _files(self, snapshot: DirectorySnapshot) -> dict[str, bytes]:
        folder = self._job.state
        files = {_SNAPSHOT: _dumped(snapshot), _PLACE: self._place(), _RUNS: recall_there(folder)}
        return files | done.parcel_of(folder, snapshot.serial, self.undone)

    def _note(self, snapshot: DirectorySnapshot) -> None:
        with suppress(OSError):  # then it is fetched again
            told = [snapshot.lineage, snapshot.serial, self._number, self._digest, self._job.name]
            small.remember(self._job.state, COPY, told)

    def _forget_copy(self) -> None:
        discard_journal(self._job.state)
        forget_snapshot(self._job.state)

    def _put(self, what: str, value: bytes) -> None:
        """Raises Locked if another run was there first, or has taken the lock over."""
        self._take_turn("")
        name = self._prefix + what
        for _ in range(_ATTEMPTS):
            if self._store.put_new(name, value):
                self._names.add(what)
                return
            there = self._store.get(name)
            if there is not None:
                break
            self._store.drop(name)  # of one who died while he put it there: the lock is ours
        raise Locked(
            f"Another run of the job {self._job.name!r} has gone on at DEST in the place of this one. "
            "Nothing was done. Run again."
        )

    def _tidy(self, mark: str) -> None:
        """Let go of what nobody needs any more."""
        there, number = _read(self._names), self._number
        gone = [f"{n}.state" for n in there.states if n < number - 1]
        gone += [f"{n}.intent" for n in there.intents if n < number]
        gone += [f"{n}.part-{part}" for n, part in there.parts if n < number]
        gone += [f"is-{lineage}" for lineage in there.lineages if f"is-{lineage}" != mark]
        is_it = (number, self._digest)
        gone += [f"{n}.of-{each}" for n, each in there.digests if n <= number and (n, each) != is_it]
        self._drop(gone)

    def _drop(self, names: Sequence[str]) -> None:
        if names:
            self._store.drop_all([self._prefix + name for name in names])
            self._names.difference_update(names)


def _read(names: Iterable[str]) -> _There:
    found = [match for name in names if (match := re.fullmatch(_NAMES, name)) is not None]
    return _There(
        states=frozenset(int(match["state"]) for match in found if match["state"]),
        intents=frozenset(int(match["intent"]) for match in found if match["intent"]),
        parts=frozenset((int(match["of"]), int(match["part"])) for match in found if match["part"]),
        lineages=frozenset(match["lineage"] for match in found if match["lineage"]),
        digests=frozenset((int(match["kin"]), match["digest"]) for match in found if match["kin"]),
    )


def _parts_of(there: _There, number: int) -> list[str]:
    return [f"{number}.part-{part}" for n, part in sorted(there.parts) if n == number]


def _is_of(copy: _Copy, number: int, there: _There) -> bool:
    """Whether it is of that state: by its number, and by what it holds."""
    digests = {digest for n, digest in there.digests if n == number}
    return (
        copy.known is not None
        and (copy.number, {copy.digest}) == (number, digests)
        and there.lineages == {copy.known.lineage}
    )


def _recall(folder: str) -> _Copy:
    """The snapshot here, if it is known of what state at DEST it is."""
    try:
        told = small.recall(folder, COPY)
    except ValueError:
        told = None
    match told:
        case [str(lineage), int(serial), int(number), *rest]:
            known = read_copy(folder)
            is_it = known is not None and (known.lineage, known.serial) == (lineage, serial)
            return _Copy(known if is_it else None, number, next((d for d in rest if isinstance(d, str)), ""))
        case _:
            return _Copy()


def recall_name(folder: str) -> str:
    """Of the job of which a copy is in the folder; "": that is not known."""
    try:
        told = small.recall(folder, COPY)
    except ValueError:
        return ""
    match told:
        case [str(), int(), int(), str(), str(name)]:
            return name
        case _:
            return ""


@contextmanager
def borrow_copy(folder: str) -> Iterator[str]:
    """Another folder with what is in that one, for who only looks: it goes at the end."""
    with TemporaryDirectory(prefix="reconcile-") as borrowed:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    shutil.copyfile(entry.path, os.path.join(borrowed, entry.name))
        yield borrowed


def _dumped(snapshot: DirectorySnapshot) -> bytes:
    return b"".join(dump(without_stamps(snapshot)))
