"""How a place is written: what the forms of DEST have in common.

What may live here: pieces of URLs and paths. No message ever holds a part of DEST that may be a password.
"""

from __future__ import annotations

import os
import re
from typing import NoReturn

from reconcile.core.errors import UsageError

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)  # its scheme, and the rest

_PERCENT = rb"%([0-9A-Fa-f]{2})?"


def decode(text: str, what: str) -> str:
    """``%XX`` → bytes → str, as the file system's names are held. Raises UsageError."""

    def byte(match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            refuse(f"DEST: {what} holds a % that is no %XX; write %25 for the character itself")
        return bytes.fromhex(match[1].decode())

    decoded = os.fsdecode(re.sub(_PERCENT, byte, os.fsencode(text)))
    if "\0" in decoded:
        refuse(f"DEST: {what} holds a NUL")
    return decoded


def fold_path(path: str, what: str = "DEST") -> str:
    """An absolute path without empty and ``.`` components. Raises UsageError."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        refuse(f"{what}: the remote path holds '..': write the path that you mean")
    return "/" + "/".join(parts)


def refuse(message: str) -> NoReturn:
    """Raises UsageError."""
    raise UsageError(message)
