"""Whether a run broke off: it has left its journal, which ``journal`` understands."""

from __future__ import annotations

import os

from reconcile.state.store import sync_folder

NAME = "journal"


def is_unfinished(folder: str) -> bool:
    """Whether a run broke off in the middle."""
    return os.path.lexists(os.path.join(folder, NAME))


def discard_journal(folder: str) -> None:
    """Remove the journal, if there is one."""
    try:
        os.unlink(os.path.join(folder, NAME))
        sync_folder(folder)
    except FileNotFoundError:
        pass
