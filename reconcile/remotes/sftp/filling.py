"""A ``Fill`` on its way over SFTP: all its files are opened, then their content goes; nobody hears of each.

What may live here: what of it is answered, and which requests the content of one file is.
"""

from __future__ import annotations

from typing import Any

from reconcile.remotes.tree.steps import Deliver, Fill, Notable
from reconcile.remotes.tree.verbs import OK, Close, Handle, OpenNew, Put, SetHandle, Sync, Verb, Write


class Filling:
    """Its requests go by the place of their file among the others."""

    __slots__ = ("answers", "channel", "handles", "left", "puts", "resume", "size")

    def __init__(self, fill: Fill, resume: Deliver) -> None:
        self.puts = fill.puts
        self.channel = fill.channel
        self.resume = resume
        self.handles: list[Any] = [None] * len(fill.puts)  # None: not open
        self.answers: list[Notable] = [[] for _ in fill.puts]
        self.left = len(fill.puts)  # requests without an answer
        self.size = 0  # bytes of content without one

    def take(self, place: int, kind: type, reply: Any) -> None:
        """An answer has come."""
        self.left -= 1
        if kind is OpenNew and type(reply) is Handle:
            self.handles[place] = reply.handle
        elif reply is not OK:
            self.answers[place].append((kind, reply))


def content_of(put: Put, handle: Any) -> list[Verb]:
    """What fills an open file and closes it. It is read now."""
    channel, data = put.channel, put.read()
    if data is None:
        return [Close(handle, channel)]
    verbs: list[Verb] = [Write(handle, 0, data, channel)] if data else []
    if put.mode is not None or put.mtime is not None:
        verbs.append(SetHandle(handle, put.mode, put.mtime, channel))
    if put.syncs:
        verbs.append(Sync(handle, put.size, channel))
    verbs.append(Close(handle, channel))
    verbs += put.then
    return verbs
