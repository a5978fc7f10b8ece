"""Paths and keys. Pure.

What may live here: which object is at which path, and what can't be one.

    <prefix>/path                                   what is pushed; <prefix>/dir/ an empty directory
    <prefix>/.reconcile/<lineage>/mark-…            the job's mark; elsewhere by --remote-workdir
    <prefix>/.reconcile/<lineage>/<run>/parked/N    what made way for others; staging/N what waits for them
    <prefix>/.reconcile/<lineage>/<run>/trash/kept/path     what made room, and may be an only copy
    <prefix>/.reconcile/<lineage>/<run>/trash/old/path      what was ours, and has an age (--trash)
    <prefix>/.reconcile/<lineage>/<run>.kept-N      the note of a run that kept something
    <prefix>/.reconcile/<lineage>/<run>.old-N-B     that of one that retired so many things, and bytes
    <prefix>/.reconcile/store/name
"""

from __future__ import annotations

from itertools import takewhile

from reconcile.core.model import OF_KEPT, OURS, RESERVED_NAME, RESERVED_PREFIX, RETIRED

LONGEST = 1024  # bytes of a key
STORE = "store"  # beside the jobs' folders
KEPT, OLD = "trash/kept/", "trash/old/"  # in a run's folder


class Keys:
    """Where what lies in one bucket. ``job`` and ``run`` end in a slash, once they are known."""

    def __init__(self, prefix: str, workdir: str | None) -> None:
        self.base = f"{prefix}/" if prefix else ""
        work = workdir.strip("/") if workdir is not None else f"{self.base}{RESERVED_NAME}"
        self.work = f"{work}/"
        self.job = self.run = ""

    def enter(self, lineage: str, run: str) -> None:
        """The folders of a job and of its run."""
        self.job = f"{self.work}{lineage}/"
        self.run = f"{self.job}{run}/"

    def of(self, path: str) -> str:
        """The key of what is at ``path``; in the run's folder, for a path there, or in what one retired."""
        if path.startswith(f"{RETIRED}/"):
            run, _, name = path[len(RETIRED) + 1 :].partition("/")
            part = KEPT if run.endswith(OF_KEPT) else OLD
            return f"{self.job}{run.removesuffix(OF_KEPT)}/{part}{name}"
        return self.run + path[len(OURS) :] if path.startswith(OURS) else self.base + path

    def kept(self, path: str) -> str:
        """Where it is kept in the trash."""
        return f"{self.run}{KEPT}{path}"

    def old(self, path: str) -> str:
        """Where it is for a while, once it is deleted or replaced."""
        return f"{self.run}{OLD}{path}"

    def hides(self, key: str) -> bool:
        """Whether it is ours, and none of what is pushed."""
        first = key[len(self.base) :].partition("/")[0]
        return first == RESERVED_NAME or first.startswith(RESERVED_PREFIX) or key.startswith(self.work)


def unfit(key: str) -> str | None:
    """Why there can be no such key; None: there can."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "its name is no UTF-8, and keys on S3 are"
    if size > LONGEST:
        return (
            f"its key would be {size:,} bytes long, and S3 takes {LONGEST:,}; a shorter path or prefix helps"
        )
    return None


def is_path(rest: str) -> bool:
    """Whether what a server lists, relative to DEST, can be the path of a file."""
    return bool(rest) and "\0" not in rest and {"", ".", ".."}.isdisjoint(rest.split("/"))


def is_plain(key: str) -> bool:
    """Whether XML 1.0 can hold it as it is: what deletes many at a time is written in that."""
    return key.isprintable() or not any(map(_is_strange, key))


def plain_part(key: str) -> str:
    """As much of its beginning as XML can hold."""
    return key if is_plain(key) else "".join(takewhile(lambda char: not _is_strange(char), key))


def _is_strange(char: str) -> bool:
    return ord(char) < 32 or char in "\x7f\ufffe\uffff"
