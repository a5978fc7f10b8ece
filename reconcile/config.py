"""What the user typed → :class:`reconcile.core.job.Job`. Flags only, so far.

Whatever is wrong with it is a :class:`UsageError` that names the way out. A DEST is never echoed:
it may hold a password. Apart from ``--exclude-from`` no file is read here, and the source is not
looked at: whether it exists is the scan's to say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NoReturn

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.chmod import parse_chmod
from reconcile.core.errors import UsageError
from reconcile.core.filters import check_patterns, make_filter
from reconcile.core.job import (
    AdoptBy,
    Fsync,
    Job,
    Links,
    Lock,
    OnDrift,
    OnStale,
    Options,
    Own,
    Perms,
    Release,
    Target,
    Trash,
)
from reconcile.core.model import RESERVED_NAME, Kind, Publish
from reconcile.core.turns import NAMELESS
from reconcile.home import absolute, expand_option, in_home
from reconcile.remotes import parse_target, scheme_of
from reconcile.remotes.urls import URL, fold_path

_ELSEWHERE = r"(?s)[^/]*:.*"
_LIMIT = r"([0-9]{1,18})(%?)"
_AGE = r"([0-9]{1,5})([hdw])"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,39}"
_MOMENT = r"([0-9]{1,9})([smhd])"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}  # seconds
_RATE = r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([kKmMgG]?)"
_SIZES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}  # bytes
_ROOM = r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([kKmMgGtT])B?"  # decimal units, as everywhere
_LEAST_RATE = 10_000  # bytes a second; with less, a server may take us for dead
_DEFAULTS = Options()
_KEPT = Release().keep
_NO_LINKS = "there are no releases in a bucket, as they are shown by links"
REMOTE = "remote"  # for a folder of state: it lies at DEST
_LONG = 1_000_000.0  # seconds; more is a slip of the finger, and too much for some clocks


class Flags(Struct, frozen=True):
    """The command line of ``plan`` and ``run``, checked for form by nobody yet.

    ``source`` and the names of local files may be relative to the current folder or start with ``~``.
    """

    source: str
    target: str
    ci: bool = False  # a profile: what it stands for is among the others by now
    mirror: bool = False
    adopt_existing: bool = False
    adopt_by: str = _DEFAULTS.adopt_by
    adopt_orphans: bool = False
    keep_remote_links: bool = False
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude_from: tuple[str, ...] = ()
    default_excludes: bool = False
    delete_excluded: bool = False
    growing: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    min_age: str | None = None
    limit_rate: str | None = None
    publish: str = _DEFAULTS.publish
    publish_partial: bool = False
    shared: tuple[str, ...] = ()
    leave_foreign: bool = False
    keep_releases: int = _KEPT
    last: tuple[str, ...] = ()
    links: str = Links.KEEP
    times: str = "keep"
    perms: str = Perms.KEEP
    chmod: str | None = None
    ignore_inode: bool = False
    ignore_ctime: bool = False
    rehash: bool = False
    max_delete: str | None = None
    allow_mass_delete: bool = False
    on_drift: str = _DEFAULTS.on_drift
    keep: str = "ever"
    trash: str = "none"
    trash_replaced: bool = True
    refresh: bool = _DEFAULTS.refresh
    on_stale: str = _DEFAULTS.on_stale
    check_mark: bool = _DEFAULTS.check_mark
    start_over: bool = _DEFAULTS.start_over
    release_held: bool = _DEFAULTS.release_held
    moved_from: str | None = None
    job: str | None = None
    fsync: str = _DEFAULTS.fsync
    lock: str = _DEFAULTS.lock
    retries: int = _DEFAULTS.retries
    retry_max_wait: float = _DEFAULTS.retry_max_wait
    timeout: float = _DEFAULTS.timeout
    wait: float = _DEFAULTS.wait
    state: str | None = None
    remote_workdir: str | None = None
    ours: tuple[Own, ...] = ()  # what else of ours is never sent, by paths in full
    state_here: str | None = None  # folder for its state, were that not at DEST; None: the usual one
    reaching: Mapping[str, Any] = MappingProxyType({})  # the rest, which is for the scheme of DEST to know


def make_flags(typed: Mapping[str, Any]) -> Flags:
    """What was typed, by the names of the options with ``_`` for ``-``."""
    common = {name: value for name, value in typed.items() if name in Flags.__struct_fields__}
    return Flags(**common, reaching={name: value for name, value in typed.items() if name not in common})


def make_job(flags: Flags, *, interactive: bool = False) -> Job:
    """The job that ``flags`` describe; ``interactive`` allows to prompt for secrets.

    Raises :class:`UsageError` for anything that can be known to be wrong without looking at the source
    or the remote.
    """
    from reconcile.source.own import find_own  # late: these bring msgpack
    from reconcile.state.place import find_copy, find_place, find_state
    from reconcile.state.store import default_state_base, has_snapshot, is_later
    from reconcile.state.unfinished import is_unfinished

    _check_direction(flags.source, flags.target)
    if flags.delete_excluded and not flags.mirror:
        _refuse("--delete-excluded goes with --mirror: without that nothing is deleted")
    source = _as_given(flags.source)
    target, login = _how_to_reach(flags, interactive)
    scheme = scheme_of(target)
    workdir, place_there = _remote_workdir(flags.remote_workdir), target
    if (release := _release(flags, target)) is not None:
        target, workdir = as_shelf(target, workdir)
    shared = flags.state == REMOTE
    if shared:
        _check_shared()
    state = None if shared else _expand(flags.state, "--state")
    base = default_state_base() if state is None else os.path.abspath(state)
    moved_from = _expand(flags.moved_from, "--moved-from")
    chmod = _DEFAULTS.chmod if flags.chmod is None else parse_chmod(flags.chmod)
    dest = scheme.folders(place_there, workdir)
    files = (*scheme.own_files(login), *flags.ours)
    name = check_name(flags.job) if flags.job is not None else (NAMELESS if shared else "")
    former, elsewhere = None if moved_from is None else _as_given(moved_from), ""
    if shared:
        here = (flags.state_here or base, base)
        found = (find_state(each, source, target, former, flags.job or "") for each in here)
        elsewhere = next(filter(None, found), "")
        base = os.path.join(base, REMOTE)
    place = find_place(base, source, target, None if shared else former, name, chosen=state is not None)
    if shared:  # whether that is what the state is of shows once it was fetched
        place = replace(place, formerly=former or "")
    is_new = not shared and not place.former and not has_snapshot(place.folder)
    if flags.ours and is_new:  # a job of a file
        with suppress(UsageError):  # a user without a home has no state there
            before = find_place(default_state_base(), source, target, name=name)
            place = replace(place, former=before.former, formerly=before.formerly)
    if not shared and not place.former and (state is None or flags.ours):
        with suppress(UsageError):
            there = os.path.join(default_state_base(), REMOTE)
            elsewhere = find_copy(there, source, target, name, whoever=is_new)
    if elsewhere and not shared and not is_later(elsewhere, place.folder) and not is_unfinished(elsewhere):
        elsewhere = ""  # as ever after it has come back; what is at DEST has to be fetched to tell
    return Job(
        source=place.source,
        target=target,
        state=place.folder,
        former=place.former,
        formerly=place.formerly,
        likely=place.likely,
        shared=shared,
        elsewhere=elsewhere,
        name=name,
        named="" if release is None else str(place_there),
        options=Options(
            mirror=flags.mirror,
            adopt_existing=flags.adopt_existing or flags.start_over,
            adopt_by=AdoptBy(flags.adopt_by),
            adopt_orphans=_adopt_orphans(flags),
            keep_remote_links=flags.keep_remote_links,
            remote_workdir=workdir,
            filters=_filter_lines(flags),
            default_excludes=flags.default_excludes,
            delete_excluded=flags.delete_excluded,
            only=_only(flags.only, source),
            min_age=None if flags.min_age is None else read_time(flags.min_age, "--min-age"),
            limit_rate=_rate(flags.limit_rate),
            growing=_patterns(flags.growing, "--growing"),
            publish=_publish(flags),
            publish_partial=flags.publish_partial,
            last=_patterns(flags.last, "--last"),
            own=(*find_own(source, base, place.folder, files, dest), *_in_common(release)),
            own_files=(*files, *(Own(name, f"is {what}") for name, what in dest.items())),
            links=Links(flags.links),
            keep_times=flags.times == "keep",
            file_perms=Perms.KEEP if chmod.names(Kind.FILE) else Perms(flags.perms),
            dir_perms=Perms.KEEP if chmod.names(Kind.DIR) else Perms(flags.perms),
            chmod=chmod,
            ignore_inode=flags.ignore_inode,
            ignore_ctime=flags.ignore_ctime,
            rehash=flags.rehash,
            max_delete=_max_delete(flags.max_delete),
            allow_mass_delete=flags.allow_mass_delete,
            on_drift=OnDrift(flags.on_drift),
            keep=_age(flags.keep),
            trash=_trash(flags, release),
            refresh=flags.refresh,
            on_stale=OnStale(flags.on_stale),
            check_mark=flags.check_mark,
            start_over=flags.start_over,
            release_held=flags.release_held,
            fsync=Fsync(flags.fsync),
            lock=Lock.REMOTE if shared else Lock(flags.lock),
            release=release,
            retries=_retries(flags.retries),
            retry_max_wait=_seconds(flags.retry_max_wait, "--retry-max-wait"),
            timeout=_seconds(flags.timeout, "--timeout", least=1),
            wait=_seconds(flags.wait, "--wait"),
        ),
        login=login,
    )


def _release(flags: Flags, target: Target) -> Release | None:
    if flags.publish != Publish.RELEASE:
        for given, option in (
            (flags.shared, "--shared"),
            (flags.leave_foreign, "--leave-foreign"),
            (flags.keep_releases != _KEPT, "--keep-releases"),
        ):
            if given:
                _refuse(f"{option} goes with --publish release")
        return None
    if target.scheme == "s3":
        _refuse(f"--publish release: {_NO_LINKS}; leave it out")
    if flags.keep_releases < 1:
        _refuse("--keep-releases takes a number from 1, which is the one that is shown")
    return Release(tuple(map(_shared_path, flags.shared)), flags.leave_foreign, flags.keep_releases)


def _in_common(release: Release | None) -> tuple[Own, ...]:
    paths = () if release is None else release.shared
    return tuple(Own(path, "is what all releases have in common (--shared)") for path in paths)


def _shared_path(text: str) -> str:
    path = text.strip("/")
    if not path or text.startswith("/") or "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        _refuse("--shared takes a path in SRC, uploads or var/cache, say")
    return path


def as_shelf(target: Target, workdir: str | None) -> tuple[Target, str]:
    """Where what is brought is made into releases, and our folder: see ``core.shelf``. Raises UsageError."""
    if target.scheme == "s3":
        _refuse(_NO_LINKS)
    from reconcile.core.shelf import NEXT, RELEASES

    top = target.path.rstrip("/")
    tree = replace(target, path=f"{top}/{RELEASES}/{NEXT}")  # type: ignore[type-var]  # a Struct, each
    return tree, workdir if workdir is not None else f"{top}/{RESERVED_NAME}"


def make_visit(flags: Flags, *, interactive: bool = False) -> Job:
    """A job without SRC and state, for a look at DEST alone. Raises UsageError."""
    target, login = _how_to_reach(flags, interactive)
    options = Options(
        remote_workdir=_remote_workdir(flags.remote_workdir),
        timeout=_seconds(flags.timeout, "--timeout", least=1),
    )
    return Job(source="", target=target, state="", options=options, login=login)


def _check_shared() -> None:
    if os.path.lexists(REMOTE):
        _refuse(
            f"--state {REMOTE} keeps the state at DEST, and there is a folder of that name here: write "
            f"--state ./{REMOTE} if that is meant, or run from another folder"
        )


def _how_to_reach(flags: Flags, interactive: bool) -> tuple[Target, object]:
    """DEST, and how to be let in there. Raises UsageError for a flag that means nothing there."""
    target = parse_target(flags.target)
    scheme = scheme_of(target)
    given = {
        name: value
        for name, value in flags.reaching.items()
        if value is not None and value is not False and value != ()  # 0 is a value
    }
    if strange := sorted(given.keys() - scheme.TAKES):
        _refuse(
            f"--{strange[0].replace('_', '-')} means nothing where DEST is {target.scheme}://; leave it out"
        )
    timeout = flags.timeout if flags.timeout != _DEFAULTS.timeout else None
    return scheme.be_told(target, given, timeout=timeout, interactive=interactive)


def _check_direction(source: str, target: str) -> None:
    """SRC and DEST are easily swapped."""
    remote = URL.fullmatch(source) or (re.fullmatch(_ELSEWHERE, source) and not os.path.exists(source))
    if remote and os.path.isdir(target):
        _refuse(
            "SRC is on a server and DEST is a folder here: are they swapped? reconcile pushes a local "
            "folder to a server, it does not fetch: reconcile run SRC user@host:path"
        )


def _as_given(text: str) -> str:
    """The absolute path that was given, its links as they are: they may be there to turn."""
    if not text:
        _refuse("SRC is empty; write . for the current folder")
    if URL.fullmatch(text) and not os.path.exists(text):
        _refuse("SRC has to be a local folder: reconcile pushes, it does not fetch")
    return absolute(text)


def _filter_lines(flags: Flags) -> tuple[str, ...]:
    """Files first, then what was typed, then includes: the last match wins, so the most particular does."""
    lines = [line for name in flags.exclude_from for line in _read_lines(name)]
    for pattern in flags.exclude:
        if not pattern.strip():
            _refuse("--exclude: the pattern is empty")
        lines.append(f"\\{pattern}" if pattern.startswith("#") else pattern)
    for pattern in flags.include:
        if not pattern.strip() or pattern.startswith("!"):
            _refuse("--include: the pattern is empty or starts with '!'; an include is written without it")
        lines.append(f"!{pattern}")
    make_filter(lines)  # raises UsageError for a line that it can't understand
    return tuple(lines)


def _patterns(patterns: tuple[str, ...], option: str) -> tuple[str, ...]:
    if not all(pattern.strip() for pattern in patterns):
        _refuse(f"{option}: the pattern is empty")
    make_filter(patterns)  # raises UsageError for one that it can't understand
    return patterns


def _only(typed: tuple[str, ...], source: str) -> tuple[str, ...]:
    """Paths in SRC, as they are known there; none: all of it."""
    paths = [
        os.path.relpath(text, source) if os.path.isabs(text) else os.path.normpath(text) for text in typed
    ]
    if not all(typed) or any(path == os.pardir or path.startswith("../") for path in paths):
        _refuse("--only takes a path in SRC, written as it is from there: docs/letters")
    return () if os.curdir in paths else tuple(paths)


def read_time(text: str, option: str) -> float:
    """Seconds. Raises UsageError."""
    match = re.fullmatch(_MOMENT, text)
    if match is None:
        _refuse(f"{option} takes a time in seconds, minutes, hours or days, such as 30s, 5m, 2h or 1d")
    return int(match[1]) * _UNITS[match[2]]


def _rate(text: str | None) -> float | None:
    """Bytes a second."""
    if text is None:
        return None
    match = re.fullmatch(_RATE, text)
    rate = float(match[1]) * _SIZES[match[2].lower()] if match else 0
    if rate < _LEAST_RATE:
        _refuse("--limit-rate takes bytes a second, from 10k on: 500k, 2M, 1.5M")
    return rate


def _publish(flags: Flags) -> Publish:
    if flags.publish_partial and flags.publish == Publish.EACH:
        _refuse(
            "--publish-partial goes with --publish end or release; "
            "elsewhere what fails holds nothing back anyway"
        )
    return Publish(flags.publish)


def _read_lines(name: str) -> list[str]:
    try:
        with open(in_home(name) or name, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError(f"--exclude-from: can't read {name}: {error.strerror}") from error
    lines = [os.fsdecode(line.rstrip(b"\r")) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    check_patterns(lines, f"--exclude-from {name}")
    return lines


def _max_delete(text: str | None) -> str | None:
    if text is not None:
        match = re.fullmatch(_LIMIT, text)
        if match is None or (match[2] and int(match[1]) > 100):
            _refuse("--max-delete takes a number of entries (20) or a percentage from 0% to 100% (50%)")
    return text


def _age(text: str) -> float | None:
    """Seconds; None: for ever."""
    if text == "ever":
        return None
    match = re.fullmatch(_AGE, text)
    if match is None:
        _refuse("--keep takes an age in hours, days or weeks, such as 12h, 30d or 8w, or 'ever'")
    return int(match[1]) * _UNITS[match[2]]


def _trash(flags: Flags, release: Release | None) -> Trash | None:
    """None: nothing is kept."""
    if flags.trash == "none":
        return None
    limits: dict[str, Any] = {}
    for part in flags.trash.split(","):
        if (match := re.fullmatch(_AGE, part)) is not None and "seconds" not in limits:
            limits["seconds"] = int(match[1]) * _UNITS[match[2]]
        elif (match := re.fullmatch(_ROOM, part)) is not None and "bytes" not in limits:
            limits["bytes"] = int(float(match[1]) * _SIZES[match[2].lower()])
        else:
            _refuse("--trash takes an age (12h, 30d, 8w), a size (500MB, 5GB), both (30d,5GB), or 'none'")
    if release is not None:
        _refuse("--trash goes with no --publish release: the releases of before are there (--keep-releases)")
    return Trash(replaced=flags.trash_replaced, **limits)


def _retries(count: int) -> int:
    if not 0 <= count <= 1_000_000:
        _refuse("--retries takes a number from 0 (never connect again) to 1000000")
    return count


def _seconds(value: float, option: str, *, least: float = 0) -> float:
    if not least <= value <= _LONG:  # never true of a NaN
        _refuse(f"{option} takes a number of seconds, from {least:g} to {_LONG:.0f}")
    return value


def _adopt_orphans(flags: Flags) -> bool:
    if flags.adopt_orphans and not flags.mirror:
        _refuse("--adopt-orphans has what only DEST holds deleted there, which nothing is without --mirror")
    return flags.adopt_orphans


def check_name(text: str, what: str = "--job") -> str:
    """The name of a job, as it may be in names of files, here and on a server. Raises UsageError."""
    if not re.fullmatch(_NAME, text):
        _refuse(f"{what} takes a name of up to 40 letters, digits, '.', '_' and '-', the first no '.' or '-'")
    return text


def _remote_workdir(text: str | None) -> str | None:
    """Absolute, or ``~/…`` for a folder in the login folder."""
    if text is None:
        return None
    if "\0" in text or not (text.startswith(("/", "~/"))):
        _refuse("--remote-workdir takes an absolute path on the server, or ~/path for one in the home folder")
    home = text.startswith("~/")
    folder = fold_path(text.removeprefix("~"), "--remote-workdir")
    if folder == "/":
        _refuse("--remote-workdir: name a folder of its own")
    return f"~{folder}" if home else folder


def _expand(name: str | None, option: str) -> str | None:
    return None if name is None else expand_option(name, option)


def _refuse(message: str) -> NoReturn:
    raise UsageError(message)
