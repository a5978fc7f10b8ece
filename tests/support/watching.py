"""``reconcile watch`` in this process: in a thread of its own, and asked to end without a signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from reconcile.cli import commands
from reconcile.process import Session


@contextmanager
def watching(*args: str) -> Iterator[None]:
    """It watches meanwhile, and has to end well. Raises what it does."""
    session = Session(args=("watch", *args))
    codes: list[int] = []

    def watch() -> None:
        with commands.make_context("reconcile", ["watch", *args], obj=session) as context:
            codes.append(commands.invoke(context))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        session.stop.requested = signal.SIGTERM
        thread.join()
    assert codes == [128 + signal.SIGTERM]
