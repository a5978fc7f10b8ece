"""What all that is done in one bucket shares.

What may live here: what is held from the opening of a remote to its end, and short words for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from msgspec import Struct, field
from msgspec.structs import replace

from reconcile.core.job import Options
from reconcile.core.model import UNKNOWN_MODE, Entry
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
    tell: Callable[[int, str], None]
    ability: Ability = Ability()
    lock: threading.Lock = field(default_factory=threading.Lock)  # of what follows, and of SRC
    telling: threading.Lock = field(default_factory=threading.Lock)  # of how much was sent
    kept: dict[str, int] = field(default_factory=dict)  # keys in the kept trash, with how many bytes
    retired: dict[str, int] = field(default_factory=dict)  # and in the part that has an age
    is_used: bool = False  # something is, or was, in the run's folder beside that
    told: set[str] = field(default_factory=set)
    unequal: set[str] = field(
        default_factory=set
    )  # keys whose ETag the server takes for another: see `drift`

    def sent(self, count: int, path: str) -> None:
        """So many more bytes of a file went out: told by one thread at a time."""
        with self.telling:
            self.tell(count, path)

    def say_once(self, message: str) -> None:
        """What is to be known of the server, and not again and again."""
        with self.lock:
            is_new = message not in self.told
            self.told.add(message)
        if is_new:
            self.say(message)


def as_kept(entry: Entry, shown: Shown, digest: bytes | None) -> Entry:
    """The entry that holds of an object of ours: modes and times are kept by nobody there."""
    return replace(
        entry, mode=UNKNOWN_MODE, digest=digest, tag=Shown(shown.size, shown.etag).tag, foreign=False
    )
