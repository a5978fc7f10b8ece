"""Where things are: DEST, our folder, and what this run has in it.

What may live here: paths, and no more of what is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from msgspec import Struct, field

from reconcile.core.model import OF_KEPT, OURS, PARKED, RESERVED_NAME, RESERVED_PREFIX, RETIRED
from reconcile.core.paths import parent

STAGING = b"staging"  # the run's folder for what is on its way
STORE = b"store"  # beside the jobs' folders: what outlives runs and is everybody's
KEPT = b"trash/kept"  # in the run's folder: what made room, and may be an only copy, or is not ours
OLD = b"trash/old"  # and what was ours and has an age (--trash)
PARKING = os.fsencode(PARKED[len(OURS) :])  # and for what makes way for others


class Layout(Struct, eq=False):
    """Paths as a driver wants them."""

    base: bytes  # DEST, canonical
    workdir: bytes  # our folder
    vacant: bool = False  # DEST is not there, but the directory it is to be in
    asked: bytes = b""  # DEST as it was named: links in it are not resolved
    job: bytes = b""  # in it: the folder of the job, once it is known
    run: bytes = b""  # in that: the folder of this run, once prepared
    parts: set[bytes] = field(default_factory=set)  # folders in it that are made
    left: dict[str, bytes] = field(default_factory=dict)  # what dead runs had parked, if this one only looks
    _count: int = 0

    def at(self, path: str) -> bytes:
        """``path`` on the wire."""
        if not path:
            return self.base
        if path.startswith(OURS):
            return self._at_ours(path)
        return b"%b/%b" % (self.base if self.base != b"/" else b"", os.fsencode(path))

    def _at_ours(self, path: str) -> bytes:
        """A place in this run's folder; where there is none, what a dead run has there, if any.

        Or one in the parts of the trash that outlive a run, whichever run's it is.
        """
        if path.startswith(RETIRED):
            _, run, below = f"{path[len(RETIRED) :]}//".split("/", 2)
            part = KEPT if run.endswith(OF_KEPT) else OLD
            folder = os.fsencode(run.removesuffix(OF_KEPT))
            return inside(b"%b/%b/%b" % (self.job, folder, part), below.strip("/")) if run else self.job
        if self.run:
            return self.run + os.fsencode(path[len(RESERVED_NAME) :])
        top = "/".join(path.split("/", 3)[:3])
        return self.left.get(top, self.workdir + b"/none") + os.fsencode(path[len(top) :])

    def fresh(self, folder: bytes, prefix: bytes = b"") -> bytes:
        """A path in one of the run's folders that nothing else has."""
        self._count += 1
        return b"%b/%b/%b%x" % (self.run, folder, prefix, self._count)

    @staticmethod
    def made_in(folder: bytes, numbers: Iterable[int]) -> list[bytes]:
        """What ``fresh`` may have called things in a folder of some run's."""
        return [b"%b/%x" % (folder, number) for number in numbers]

    @property
    def prefixes(self) -> tuple[bytes, bytes]:
        """How names begin that files of this job, and of this run, have where they are staged elsewhere."""
        lineage, run = self.run.rsplit(b"/", 2)[1:]
        job = os.fsencode(RESERVED_PREFIX) + lineage + b"-"
        return job, job + run + b"-"

    def fresh_beside(self, path: str) -> bytes:
        """The same as ``fresh`` in the directory of ``path``."""
        self._count += 1
        return b"%b/%b%x" % (self.at(parent(path)).rstrip(b"/"), self.prefixes[1], self._count)

    @property
    def has_trash(self) -> bool:
        """Whether the run's trash is made."""
        return b"trash" in self.parts


def inside(top: bytes, path: str) -> bytes:
    """A path below a place on the wire."""
    return b"%b/%b" % (top, os.fsencode(path)) if path else top
