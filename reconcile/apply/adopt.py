"""What the remote holds before we begin: looked at once, on a first run or when asked to."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

from msgspec.structs import replace

from reconcile.core.ends import as_known
from reconcile.core.errors import Refused
from reconcile.core.job import AdoptBy, Job, Options
from reconcile.core.linked import foreign_link
from reconcile.core.model import (
    DIRECTORY,
    NS,
    PERMISSIONS,
    UNSEEN,
    DirectorySnapshot,
    Entry,
    Kind,
    PlainDirectory,
    Scan,
    Seen,
)
from reconcile.core.observe import Tags, held, intended, matches
from reconcile.core.paths import ancestors, parent
from reconcile.core.units import show_bytes
from reconcile.remotes import Remote
from reconcile.source.files import Source, digest_of, new_hash, read_contents
from reconcile.state.readback import ReadBack
from reconcile.state.store import blank


def check_blank(job: Job, remote: Remote, others: Sequence[str] = (), names: Sequence[str] = ()) -> None:
    """Raises Refused if the remote is not empty after all.

    ``others``: the sources of other jobs that are known to send there; ``names``: of jobs whose state is
    there.
    """
    first = next(remote.walk(""), None)  # one is enough: the rest is not listed
    if first is not None:
        raise Refused(_full_remote(job, first[0], others, names))


def take_over(
    job: Job,
    found: Scan,
    source: Source,
    remote: Remote,
    say: Callable[[str], None],
    in_doubt: Callable[[str], bool],
    known: ReadBack,
    *,
    reads: bool,
) -> tuple[DirectorySnapshot, Mapping[str, Seen]]:
    """The first snapshot of a job whose remote is full already, and all that is there.

    ``say`` is told what may take long. ``in_doubt``: the paths at which equal size and time prove nothing.
    ``known``: what a run that broke off has read back. Without what ``reads`` nothing is read, here or
    there, and what would be is taken to be the same.
    """
    there = _walk(remote)
    if there and remote.is_torn():
        say("a run broke off on the remote while things changed places there: nothing is known by its look")
        in_doubt = anywhere
    wanted = dict(found.walk()) if there else {}
    links = [(path, e) for path, e in wanted.items() if e.kind is Kind.SYMLINK and path in there]
    contents = read_contents(source, links)[0]
    wanted |= contents
    there |= as_known(there, contents.items())
    by, keeps_times = job.options.adopt_by, job.options.keep_times and remote.caps.times
    adopted = adopt(there, wanted, remote, in_doubt)
    doubtful = [(p, wanted[p]) for p, entry in adopted.items() if _looks_alike(entry, wanted[p])]
    if by is AdoptBy.SIZE:
        enough = [each for each in doubtful if not in_doubt(each[0])]
        doubtful = [each for each in doubtful if in_doubt(each[0])]
        ours = read_contents(source, enough)[0] if reads else _presume(enough)
        adopted |= {path: _as_there(entry, there[path], remote) for path, entry in ours.items()}
    if by is not AdoptBy.TIME or not keeps_times:  # where none are kept they show nothing
        compare = _same_content if reads else _foresee_same
        adopted |= compare(doubtful, there, source, remote, say, known)
    names: dict[str, dict[str, Entry]] = {"": {}}
    for path, entry in adopted.items():
        if entry.kind is Kind.DIR:
            names.setdefault(path, {})
        names.setdefault(parent(path), {})[path.rpartition("/")[2]] = entry
    dirs = {path: PlainDirectory(entries) for path, entries in names.items()}
    return replace(blank(job), dirs=dirs), there


def anywhere(path: str) -> bool:  # noqa: ARG001 - as any doubt
    """At every path."""
    return True


def nowhere(path: str) -> bool:  # noqa: ARG001 - as any doubt
    """At none."""
    return False


def adopt(
    there: Mapping[str, Seen],
    wanted: Mapping[str, Entry],
    tags: Tags,
    in_doubt: Callable[[str], bool] = nowhere,
) -> dict[str, Entry]:
    """What a remote that is already full holds of what we want to bring.

    Equal kind, size and mtime: the remote has it, but for what is ``in_doubt``. A difference
    that stands is marked foreign, so that it is kept in the trash when ours replaces it. What
    we don't want to bring is not taken into the snapshot, and so never deleted.
    """
    entries: dict[str, Entry] = {}
    for path, new in wanted.items():
        seen = there.get(path)
        if seen is None or seen.kind is None:
            continue
        is_shown = intended(seen, new, tags) or intended(seen, new, tags, by_others=True)
        if is_shown and not (new.kind is Kind.FILE and in_doubt(path)):
            entries[path] = replace(held(new, seen, tags), stamp=None)
        else:
            entries[path] = _foreign(seen, seen.kind, tags)
    return entries


def _looks_alike(entry: Entry, new: Entry) -> bool:
    """Whether a file that was taken for another's has the size of ours: only its time is no proof."""
    return entry.foreign and entry.kind is new.kind is Kind.FILE and entry.size == new.size


