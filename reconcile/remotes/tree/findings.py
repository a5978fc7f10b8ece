"""What a look at DEST came to, fact by fact, and what each means for a job. Nothing is asked here."""

from __future__ import annotations

import os
from collections.abc import Iterator

from reconcile.core.checkup import Fact, Part, Standing, Value
from reconcile.core.units import show_bytes, show_moment
from reconcile.remotes.tree.examine import Examined
from reconcile.remotes.tree.naming import BEYOND_ASCII, CHARACTERS, LONGEST
from reconcile.remotes.tree.pace import SMALL, Pace
from reconcile.remotes.tree.quirks import Quirks
from reconcile.remotes.tree.site import Site
from reconcile.remotes.tree.verbs import Replace, Sync


def findings(site: Site, seen: Examined) -> Iterator[Fact]:
    """All of them."""
    yield _round_trip(seen)
    yield from _paces(seen)
    yield from _dest(site, seen)
    yield from _space(seen)
    if not seen.is_there or seen.refused:
        return
    quirks = site.quirks
    yield _order(site)
    yield from _renames(site, seen)
    yield from _links(quirks)
    yield from _modes(quirks)
    yield from _times(quirks)
    yield from _names(quirks)
    yield _fsync(site, seen)
    yield from _channels(site, seen)


def _told(part: Part, name: str, words: str, value: Value = None) -> Fact:
    return Fact(part, name, words, value=value)


def _works(name: str, words: str, value: Value = True) -> Fact:
    return Fact(Part.TRIED, name, words, Standing.WORKS, value=value)


def _otherwise(name: str, words: str, means: str, value: Value = False) -> Fact:
    return Fact(Part.TRIED, name, words, Standing.OTHERWISE, means, value)


def _lacks(name: str, words: str, means: str, value: Value = False) -> Fact:
    return Fact(Part.TRIED, name, words, Standing.LACKS, means, value)


def _unknown(name: str) -> Fact:
    words = "could not be told"
    return Fact(Part.TRIED, name, words, Standing.OTHERWISE, "it is tried again by each run")


