"""Trees from literal dicts, and back into something that can be compared.

A tree is a mapping of names (``str``, or ``bytes`` for names that are no text)
to what is there: text or bytes for a file's content, a mapping for a directory,
or a `File`, `Dir`, `Link` or `Fifo` where more than the content matters::

    {"a": "content", "d": {"x": b"..", "empty": {}}, "l": Link("a"), "x": File("#!", mode=0o755)}
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

StrPath = str | os.PathLike[str]
# ``object``: mypy finds nothing narrower in a dict of mixed values. What is no part of a tree is a TypeError.
Tree = Mapping[str, object] | Mapping[bytes, object]


@dataclass(frozen=True, slots=True)
class File:
    """A regular file. ``mtime`` in seconds; None leaves what the system gave it."""

    content: str | bytes = b""
    mode: int = 0o644
    mtime: float | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str | bytes


@dataclass(frozen=True, slots=True)
class Fifo:
    """A named pipe: something that is never sent."""


@dataclass(frozen=True, slots=True)
class Dir:
    """A directory whose mode matters."""

    children: Tree = field(default_factory=dict)
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Node:
    """What was found at a path. Fields that don't apply, or were left out, are None."""

    kind: str  # file, dir, symlink, other
    mode: int | None = None  # 0777 bits; None for links, which have none of their own
    content: bytes | None = None  # of a file; the target of a link
    mtime: int | None = None  # whole seconds; files only, as nothing else's is kept


def build_tree(root: StrPath, tree: Tree) -> None:
    """Write ``tree`` below ``root``, which is made if it is missing. What it does not name stays."""
    _build_dir(os.fsencode(root), Dir(tree))


def read_tree(root: StrPath, *, modes: bool = True, mtimes: bool = True) -> dict[str, Node]:
    """All paths below ``root``, relative to it, "/"-separated, surrogateescape.

    The mode of ``root`` itself is left out; it belongs to whoever made it.
    """
    found: dict[str, Node] = {}
    _read_dir(os.fsencode(root), b"", found, modes, mtimes)
    return found


def assert_same_tree(
    local: StrPath, remote: StrPath, *, ignore: Collection[str] = (), modes: bool = True, mtimes: bool = True
) -> None:
    """Demand equal kinds, contents, link targets, 0777 modes and file mtimes to the second.

    Our own folder ``.reconcile`` at the top of either side, and the paths in
    ``ignore`` with all below them, are left out.
    """
    here, there = (
        _without(read_tree(root, modes=modes, mtimes=mtimes), {".reconcile", *ignore})
        for root in (local, remote)
    )
    assert_alike(here, there)


def assert_alike(here: Mapping[str, Node], there: Mapping[str, Node]) -> None:
    """The same of what was read."""
    lines = [
        f"{path!r}: here {_show(here.get(path))}, there {_show(there.get(path))}"
        for path in sorted(here.keys() | there.keys())
        if here.get(path) != there.get(path)
    ]
    more = f"\n… and {len(lines) - 20} more" if len(lines) > 20 else ""
    assert not lines, f"{len(lines)} paths differ:\n" + "\n".join(lines[:20]) + more


def _without(tree: dict[str, Node], left_out: Collection[str]) -> dict[str, Node]:
    def covered(path: str) -> bool:
        return any(path == top or path.startswith(f"{top}/") for top in left_out)

    return {path: node for path, node in tree.items() if not covered(path)}


def _show(node: Node | None) -> str:
    if node is None:
        return "nothing"
    facts = [node.kind]
    if node.mode is not None:
        facts.append(f"{node.mode:04o}")
    if node.content is not None:
        facts.append(
            repr(node.content)
            if len(node.content) <= 40
            else f"{len(node.content)} bytes {node.content[:20]!r}…"
        )
    if node.mtime is not None:
        facts.append(f"mtime {node.mtime}")
    return " ".join(facts)


def _build_dir(path: bytes, directory: Dir) -> None:
    os.makedirs(path, exist_ok=True)
    for name, thing in directory.children.items():
        _build(os.path.join(path, os.fsencode(name)), thing)
    os.chmod(path, directory.mode)  # last: it may forbid to write


def _build(path: bytes, thing: object) -> None:
    match thing:
        case Mapping():
            _build_dir(path, Dir(thing))
        case Dir():
            _build_dir(path, thing)
        case Link():
            os.symlink(os.fsencode(thing.target), path)
        case Fifo():
            os.mkfifo(path)
        case File():
            _build_file(path, thing)
        case str() | bytes():
            _build_file(path, File(thing))
        case _:
            raise TypeError(f"{path!r}: {thing!r} is no part of a tree")


def _build_file(path: bytes, file: File) -> None:
    content = file.content.encode() if isinstance(file.content, str) else file.content
    with open(path, "wb") as out:
        out.write(content)
    os.chmod(path, file.mode)
    if file.mtime is not None:
        os.utime(path, (file.mtime, file.mtime))


def _read_dir(root: bytes, below: bytes, found: dict[str, Node], modes: bool, mtimes: bool) -> None:
    for name in sorted(os.listdir(os.path.join(root, below))):
        relative = os.path.join(below, name)
        path = os.path.join(root, relative)
        status = os.lstat(path)
        mode = stat.S_IMODE(status.st_mode) & 0o777 if modes else None
        key = os.fsdecode(relative)
        if stat.S_ISDIR(status.st_mode):
            found[key] = Node("dir", mode)
            _read_dir(root, relative, found, modes, mtimes)
        elif stat.S_ISLNK(status.st_mode):
            found[key] = Node("symlink", content=os.readlink(path))
        elif stat.S_ISREG(status.st_mode):
            with open(path, "rb") as file:
                content = file.read()
            found[key] = Node("file", mode, content, int(status.st_mtime // 1) if mtimes else None)
        else:
            found[key] = Node("other", mode)