_UNPROVEN = "files there have the size of ours, and no time that proves them to be the same"
_EACH = 10.0  # seconds between two words of how far that is
_WITHOUT = "--adopt-by size does without"


def _same_content(
    doubtful: Sequence[tuple[str, Entry]],
    there: Mapping[str, Seen],
    source: Source,
    remote: Remote,
    say: Callable[[str], None],
    known: ReadBack,
) -> dict[str, Entry]:
    """Those of which the remote holds what we do: read back, the smallest first, for what is known by then
    stays known."""
    if not doubtful:
        return {}
    ours = read_contents(source, doubtful)[0]
    told = dict(remote.recognise([(path, new, there[path]) for path, new in ours.items()], source))
    for path, new in ours.items():
        if path not in told and (digest := known.recall(path, there[path].tag)) is not None:
            told[path] = digest == new.digest
    unknown = sorted((new.size, path) for path, new in ours.items() if path not in told)
    total = sum(size for size, _ in unknown)
    if unknown:
        shown = show_bytes(total)
        say(f"{len(unknown):,} {_UNPROVEN}: they are read back and compared ({shown}); {_WITHOUT}")
    files = [(path, size) for size, path in unknown]
    for path, digest in read_digests(remote, files, _tell_progress(total, say)):
        if digest is not None:
            known.note(path, there[path].tag, digest)
            told[path] = digest == ours[path].digest
    return {path: _as_there(ours[path], there[path], remote) for path, same in told.items() if same}


def _tell_progress(total: int, say: Callable[[str], None]) -> Callable[[int, str], None]:
    """Told how many bytes have come, it says now and then how many of all that is."""
    read, due = 0, time.monotonic() + _EACH

    def tell(count: int, path: str) -> None:  # noqa: ARG001 - as it is told
        nonlocal read, due
        read += count
        if (now := time.monotonic()) >= due:
            due = now + _EACH
            say(f"{show_bytes(read)} of {show_bytes(total)} read back")

    return tell


def _foresee_same(
    doubtful: Sequence[tuple[str, Entry]],
    there: Mapping[str, Seen],
    source: Source,  # noqa: ARG001 - as of who reads
    remote: Remote,
    say: Callable[[str], None],
    known: ReadBack,
) -> dict[str, Entry]:
    """All of them: what a run would find out takes as long here. It is told how much that is."""
    sizes = [new.size for path, new in doubtful if known.recall(path, there[path].tag) is None]
    if sizes:
        say(
            f"{len(sizes):,} {_UNPROVEN}: run compares what they hold, reading back up to "
            f"{show_bytes(sum(sizes))}, and sends those that differ, which are not in this plan; {_WITHOUT}"
        )
    return {
        path: replace(_as_there(new, there[path], remote), stamp=new.stamp)
        for path, new in _presume(doubtful).items()
    }


def _presume(files: Sequence[tuple[str, Entry]]) -> dict[str, Entry]:
    """With digests that are nobody's, in the place of those that nothing has read."""
    return {path: replace(new, digest=digest_of(b"\0" + os.fsencode(path))) for path, new in files}


def read_digests(
    remote: Remote, files: Sequence[tuple[str, int]], tell: Callable[[int, str], None] | None = None
) -> Generator[tuple[str, bytes | None]]:
    """The xxh3-128 of each file's content, read back; with its size in bytes. None: it can't be read.

    ``tell`` is told how many bytes of which file have come.
    """
    pieces = remote.read([(path, 0, size) for path, size in files])
    for path, size in files:
        hasher, left = new_hash(), size
        for _, piece in pieces:
            hasher.update(piece or b"")
            left -= len(piece or b"")
            if tell is not None and piece:
                tell(len(piece), path)
            if piece is None or left <= 0:
                break
        yield path, None if left else hasher.digest()


def _as_there(ours: Entry, seen: Seen, tags: Tags) -> Entry:
    """Our entry with the time and mode that are shown."""
    return held(replace(ours, mtime_ns=(seen.mtime or 0) * NS, stamp=None), seen, tags)