def _round_trip(seen: Examined) -> Fact:
    times = seen.round_trips
    median = times[len(times) // 2]
    words = f"{show_moment(median)} ({show_moment(times[0])} to {show_moment(times[-1])})"
    return _told(Part.LINE, "round trip", words, round(median, 6))


def _paces(seen: Examined) -> Iterator[Fact]:
    if seen.sent is not None:
        yield _pace("sends", seen.sent, "no content arrives")
    if seen.spread is not None and seen.channels > 1:
        yield _pace("sends more", seen.spread, "no content arrives", over=seen.channels)
    if seen.fetched is not None:
        yield _pace("fetches", seen.fetched, "no content can be read back")


def _pace(name: str, pace: Pace, without: str, *, over: int = 1) -> Fact:
    if not pace.size:
        if not pace.failed:
            return _told(Part.LINE, name, "not measured: there is too little room")
        return Fact(Part.LINE, name, pace.failed, Standing.LACKS, without, 0)
    how = "one file" if over == 1 else f"{over} files, each over a channel of its own"
    words = (
        f"{show_bytes(round(pace.rate))}/s ({show_bytes(pace.size)} in {show_moment(pace.seconds)}, {how})"
    )
    if pace.failed:
        words += f"; then it was refused: {pace.failed}"
        return Fact(Part.LINE, name, words, Standing.LACKS, without, round(pace.rate))
    return _told(Part.LINE, name, words, round(pace.rate))


def _dest(site: Site, seen: Examined) -> Iterator[Fact]:
    base = os.fsdecode(site.layout.base)
    if not seen.is_there:
        what = seen.refused or (
            f"{base} is not there; the folder that it is to be in is"
            if seen.parent_is_there
            else f"{base} is not there, nor the folder that it is to be in"
        )
        means = "a run makes it; nothing was tried, since that takes a folder: make it, and ask again"
        yield Fact(Part.DEST, "folder", what, Standing.OTHERWISE, means, base)
        return
    yield _told(Part.DEST, "folder", base, base)
    if seen.refused:
        yield Fact(Part.DEST, "writable", seen.refused, Standing.LACKS, "nothing can be sent", value=False)
    else:
        yield Fact(Part.DEST, "writable", "yes", Standing.WORKS, value=True)
    if seen.left:
        means = "it is ours, and may be removed"
        yield Fact(Part.DEST, "left behind", seen.left, Standing.LACKS, means, seen.left)


def _space(seen: Examined) -> Iterator[Fact]:
    space = seen.space
    if space is None:
        yield _told(Part.DEST, "space", "not told")
    elif space.read_only:
        yield Fact(Part.DEST, "space", "read-only", Standing.LACKS, "nothing can be sent", 0)
    elif not space.bytes or space.out_of_inodes:
        yield Fact(Part.DEST, "space", "the disk is full", Standing.LACKS, "nothing can be sent", 0)
    else:
        yield _told(Part.DEST, "space", f"{show_bytes(space.bytes)} free", space.bytes)


def _order(site: Site) -> Fact:
    if site.quirks.ordered:
        return _works("order", "requests are carried out as they were sent")
    means = "what needs one another is asked in turn, which takes longer the farther it is"
    words = "requests overtake each other" if site.claims_openssh else "not known to be kept"
    return _otherwise("order", words, means)


def _channels(site: Site, seen: Examined) -> Iterator[Fact]:
    if seen.wanted == 1:
        return
    means = "large files far away go over fewer, and take longer"
    if seen.channels < seen.wanted:
        words = f"{seen.channels} at a time; {seen.wanted} were asked for"
        yield _otherwise("channels", words, means, seen.channels)
    elif not (site.quirks.ordered or site.quirks.channels_agree):
        words = f"{seen.channels} at a time, and each shows what it made itself"
        yield _otherwise("channels", words, "content goes over one, which takes longer far away", 1)
    else:
        yield _works("channels", f"{seen.channels} at a time", seen.channels)


def _renames(site: Site, seen: Examined) -> Iterator[Fact]:
    quirks = site.quirks
    if quirks.renames is False:
        means = "nothing can be put in place: files arrive whole, or not at all, by a rename"
        yield _lacks("rename", "denied, in our own folder too", means)
        return
    if quirks.refuses is None:
        yield _unknown("rename")
    elif quirks.refuses:
        yield _works("rename", "leaves alone what is there already")
    else:
        means = "each path is looked at before, so that nothing of others is driven out"
        yield _otherwise("rename", "drives out what is there already", means)
    if seen.replaces:
        yield _works("replace", "a file takes the place of another in one step")
    else:
        offered = "fails" if Replace in site.can else "not offered"
        means = "a file that changes is not there for a moment"
        yield _otherwise("replace", f"in one step: {offered}", means)


def _links(quirks: Quirks) -> Iterator[Fact]:
    if quirks.makes_links is None:
        yield _unknown("links")
    elif not quirks.makes_links:
        yield _lacks(
            "links", "can't be made", "symlinks are not sent; --links follow sends what they lead to"
        )
    else:
        odd = {
            "made with the arguments the other way round": quirks.path_first,
            "shown as what they lead to": quirks.lstat_shows is False or quirks.readdir_shows is False,
            "renamed as what they lead to": quirks.moves_links is False,
            "told by where they lead, as a whole path": quirks.verbatim is False,
        }
        if any(odd.values()):
            words = ", ".join(word for word, is_so in odd.items() if is_so)
            yield _otherwise("links", words, "they are handled so that nothing behind a link is touched")
        else:
            yield _works("links", "are made, shown, moved and removed as links")


def _modes(quirks: Quirks) -> Iterator[Fact]:
    if quirks.keeps_modes is None:
        yield _unknown("modes")
    elif quirks.keeps_modes:
        yield _works("modes", "show as they were set")
    else:
        words = "are taken, and do not show" if quirks.takes_modes else "can't be set"
        yield _lacks("modes", words, "permissions are not kept; --perms ignore says so of itself")


def _times(quirks: Quirks) -> Iterator[Fact]:
    if quirks.keeps_times is None:
        yield _unknown("times")
    elif not quirks.keeps_times:
        words = "are taken, and do not show" if quirks.takes_times else "can't be set"
        means = "times of files are not kept, and a change by others shows by its size only"
        yield _lacks("times", words, means)
    elif quirks.time_step is not None:
        words = f"are kept in steps of {abs(quirks.time_step)} s"
        yield _otherwise("times", words, "they are compared so", quirks.time_step)
    elif quirks.time_shift is not None:
        words = f"show {quirks.time_shift:+,} s off"
        yield _otherwise("times", words, "they are compared so", quirks.time_shift)
    elif quirks.late_times:
        yield _otherwise("times", "hold once the file is closed", "they are set then, one request more")
    else:
        yield _works("times", "show as they were set, to the second")


def _names(quirks: Quirks) -> Iterator[Fact]:
    if quirks.name_bytes is None:
        yield _unknown("names")
        return
    if quirks.folds_case:
        means = "of two names that differ in that only, one is brought, and the other is told"
        yield _lacks("case", "makes no difference: A and a are one name", means)
    else:
        yield _works("case", "A and a are two names")
    if quirks.composes:
        means = "names are known by either form"
        yield _otherwise("accents", "names come out composed in another way", means)
    elif quirks.folds_forms:
        yield _otherwise("accents", "however composed they are one name", "the first of two is brought")
    else:
        yield _works("accents", "names stay as they are composed")
    refused = quirks.refuses_chars or ""
    refused += "\n" if quirks.keeps_controls is False and "\n" not in refused else ""
    taken = "".join(char for char in CHARACTERS + BEYOND_ASCII if char not in refused)
    if refused or not quirks.keeps_ends:
        what = [*map(_spell, refused)]
        what += [] if quirks.keeps_ends else ["a dot or blank at the end"]
        means = "what is called so is not brought, and told"
        yield _lacks("characters", f"refused or changed: {'  '.join(what)}", means, refused)
    else:
        yield _works("characters", f"{'  '.join(map(_spell, taken))} may be in names", taken)
    if quirks.keeps_bytes is False:
        yield _lacks("bytes", "no UTF-8: changed", "a name that is not UTF-8 is not brought, and told")
    elif quirks.keeps_bytes:
        yield _works("bytes", "a name that is not UTF-8 stays as it is")
    else:
        yield _lacks("bytes", "no UTF-8: refused", "a name that is not UTF-8 is not brought, and told")
    if quirks.name_bytes < LONGEST:
        means = "what is called longer is not brought, and told"
        yield _lacks("length", f"up to {quirks.name_bytes} bytes of a name", means, quirks.name_bytes)
    else:
        yield _works("length", f"{quirks.name_bytes} bytes of a name", quirks.name_bytes)


def _spell(character: str) -> str:
    return character if character.isprintable() else "line breaks"


def _fsync(site: Site, seen: Examined) -> Fact:
    if seen.synced is not None:
        words = f"{show_moment(seen.synced)} until a file of {show_bytes(SMALL)} is on the disk there"
        return _works("fsync", words, round(seen.synced, 6))
    words = "fails" if Sync in site.can else "not offered"
    means = "what was sent is acknowledged, and not known to be on the disk there"
    return _otherwise("fsync", words, means)
