"""A failed request in words, and whether it means that nothing more can be sent."""

from __future__ import annotations

from collections.abc import Sequence

from reconcile.core.model import Action, Problem, Reason
from reconcile.core.paths import parent
from reconcile.remotes.tree.layout import STAGING
from reconcile.remotes.tree.site import Site, problem
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import Code, Space, Status, Statvfs

QUOTA_SIGNS = 10  # contents refused in a row, with space left: a quota, most likely
OVERHEAD = 8 * 1024  # bytes that a file may take beyond its content
FULL = "the disk there is full; free some space"
OVER_QUOTA = "no more content is taken there; a quota may be used up"
READ_ONLY = "the file system there is read-only"

_WORDS = {"no space": FULL, "quota": OVER_QUOTA, "read-only": READ_ONLY}
_CODES = {Code.NO_SPACE: FULL, Code.QUOTA: OVER_QUOTA, Code.READ_ONLY: READ_ONLY}


def explain(site: Site, path: str, doing: str, status: Status, size: int = 0) -> Recipe[Problem]:
    """A failed request in words. ``size`` is how many bytes of content it was to write."""
    if status.code == Code.DENIED:
        text = f"{doing}: permission denied by {site.who}; check owner and mode there"
        return problem(path, Reason.DENIED, text)
    if status.code == Code.MISSING:
        return problem(path, Reason.MISSING, f"{doing}: gone from the remote, or its directory is")
    if status.code == Code.UNSUPPORTED:
        return problem(path, Reason.UNSUPPORTED, f"{doing}: {site.who} can't do that")
    if status.code == Code.INVALID:
        text = f"{doing}: {site.who} does not take this name; it may be too long, or hold what it forbids"
        return problem(path, Reason.BAD_NAME, text)
    if site.memory.held_up(path) is None:
        yield from _look_for_space(site, path, status, size)
    if (full := site.memory.held_up(path)) is not None:
        return problem(path, full.reason, f"{doing}: {full.message}")
    said = f" ({status.message})" if status.message else ""
    return problem(path, Reason.FAILED, f"{doing}: {site.who} failed{said}")


def removed_at_close(site: Site, path: str) -> Problem:
    """A file that was written, and closed without a complaint, is gone: so ProFTPD enforces a quota."""
    site.memory.refusals += 1
    if site.memory.refusals >= QUOTA_SIGNS and site.memory.held_up(path) is None:
        _stop_sending(site, path, OVER_QUOTA)
    text = f"write the file: {site.who} removed it again when it was closed; a quota may be used up"
    return problem(path, Reason.NO_SPACE, text)


def not_sent(site: Site, path: str) -> Problem | None:
    """Why a file need not be tried any more; None: it has to be."""
    if (full := site.memory.held_up(path)) is None:
        return None
    return problem(path, full.reason, f"not sent: {full.message}")


def what_fits(site: Site, actions: Sequence[Action]) -> Recipe[list[Action]]:
    """Of uploads that were not made for want of space those that have room together, the smallest first."""
    is_full = site.memory.full is not None and site.memory.full.message.startswith(FULL)
    if not is_full or Statvfs not in site.can or STAGING not in site.layout.parts:
        return []
    space: Space | Status = yield Statvfs(site.layout.workdir)
    if isinstance(space, Status) or space.read_only or space.out_of_inodes:
        return []
    room, fitting = space.bytes, []
    for action in sorted(actions, key=lambda action: action.size):
        room -= action.size + OVERHEAD
        if room < 0:
            break
        fitting.append(action)
    return fitting


def _look_for_space(site: Site, path: str, status: Status, size: int) -> Recipe[None]:
    """Find out whether a failure means that nothing more fits; remembered for the rest of the run."""
    said = status.message.lower()
    found = _CODES.get(status.code) or next((found for words, found in _WORDS.items() if words in said), None)
    if found is None and Statvfs in site.can:
        found = yield from _ask_for_space(site, path, size)
    if found is None and size:
        site.memory.refusals += 1
        if site.memory.refusals >= QUOTA_SIGNS:
            found = OVER_QUOTA
    if found is not None:
        _stop_sending(site, path, found, "" if said in ("", "failure") else f" ({status.message})")


def _ask_for_space(site: Site, path: str, size: int) -> Recipe[str | None]:
    """Why nothing more fits where the file is staged, or where it is to go."""
    directory = parent(path)
    known = site.memory.is_elsewhere(directory)
    asked = [Statvfs(where) for where in (site.layout.workdir, site.layout.at(directory))[known:]]
    answers: list[Space | Status] = yield asked
    found = [_shortage(answer, size) for answer in answers]
    if not known and found[0] is None and found[1] is not None:
        site.memory.elsewhere.add(directory)  # for our folder has room
    return next(filter(None, found), None)


def _shortage(space: Space | Status, size: int) -> str | None:
    if isinstance(space, Status):
        return None
    if space.read_only:
        return READ_ONLY
    return FULL if space.bytes < max(size, 1) or space.out_of_inodes else None


def _stop_sending(site: Site, path: str, found: str, said: str = "") -> None:
    """Send nothing more to the file system that ``path`` is on."""
    full = problem("", Reason.NO_SPACE, found + said)
    disk = site.memory.disk_of(parent(path))
    if disk is None:
        site.memory.full = full
    else:
        site.memory.full_there[disk] = full
    site.keeps_tags = False  # a write may have been cut short and acknowledged
    if site.layout.run:
        where = f", in {disk!r}" if disk else ""
        site.say_once(
            f"{found}{where}. Of the files left, this run brings what fits for sure; all else goes on"
        )
