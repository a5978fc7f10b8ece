"""A disk that loses power: what our code does to one folder is recorded, and every state replayed.

The recorder stands where a module says ``os`` and ``open``; the real files are
written all the same. Nothing is assumed that POSIX does not promise: content is
safe after fsync of the file, names after fsync of the folder. Names that are not
safe yet may still be there, in the order in which they were made.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import IO, Any

import pytest

FOLDER = -1  # what an fsync of the folder is logged for


@dataclass(frozen=True, slots=True)
class Step:
    """One operation. ``inode`` numbers files in the order they were made."""

    what: str  # make, write, fsync, rename, link, unlink, mark
    name: str = ""
    other: str = ""
    inode: int = 0
    data: bytes = b""


@dataclass(slots=True)
class Recorder:
    """Writes down what modules do below ``folder``, which they believe to be their ``os``."""

    folder: str
    steps: list[Step] = field(default_factory=list)
    _inodes: dict[str, int] = field(default_factory=dict)
    _open: dict[int, int] = field(default_factory=dict)
    _made: int = 0

    def __post_init__(self) -> None:
        for name in sorted(os.listdir(self.folder)):
            with open(os.path.join(self.folder, name), "rb") as file:
                self._make(name)
                self.steps.append(Step("write", inode=self._made, data=file.read()))
            self.steps.append(Step("fsync", inode=self._made))
        self.steps.append(Step("fsync", inode=FOLDER))
        self.mark("begin")

    def watch(self, patch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
        """Stand between these modules and the system."""
        for module in modules:
            patch.setattr(module, "os", self)
            patch.setattr(module, "open", self.open_file, raising=False)

    def mark(self, name: str) -> None:
        """Remember where in the course of things this is."""
        self.steps.append(Step("mark", name))

    def index(self, mark: str) -> int:
        """How many steps were done when ``mark`` was set."""
        return self.steps.index(Step("mark", mark)) + 1

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        if os.path.isdir(path):
            self._open[fd] = FOLDER
            return fd
        name = os.path.basename(path)
        if flags & os.O_CREAT and (flags & os.O_TRUNC or name not in self._inodes):
            self._make(name)
        self._open[fd] = self._inodes[name]
        return fd

    def open_file(self, file: str | int, mode: str = "r", buffering: int = -1) -> IO[Any]:
        if mode == "rb":
            return open(file, mode)
        assert isinstance(file, int), "a new file is opened by os.open"
        raw = _Raw(self, file, self._open[file])
        return io.BufferedWriter(raw, buffering) if buffering else raw

    def fsync(self, fd: int) -> None:
        os.fsync(fd)
        self.steps.append(Step("fsync", inode=self._open[fd]))

    def replace(self, old: str, new: str) -> None:
        os.replace(old, new)
        here, there = os.path.basename(old), os.path.basename(new)
        self._inodes[there] = self._inodes.pop(here)
        self.steps.append(Step("rename", here, there))

    def link(self, old: str, new: str) -> None:
        os.link(old, new)
        here, there = os.path.basename(old), os.path.basename(new)
        self._inodes[there] = self._inodes[here]
        self.steps.append(Step("link", here, there))

    def unlink(self, path: str) -> None:
        os.unlink(path)
        self._inodes.pop(os.path.basename(path), None)
        self.steps.append(Step("unlink", os.path.basename(path)))

    def _make(self, name: str) -> None:
        self._made += 1
        self._inodes[name] = self._made
        self.steps.append(Step("make", name, inode=self._made))


class _Raw(io.FileIO):
    """A file whose writes are written down."""

    def __init__(self, recorder: Recorder, fd: int, inode: int) -> None:
        super().__init__(fd, "wb")
        self._recorder = recorder
        self._inode = inode

    def write(self, data: Any) -> int:
        count = super().write(data)
        self._recorder.steps.append(Step("write", inode=self._inode, data=bytes(data)[:count]))
        return count


def power_cuts(steps: list[Step]) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Every state in which the folder may be found when the power fails, with how many steps were done.

    Unsynced content is lost, or half of it, or none; unsynced names from none to all.
    """
    names: dict[str, int] = {}
    pending: list[Step] = []
    safe: dict[int, bytes] = {}
    written: dict[int, bytes] = {}
    for count, step in enumerate(steps, 1):
        match step.what:
            case "make":
                safe[step.inode] = written[step.inode] = b""
                pending.append(step)
            case "rename" | "link" | "unlink":
                pending.append(step)
            case "write":
                written[step.inode] += step.data
            case "fsync" if step.inode == FOLDER:
                for change in pending:
                    _apply(names, change)
                pending.clear()
            case "fsync":
                safe[step.inode] = written[step.inode]
        kept = dict(names)
        for late in range(len(pending) + 1):
            if late:
                _apply(kept, pending[late - 1])
            for part in (0.0, 0.5, 1.0):
                yield count, {name: _lose(safe[inode], written[inode], part) for name, inode in kept.items()}


def _apply(names: dict[str, int], step: Step) -> None:
    match step.what:
        case "make":
            names[step.name] = step.inode
        case "rename":
            names[step.other] = names.pop(step.name)
        case "link":
            names[step.other] = names[step.name]
        case "unlink":
            names.pop(step.name, None)


def _lose(safe: bytes, written: bytes, part: float) -> bytes:
    return written[: len(safe) + int((len(written) - len(safe)) * part)]
