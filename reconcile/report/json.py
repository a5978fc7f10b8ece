"""For machines: one JSON document."""

# ruff: noqa: D102 - what a reporter is told is documented once, where it is told first

from __future__ import annotations

import json
from typing import Any

from reconcile.core.checkup import Checkup
from reconcile.core.job import Result
from reconcile.report.document import document
from reconcile.report.outlet import Outlet
from reconcile.report.recorder import Recorder


class JsonReporter(Recorder):
    """One document on stdout at the end, and nothing else anywhere."""

    def __init__(self, command: str, out: Outlet) -> None:
        super().__init__(command)
        self.out = out
        self._printed = False

    def show_end(self, result: Result, exit_code: int) -> None:
        self._print(result, "problems" if result.problems else "ok", exit_code)

    def examined(self, checkup: Checkup, exit_code: int) -> None:
        self._print_checkup(checkup, "ok" if checkup.healthy else "problems", exit_code)

    def show_failure(self, status: str, exit_code: int, message: str) -> None:
        so_far = self.so_far()
        if so_far.command == "doctor":
            self._print_checkup(Checkup(so_far.target), status, exit_code, message)
        else:
            self._print(so_far, status, exit_code, message)

    def show_abandoned(self, exit_code: int, message: str) -> None:
        if not self._printed:
            self.show_failure("interrupted", exit_code, message)

    def unheard(self) -> str:
        return self.out.lost

    def _print_checkup(
        self, checkup: Checkup, status: str, exit_code: int, message: str | None = None
    ) -> None:
        from reconcile.report import checkup as checkups

        self._printed = True
        body = checkups.document(checkup, status=status, exit_code=exit_code, notes=self._notes())
        self.out.line(_dump(body if message is None else body | {"message": message}))

    def _notes(self) -> list[dict[str, str]]:
        return [{"path": "", "stage": phase, "reason": "said", "message": text} for phase, text in self.said]

    def _print(self, result: Result, status: str, exit_code: int, message: str | None = None) -> None:
        self._printed = True
        body = document(result, status=status, exit_code=exit_code, notes=self._notes())
        if message is not None:
            body["message"] = message
            if (
                result.command == "run" and result.connected
            ):  # how much went over a connection that broke was not counted
                body |= {"requests": None, "bytes_sent": None, "bytes_received": None}
        self.out.line(_dump(body))


def _dump(body: dict[str, Any]) -> str:
    """In one line, without what GitHub's runner takes for a command wherever it stands in a line."""
    return json.dumps(body).replace("##[", "#\\u0023[")
