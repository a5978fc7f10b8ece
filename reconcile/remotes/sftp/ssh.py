"""paramiko itself, quick to import and quiet.

What may live here: its import, which all others do from here.
"""

from __future__ import annotations

import importlib
import logging
import sys
from types import ModuleType

__all__ = [
    "MSG_CHANNEL_DATA",
    "MSG_CHANNEL_WINDOW_ADJUST",
    "AuthHandler",
    "Packetizer",
    "cMSG_CHANNEL_REQUEST",
    "paramiko",
]

if "paramiko" not in sys.modules:
    # Two things that it asks for at once, and that we don't need, are a third and a fifth of the time that
    # takes. `invoke`, which drags in asyncio and unittest.mock, is for the commands of `Match exec`, which we
    # never run; it copes with its absence. `importlib.metadata` finds the version that it would tell servers:
    # ours tells them our own (see ``Transport``).
    _no_invoke = "invoke" not in sys.modules
    _no_metadata = not hasattr(importlib, "metadata")
    _brief = ModuleType("metadata")
    vars(_brief)["version"] = lambda _name: ""
    if _no_invoke:
        sys.modules["invoke"] = None  # type: ignore[assignment]
    if _no_metadata:
        importlib.metadata = _brief
    try:
        import paramiko
    finally:
        if _no_invoke:
            del sys.modules["invoke"]
        if _no_metadata and importlib.metadata is _brief:  # another thread may have imported the real one
            del importlib.metadata
import paramiko
from paramiko.auth_handler import AuthHandler
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_WINDOW_ADJUST, cMSG_CHANNEL_REQUEST
from paramiko.packet import Packetizer

# Without a handler of its own, the standard library prints paramiko's errors, tracebacks too, on stderr.
_logger = logging.getLogger("paramiko")
_logger.addHandler(logging.NullHandler())
if _logger.level == logging.NOTSET:
    _logger.setLevel(logging.CRITICAL + 1)