def _foreign(seen: Seen, kind: Kind, tags: Tags) -> Entry:
    theirs = Entry(kind, PERMISSIONS, seen.size, (seen.mtime or 0) * NS, link=seen.link, foreign=True)
    return held(theirs, seen, tags)  # but for a link with the mode that is shown


def _walk(remote: Remote) -> dict[str, Seen]:
    """All that is there. Where directories are nothing of their own, those that something is in."""
    there = dict(remote.walk(""))
    if not remote.caps.dirs:
        for path in list(there):
            for top in ancestors(parent(path)):
                if top in there:
                    break
                there[top] = DIRECTORY
    return there


def _unclear(old: DirectorySnapshot, there: Mapping[str, Seen | None], tags: Tags) -> Iterator[str]:
    """Files of the size that they should have, which may be ours by what a listing does not show of them."""
    for path, entry in old.walk():
        seen = there.get(path)
        if seen is None or not (seen.kind is entry.kind is Kind.FILE) or seen.size != entry.size:
            continue
        if not matches(seen, entry, tags):
            yield path


def look_at_all(old: DirectorySnapshot, remote: Remote) -> dict[str, Seen | None]:
    """All that is there, and what of ``old`` is not; UNSEEN where that can't be told."""
    there: dict[str, Seen | None] = dict(_walk(remote))
    # A directory that can't be listed may still hold all it should.
    there.update(remote.look([path for path, _ in old.walk() if path not in there]))
    there.update(as_known(there, old.walk()))
    if not remote.caps.dirs:
        there.update(remote.look(list(_unclear(old, there, remote))))
        there.update(dict.fromkeys(_beside(old, there), DIRECTORY))
    if not remote.caps.dirs and not remote.caps.empty_dirs:  # one in which nothing is shows nowhere
        hidden = (path for path, entry in old.walk() if entry.kind is Kind.DIR and there.get(path) is None)
        there.update(dict.fromkeys(hidden, DIRECTORY))
    return there


def _beside(old: DirectorySnapshot, there: Mapping[str, Seen | None]) -> set[str]:
    """Directories of ours in which something is, and beside which others have put a file of the same name."""
    taken = {path for path, entry in old.walk() if entry.kind is Kind.DIR and _is_file(there.get(path))}
    if not taken:
        return taken
    return taken & {
        top for path, seen in there.items() if seen is not None for top in ancestors(parent(path))
    }


def _is_file(seen: Seen | None) -> bool:
    return seen is not None and seen.kind is Kind.FILE


def drifted(
    old: DirectorySnapshot, there: Mapping[str, Seen | None], remote: Remote, options: Options
) -> dict[str, Entry | None]:
    """Effects on the snapshot: what the remote does not hold as we left it is dropped, a mode is as it is.

    ``there``: see ``look_at_all``.

    A link in the place of a directory is known as such from then on, where such are to stay.
    """
    effects: dict[str, Entry | None] = {}
    for path, entry in old.walk():
        seen = there.get(path)
        if seen is UNSEEN:
            continue  # it may hold all it should
        if seen is None or not matches(seen, entry, remote):
            linked = seen is not None and (entry.kind, seen.kind) == (Kind.DIR, Kind.SYMLINK)
            effects[path] = (
                foreign_link(seen.link) if seen is not None and linked and options.keep_remote_links else None
            )
        elif (
            options.keeps_mode(entry.kind)
            and seen.mode not in (None, entry.mode)
            and entry.mode >= 0
            and entry.kind is not Kind.SYMLINK
        ):
            effects[path] = replace(entry, mode=seen.mode, stamp=None)  # else only its stamp is looked at
    return effects


def _full_remote(job: Job, first: str, others: Sequence[str], names: Sequence[str]) -> str:
    known = "and no snapshot tells where that came from. Nothing was done."
    if others:
        names = " and ".join(map(repr, others))
        known = (
            f"and what is remembered of it is of another SRC: {names}. Nothing was done. If SRC was moved "
            f"from there, run once with --moved-from {shlex.quote(others[0])}: nothing is sent again then."
        )
    if job.shared:
        known = f"and it has no state of a job {job.name!r}. Nothing was done."
    if names:
        known += f" There is one of {' and '.join(map(repr, names))}: if that is this, say so with --job."
    return (
        f"{job.target} already holds something ({first!r} for one), {known} "
        "If this is where the folder belongs, run once with --adopt-existing: "
        "what is equal counts as sent, what differs is kept in the trash on the remote "
        "before it is replaced, and nothing else there is touched. "
        "Look at it first with 'reconcile plan --adopt-existing'."
    )
