"""``--chmod D755,F644``: the permissions that files and directories shall have, whatever is here. Pure.

The words are rsync's: clauses with commas between, each for directories (``D``), files (``F``) or both, an
octal number or who, how and what (``Dgo=rx``, ``Fu+w``, ``a+X``). They are taken one after another. Without
a who they are for all, whatever the umask is. Bits beyond 0777 are never sent, and so can't be asked for.
"""

from __future__ import annotations

import re
from stat import S_IFDIR, S_IFMT, S_IFREG

from msgspec import Struct, field

from reconcile.core.errors import UsageError
from reconcile.core.model import PERMISSIONS, Kind

_FORMATS = {Kind.FILE: S_IFREG, Kind.DIR: S_IFDIR}
_FOR = {"D": (S_IFDIR,), "F": (S_IFREG,), "": (S_IFDIR, S_IFREG)}
_CLAUSE = re.compile(r"([DF]?)(?:([0-7]{3,4})|([ugoa]*)((?:[-+=](?:[rwxX]*|[ugo]))+))")
_STEP = re.compile(r"([-+=])([ugo]|[rwxX]*)")
_WHO = {"u": 0o700, "g": 0o070, "o": 0o007, "a": 0o777}
_WHAT = {"r": 0o444, "w": 0o222, "x": 0o111}
_SHIFT = {"u": 6, "g": 3, "o": 0}
_OWNER_ENTERS = 0o500  # without which a directory is of no use to its owner, nor to us

Rule = tuple[tuple[int, ...], int, str, str]  # for which formats; whose bits; how; what, or an octal number


class Chmod(Struct, frozen=True, eq=False):
    """What becomes of modes. Made by :func:`parse_chmod`; by itself it changes none."""

    text: str = ""
    _rules: tuple[Rule, ...] = ()
    _known: dict[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def names(self, kind: Kind) -> bool:
        """Whether it says something of entries of this kind."""
        return any(_FORMATS.get(kind) in formats for formats, *_ in self._rules)

    def of(self, mode: int) -> int:
        """An ``st_mode`` as it is to be sent. Those of links stay."""
        found = self._known.get(mode)
        if found is None:
            found = self._known[mode] = self._change(mode)
        return found

    def _change(self, mode: int) -> int:
        format_ = S_IFMT(mode)
        rules = [rule for rule in self._rules if format_ in rule[0]]
        if not rules:
            return mode
        bits = mode & PERMISSIONS
        for _, who, how, what in rules:
            asked = _asked(what, bits, is_dir=format_ == S_IFDIR) & who
            match how:
                case "+":
                    bits |= asked
                case "-":
                    bits &= ~asked
                case _:
                    bits = bits & ~who | asked
        return mode & ~PERMISSIONS | bits | (_OWNER_ENTERS if format_ == S_IFDIR else 0)


def parse_chmod(text: str) -> Chmod:
    """Raises UsageError for what is no such thing."""
    rules: list[Rule] = []
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause.strip())
        if match is None:
            raise UsageError(
                f"--chmod: {clause!r} can't be understood; write D755,F644, or Dgo=rx,Fu+w, say, with D for "
                "directories and F for files"
            )
        formats, octal, who, steps = _FOR[match[1]], match[2], match[3], match[4]
        if octal:
            if int(octal, 8) > PERMISSIONS:
                raise UsageError(f"--chmod: {clause!r} has more than 0777, which is all that is sent")
            rules.append((formats, PERMISSIONS, "=", octal))
            continue
        whose = 0
        for each in who or "a":
            whose |= _WHO[each]
        rules += [(formats, whose, how, what) for how, what in _STEP.findall(steps)]
    return Chmod(text, tuple(rules))


def _asked(what: str, bits: int, *, is_dir: bool) -> int:
    """The bits of an octal number, of ``rwxX``, or as ``u``, ``g`` or ``o`` has them."""
    if what[:1].isdigit():
        return int(what, 8)
    if what in _SHIFT:
        return (bits >> _SHIFT[what] & 7) * 0o111
    asked = 0
    for each in what:
        if each == "X":
            asked |= 0o111 if is_dir or bits & 0o111 else 0
        else:
            asked |= _WHAT[each]
    return asked
