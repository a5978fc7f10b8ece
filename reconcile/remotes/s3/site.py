"""What all that is done in one bucket shares.

What may live here: what is held from the opening of a remote to its end, and short words for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from msgspec import Struct, field

from reconcile.core.job import Options
from reconcile.core.model import Entry
from reconcile.remotes.s3.ability import Ability
from reconcile.remotes.s3.headers import Headers
from reconcile.remotes.s3.keys import Keys
from reconcile.remotes.s3.leftover import Uploads
from reconcile.remotes.s3.pool import Pool
from reconcile.remotes.s3.service import Service
from reconcile.remotes.s3.tags import Shown


class Site(Struct, eq=False):
    """One bucket, one job."""

    service: Service
    keys: Keys
    headers: Headers
    options: Options
    pool: Pool
    uploads: Uploads
    say: Callable[[str], None]
    warn: Callable[[str], None]
    sent: Callable[[int, str], None]
    ability: Ability = Ability()
    lock: threading.Lock = field(default_factory=threading.Lock)  # of what follows, and of SRC
    kept: set[str] = field(default_factory=set)  # keys in the kept trash
    is_used: bool = False  # something is, or was, in the run's folder beside that
    told: set[str] = field(default_factory=set)

    def say_once(self, message: str) -> None:
        """What is to be known of the server, and not again and again."""
        with self.lock:
            is_new = message not in self.told
            self.told.add(message)
        if is_new:
            self.say(message)

    def head_all(self, paths: Sequence[str]) -> dict[str, Shown | None]:
        """What is at each, asked one by one, many at a time. Raises Refusal."""
        from reconcile.remotes.s3.listing import head

        asked = [lambda path=path: (path, head(self.service, self.keys.of(path))) for path in paths]
        return dict(self.pool.run(asked))


def as_kept(entry: Entry, shown: Shown, digest: bytes | None) -> Entry:
    """The entry that holds of an object of ours: modes and times are kept by nobody there."""
    from msgspec.structs import replace

    from reconcile.core.model import UNKNOWN_MODE

    return replace(
        entry, mode=UNKNOWN_MODE, digest=digest, tag=Shown(shown.size, shown.etag).tag, foreign=False
    )
