"""``reconcile`` as a user runs it: a process of its own, and what it said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from reconcile.cli import main
from tests.support.processes import bound_by_permissions

COUNTED = ("create", "modify", "move", "delete", "mkdir", "setmeta")


@dataclass(frozen=True)
class Ran:
    """How it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.out)
        assert document["exit_code"] == self.code
        return document

    @property
    def counts(self) -> dict[str, int]:
        """The counts that are not 0."""
        return {op: count for op, count in self.document["counts"].items() if count}

    @property
    def problems(self) -> dict[str, str]:
        """Path to reason."""
        return {problem["path"]: problem["reason"] for problem in self.document["problems"]}


@dataclass(frozen=True)
class Reconcile:
    """One job's command line: source, target, state and how to log in."""

    source: Path
    target: str
    state: Path
    flags: Sequence[str] = ()
    bound: bool = False  # permissions bind it, even if root runs the tests

    def __call__(
        self, command: str, *args: str, json_out: bool = True, env: Mapping[str, str] | None = None
    ) -> Ran:
        """Run ``command`` with more flags and environment variables."""
        process = subprocess.run(
            self.argv(command, *args, *(["--json"] if json_out else [])),
            env=_environment() | dict(env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
            timeout=120,
        )
        assert "Traceback" not in process.stdout + process.stderr, process.stderr
        return Ran(process.returncode, process.stdout, process.stderr)

    def start(self, command: str, *args: str) -> subprocess.Popen[bytes]:
        """Start ``command`` and leave it running, its output dropped."""
        return subprocess.Popen(
            self.argv(command, *args),
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def argv(self, command: str, *args: str) -> list[str]:
        """The whole command line."""
        argv = [sys.executable, "-m", "reconcile", command, str(self.source), self.target]
        argv += ["--state", str(self.state), *self.flags, *args]
        return bound_by_permissions(argv) if self.bound else argv

    def run(self, *args: str) -> Ran:
        """``reconcile run --json`` that must end well."""
        ran = self("run", *args)
        assert ran.code == 0, ran.out + ran.err
        return ran

    def plan(self, *args: str) -> Ran:
        """``reconcile plan --json`` that must end well."""
        ran = self("plan", *args)
        assert ran.code == 0, ran.out + ran.err
        return ran


class ReconcileHere(Reconcile):
    """The same in this process, a tenth as dear: for what needs no process of its own."""

    def __call__(
        self, command: str, *args: str, json_out: bool = True, env: Mapping[str, str] | None = None
    ) -> Ran:
        """Run ``command`` with more flags and environment variables."""
        argv = self.argv(command, *args, *(["--json"] if json_out else []))[3:]
        heeded = {
            number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        with (
            tempfile.TemporaryFile("w+", errors="surrogateescape") as out,
            tempfile.TemporaryFile("w+", errors="surrogateescape") as err,
            redirect_stdout(out),
            redirect_stderr(err),
            patch.dict(os.environ, env or {}),
        ):
            code = main(argv)
            for number, handler in heeded.items():
                signal.signal(number, handler)
            out.seek(0)
            err.seek(0)
            return Ran(code, out.read(), err.read())


def _environment() -> dict[str, str]:
    return dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
