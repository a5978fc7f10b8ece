"""A lease is kept while a remote is at work: by a thread of its own, as any may ask the server.

What may live here: when it is renewed. What is renewed is the store's.
"""

from __future__ import annotations

import threading

from reconcile.core.errors import ReconcileError
from reconcile.remotes import Lease
from reconcile.remotes.s3.store import S3Store

_LOOK_UP = 0.25  # seconds between two looks at whether it is due


class Keeper:
    """Renews it from now on until it is closed."""

    def __init__(self, lease: Lease, store: S3Store) -> None:
        self._lease = lease
        self._store = store
        self._closed = threading.Event()
        threading.Thread(target=self._run, name="lease", daemon=True).start()

    def _run(self) -> None:
        while not self._closed.wait(_LOOK_UP):
            if self._lease.is_due():
                try:
                    self._lease.renewed(self._store.names() if self._store.renew(self._lease.name) else None)
                except ReconcileError:
                    pass  # there is time to try again; who asks for something else is told of what it is

    def close(self) -> None:
        """Renew it no more."""
        self._closed.set()
