"""paramiko itself, quick to import and quiet.

What may live here: its import, which all others do from here, and whether it still is what we know: what
is used of it and not promised by it.
"""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from types import ModuleType

from reconcile.core.errors import ReconcileError
from reconcile.remotes.ssh.absent import Absent

__all__ = [
    "MSG_CHANNEL_DATA",
    "MSG_CHANNEL_WINDOW_ADJUST",
    "PRIVATE",
    "AuthHandler",
    "Packetizer",
    "PipeTimeout",
    "cMSG_CHANNEL_REQUEST",
    "cMSG_USERAUTH_REQUEST",
    "paramiko",
    "takes_runs",
]

if "paramiko" not in sys.modules:
    # Two things that it asks for at once, and that we don't need, are a third and a fifth of the time that
    # takes. `invoke`, which drags in asyncio and unittest.mock, is for the commands of `Match exec`, which we
    # never run; it copes with its absence (see ``Absent``). `importlib.metadata` finds the version
    # that it would tell servers: ours tells them our own (see ``Transport``).
    _absent = Absent("invoke")
    _no_metadata = not hasattr(importlib, "metadata")
    _brief = ModuleType("metadata")
    vars(_brief)["version"] = lambda _name: ""
    if _no_metadata:
        importlib.metadata = _brief
    try:
        with warnings.catch_warnings():  # old and new versions of it and of cryptography scold each other
            warnings.simplefilter("ignore")
            import paramiko
    finally:
        _absent.end()
        if _no_metadata and importlib.metadata is _brief:  # another thread may have imported the real one
            del importlib.metadata
import paramiko
from paramiko.auth_handler import AuthHandler
from paramiko.buffered_pipe import PipeTimeout
from paramiko.common import (
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_WINDOW_ADJUST,
    cMSG_CHANNEL_REQUEST,
    cMSG_USERAUTH_REQUEST,
)
from paramiko.packet import Packetizer

# What we reach into, and can't do without. The attributes are found on the class; what only an instance has
# came with these methods.
_NEEDED: dict[type, tuple[str, ...]] = {
    paramiko.Transport: (
        *("_channel_handler_table", "_kex_info", "_preferred_kex", "_parse_kex_init"),
        *("_parse_disconnect", "_really_parse_kex_init", "_send_message", "_send_user_message"),
    ),
    paramiko.Channel: ("_event_pending", "_wait_for_send_window", "_window_adjust"),
    AuthHandler: (
        *(
            "_finalize_pubkey_algorithm",
            "_parse_service_accept",
            "_parse_userauth_failure",
            "_parse_userauth_info_request",
        ),
        "_request_auth",
    ),
    Packetizer: ("read_all", "read_message", "send_message", "need_rekey"),
    paramiko.agent.AgentSSH: ("_connect", "_send_message"),
    paramiko.SFTPServer: ("_process",),
}
PRIVATE = "_Packetizer__"
# What takes and makes many packets at a time: without it paramiko does one after the other, as it always did.
_FOR_RUNS = (
    *("aead_in", "aead_out", "block_engine_in", "block_engine_out", "block_size_out", "compress_engine_in"),
    *("compress_engine_out", "iv_in", "iv_out", "mac_size_in", "received_bytes", "received_packets"),
    *("sent_bytes", "sent_packets", "sequence_number_in", "sequence_number_out", "write_lock"),
)


def missing() -> list[str]:
    """What this paramiko lacks of what we can't do without."""
    wanted = ((owner, name) for owner, names in _NEEDED.items() for name in names)
    return [f"{owner.__name__}.{name}" for owner, name in wanted if not hasattr(owner, name)]


def takes_runs() -> bool:
    """Whether packets can be handled many at a time."""
    inner = vars(Packetizer(None))  # type: ignore[arg-type]  # it is not used
    known = all(f"{PRIVATE}{name}" in inner for name in _FOR_RUNS)
    return known and hasattr(Packetizer, "_trigger_rekey")


if lacking := missing():
    raise ReconcileError(
        f"The paramiko that is installed is not one that reconcile knows: it has no {', '.join(lacking)}. "
        "Install another: pip install 'paramiko>=3.4,<6'"
    )

# Without a handler of its own, the standard library prints paramiko's errors, tracebacks too, on stderr.
_logger = logging.getLogger("paramiko")
_logger.addHandler(logging.NullHandler())
if _logger.level == logging.NOTSET:
    _logger.setLevel(logging.CRITICAL + 1)
