"""On which device the source was: another one in its place may be the wrong disk.

Kept beside the snapshot and not in it, since a device's number changes over reboots
and in CI. It means something only together with what is missing (``guard``).
"""

from __future__ import annotations

import os

from reconcile.state.small import recall, remember

NAME = "device"


def is_other_device(folder: str, source: str) -> bool:
    """Whether ``source`` is on another device than the last run that went through saw it on."""
    before = _recall(folder)
    return before is not None and before != os.stat(source).st_dev


def remember_device(folder: str, source: str) -> None:
    """Note on which device ``source`` is. Once for each run that went through; never fails."""
    try:
        device = os.stat(source).st_dev
        if device != _recall(folder):
            remember(folder, NAME, device)
    except OSError:
        pass  # a guard the less


def _recall(folder: str) -> int | None:
    try:
        device = recall(folder, NAME)
    except ValueError:
        return None
    return device if type(device) is int else None
