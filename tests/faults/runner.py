"""Runs of ``reconcile`` that begin at once: forked from a process that has imported everything.

Each is a process of its own, with its own id, that can be killed like any other.
Only the half second that Python takes to import paramiko is saved, which is most
of a run with a few hundred files::

    with Runner(folder) as runner: … runner.run("run", source, target) …
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from tests.support.command import Ran
from tests.support.processes import end_tree

PATIENCE = 60  # seconds for one run
TO_SFTP = ("paramiko", "reconcile.remotes.sftp.open")
TO_S3 = ("botocore.session", "reconcile.remotes.s3.open", "reconcile.remotes.s3.remote")


class Runner:
    """The process that forks. ``folder`` takes the output; ends with the ``with`` block. ``late``: modules
    that a run imports late."""

    def __init__(self, folder: Path, late: Sequence[str] = TO_SFTP) -> None:
        self.folder = folder
        self.pid_file = folder / "client.pid"
        self._late = late
        self._environment = dict(os.environ)  # of now: a bucket's keys may be in it for a while
        self._process = _start(late, self._environment)

    def run(self, *arguments: str) -> Ran:
        """``reconcile`` with these arguments, to its end. A killed one has the signal's negative number."""
        self.begin(*arguments)
        return self.end()

    def begin(self, *arguments: str) -> None:
        """Start a run; ``end`` must follow."""
        assert self._process.stdin is not None
        order = {"arguments": arguments, "folder": str(self.folder)}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def end(self) -> Ran:
        """Wait for the run that was begun."""
        output = self._process.stdout
        assert output is not None
        if not select.select([output], [], [], PATIENCE)[0]:
            self.close()
            self._process = _start(self._late, self._environment)
            raise AssertionError(f"a run hangs; it said: {self._said('err')}")
        answer = output.readline()
        assert answer, "the runner has ended"
        ran = Ran(json.loads(answer), self._said("out"), self._said("err"))
        assert "Traceback" not in ran.out + ran.err, ran.err
        return ran

    def close(self) -> None:
        """End the process and a run that it may have."""
        end_tree(self._process)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _said(self, name: str) -> str:
        return (self.folder / name).read_text(errors="surrogateescape")


def _start(late: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.runner", *late],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=environment,
    )


def serve() -> None:
    """The process: one order a line, its exit code for an answer."""
    import reconcile.cli  # noqa: F401

    for name in sys.argv[1:]:  # all that a run imports late
        import_module(name)

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(Path(order["folder"]), order["arguments"])
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        sys.stdout.flush()


def _become(folder: Path, arguments: Sequence[str]) -> NoReturn:
    """The child: as if it had been started by a shell."""
    from reconcile.cli import main

    (folder / "client.pid").write_text(str(os.getpid()))
    faulthandler.dump_traceback_later(PATIENCE * 0.9)  # of one that hangs it is told where
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    code = 1
    try:
        code = main(arguments)
    except BaseException:  # noqa: BLE001 - shown, and seen by the test
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
