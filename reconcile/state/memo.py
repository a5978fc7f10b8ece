"""What a remote learned of its server, for the runs that come after. It alone understands it."""

from __future__ import annotations

from msgspec import Struct

from reconcile.state import small

LEARNED = "server"  # as ``remotes`` calls it


class Memo(Struct, frozen=True):
    """See ``remotes.Memory``. Never fails: what is lost is learned anew. Only a run ``keeps`` something."""

    folder: str
    keeps: bool

    def recall(self, name: str = LEARNED) -> object:
        """What was remembered last; None: nothing."""
        try:
            return small.recall(self.folder, name)
        except ValueError:
            return None

    def remember(self, value: object, name: str = LEARNED) -> None:
        """Keep it in the place of what was there."""
        if self.keeps:
            try:
                small.remember(self.folder, name, value)
            except OSError:
                pass  # learned anew next time
