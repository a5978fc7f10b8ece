"""What this run has seen and done so far, as far as recipes have to know of one another.

What may live here: what ends with the run. What is remembered longer is in ``quirks``.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from reconcile.core.model import Action, Entry, Problem, Reason
from reconcile.core.paths import PathDict, ancestors, parent
from reconcile.remotes.tree.verbs import Attrs


class Discarded(Struct, frozen=True):
    """Something in a trash, and what is ours of it."""

    place: bytes  # where it is now; empty: known by its name alone
    path: str  # where it was
    holds: Sequence[tuple[str, bool]]  # paths in it, itself ("") and parents first; whether directories


class RunMemory(Struct, eq=False):
    """Empty at the beginning."""

    marks: tuple[str, ...] = ()  # of the job that are in its folder
    kept: set[bytes] = field(default_factory=set)  # folders that are made in the kept part of the trash
    empty: dict[str, int | None] = field(default_factory=dict)  # directories made by this run: their modes
    unproven: list[Action] = field(default_factory=list)  # files published on trust
    otherwise: set[str] = field(default_factory=set)  # files that had changed, and came as they were
    elsewhere: set[str] = field(default_factory=set)  # directories on another file system than our folder
    swept: set[str] = field(default_factory=set)  # directories in which nothing of dead runs is staged
    user: int | None = None  # who we are there: who owns what we make
    group: int | None = None  # of what is made in the staging folder
    hands_down: bool = False  # the staging folder gives its group to what is made in it (setgid)
    groups: dict[str, int] = field(default_factory=dict)  # of directories looked at that do
    parents: PathDict[Problem | None] = field(
        default_factory=PathDict
    )  # directories looked at; None: as they should be
    twins: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of the plan
    linked: dict[str, Entry] = field(default_factory=dict)  # links that stay where there is a directory here
    told_links: set[str] = field(default_factory=set)  # of them
    stuck: list[Problem] = field(default_factory=list)  # what earlier runs left and could not be removed
    discarded: list[Discarded] = field(default_factory=list)  # what is in the run's trash, to be purged
    now: int | None = None  # seconds of the server's clock, when it made the run's folder
    others: list[tuple[bytes, int]] = field(
        default_factory=list
    )  # folders of other jobs in our working folder, and when names in them changed, by the server's clock
    owner: int | None = None  # of our working folder, if it was there
    staged: dict[bytes, bytes] = field(
        default_factory=dict
    )  # what dead runs had staged, by ``name_of`` its path
    places: dict[str, bytes] = field(default_factory=dict)  # where files of a directory are staged together
    whole: dict[bytes, tuple[int, int]] = field(
        default_factory=dict
    )  # such places: the mode that each has, and how many files are to come there
    unfilled: set[str] = field(default_factory=set)  # directories made there, into which nothing came yet
    retired: int = 0  # things of ours that this run has brought to the part of it that has an age
    retired_bytes: int = 0  # of content in them
    copies: bool | None = None  # the server copies files, and what the first one held was looked at
    names_twice: bool = False  # a second name was asked for, and seen
    keeps: int = 0  # things that this run has brought to the part of the trash that is not purged
    unopened: list[Action] = field(default_factory=list)  # uploads refused at OPEN, without a word
    uploads: int = 0  # files to be sent by the actions under way
    unsynced: int = 0  # files that are acknowledged, and may not have reached the disk
    full: Problem | None = None  # why no more content is sent in this run
    full_there: dict[str, Problem] = field(default_factory=dict)  # the same elsewhere, by its top
    refusals: int = 0  # writes refused in a row, for no reason that we see

    def forget_trash(self) -> None:
        """There is another one now: what went to the one before is counted."""
        self.discarded.clear()
        self.unfilled.clear()
        self.keeps = self.retired = self.retired_bytes = 0

    @property
    def shared(self) -> bool:
        """Whether others push to DEST, too, or did."""
        return bool(self.others)

    def note_group(self, path: str, there: Attrs) -> None:
        """What group a directory gives to what is made in it. Access control lists do so unseen."""
        if there.mode & stat.S_ISGID:
            self.groups[path] = there.gid

    def suits(self, directory: str) -> bool:
        """Whether a file made in the staging folder may go to a directory, as if it was made there."""
        return not self.is_elsewhere(directory) and self.groups.get(directory, self.group) == self.group

    def is_elsewhere(self, directory: str) -> bool:
        """Whether a directory is on another file system than our folder, as far as is known."""
        return bool(self.elsewhere) and self.disk_of(directory) is not None

    def disk_of(self, directory: str) -> str | None:
        """The top of the other file system that a directory is on, as far as is known; None: on none."""
        return next((top for top in (*ancestors(directory), "") if top in self.elsewhere), None)

    def held_up(self, path: str) -> Problem | None:
        """Why no more content is sent to a path in this run; None: it is."""
        disk = self.disk_of(parent(path)) if self.elsewhere else None
        if disk is None or (self.full is not None and self.full.reason is Reason.DENIED):
            return self.full
        return self.full_there.get(disk)

    def hands_down_alike(self, directory: str) -> bool:
        """Whether a directory made in the staging folder hands its group down as the one made here does."""
        return (directory in self.groups) == self.hands_down

    def rename_parents(self, old: str, new: str) -> None:
        """A directory that we moved, and all below it, is as checked as it was."""
        for path, trouble in self.parents.cut(old).items():
            after = new + path[len(old) :]
            self.parents[after] = trouble
            if path in self.groups:
                self.groups[after] = self.groups.pop(path)

    def forget_parents(self, top: str) -> None:
        """A directory is gone."""
        for path in self.parents.cut(top):
            self.groups.pop(path, None)
