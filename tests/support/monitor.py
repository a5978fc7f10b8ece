"""A check of a monitor, as healthchecks.io has them: writes down who pinged it, and with what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import pytest

from tests.support.processes import wait_for


class Monitor:
    """Listens on loopback. ``heard`` has what came: the rest of the path, and the text."""

    def __init__(self, *answers: int, holds: int = 0) -> None:
        """``answers``: the first ones, which else are 200. ``holds``: to so many it answers nothing."""
        self.heard: list[tuple[str, str]] = []
        self._answers = list(answers)
        self._closed = threading.Event()
        monitor = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                monitor.heard.append((self.path.removeprefix("/check"), body.decode()))
                if len(monitor.heard) <= holds:
                    monitor._closed.wait()
                self.send_response(monitor._answers.pop(0) if monitor._answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """What ``--ping`` takes."""
        return f"http://127.0.0.1:{self._server.server_port}/check"

    @property
    def paths(self) -> list[str]:
        """``/start``, ``/1`` and so on; empty: it went well."""
        return [path for path, _ in self.heard]

    def wait(self, count: int) -> None:
        """Until so much was heard."""
        wait_for(lambda: len(self.heard) >= count, f"ping number {count}", seconds=60)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def no_proxy() -> Iterator[None]:
    """Whatever is configured around the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        yield
