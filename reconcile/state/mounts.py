"""Which directories in the source were mount points: an empty one may have lost its mount.

The fact is kept and no device number, which changes over reboots and in CI.
"""

from __future__ import annotations

from reconcile.state.small import recall, remember

NAME = "mounts"


def recall_mounts(folder: str) -> frozenset[str]:
    """The mount points that were remembered."""
    try:
        mounts = recall(folder, NAME)
    except ValueError:
        return frozenset()
    return frozenset(path for path in mounts or () if type(path) is str)


def remember_mounts(folder: str, mounts: frozenset[str]) -> None:
    """Remember these instead. Never fails."""
    if mounts != recall_mounts(folder):
        try:
            remember(folder, NAME, sorted(mounts) or None)
        except OSError:
            pass  # a guard the less
