"""What OpenSSH itself says of its configuration: ``ssh -G``, which follows all of it.

It prints the defaults too: only what differs from what it prints without a configuration counts as set.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO

from reconcile.core.errors import TurnedAway, UsageError
from reconcile.leaving import begin, settle
from reconcile.remotes.ssh import keywords
from reconcile.remotes.ssh.settings import NONE, Setting
from reconcile.remotes.ssh.target import SshTarget
from reconcile.remotes.words import one_line

_ALWAYS = ("hostname", "user", "port")  # they are told whether anything says so or not
_SETTLED = ("host", "canonicalizehostname")  # what it has done by then
_LISTS = ("userknownhostsfile", "globalknownhostsfile")
_NOISE = re.compile(r"Pseudo-terminal|.*terminating, \d+ bad|.*(Deprecated|Unsupported) option|$")
_NOBODY = "No user exists for uid"
_FIRST_VERSION = (6, 8)  # that has -G


def ask(
    client: Sequence[str], target: SshTarget, config: str | None, patience: float
) -> list[Setting] | None:
    """What is set for a host. None: this is no client that could tell it.

    ``config``: a file that is read instead of the user's and the machine's. It takes ``patience``
    seconds at most. Raises UsageError if OpenSSH does not take its configuration, TurnedAway if it
    does not end: a command that it runs may hang.
    """
    words = ["-l", target.user] if target.user is not None else []
    words += ["-p", str(target.port)] if target.port is not None else []
    words += ["--", target.host, "sftp"]  # as we are going to use it: a Match may ask for that
    give_up = time.monotonic() + patience
    with ExitStack() as stack:
        # No pipe: what a Match has started and left behind would hold it open.
        errors = stack.enter_context(tempfile.TemporaryFile())
        runs = [
            # What the config would run there stands in the way of a subsystem; the client is told the same.
            _start([*client, "-G", "-T", "-s", "-o", "RemoteCommand=none", *file, *words], errors, stack)
            for file in (("-F", config) if config is not None else (), ("-F", NONE))
        ]
        try:
            outputs = [run.communicate(timeout=max(give_up - time.monotonic(), 0.01))[0] for run in runs]
        except subprocess.TimeoutExpired:
            raise TurnedAway(
                f"`ssh -G {target.host}`, which tells what the SSH configuration says, did not end within "
                f"{patience:g} s. A command that stands there may hang (Match exec): mend that, or give "
                "another configuration (--ssh-config FILE, or 'none' to use none at all)."
            ) from None
        if any(run.returncode for run in runs):
            errors.seek(0)
            complaint = errors.read(10_000).decode("utf-8", "replace")
            if _NOBODY in complaint or not _can_tell(client):
                return None
            raise UsageError(_explain(complaint, target))
    said, usual = (_parse(os.fsdecode(output)) for output in outputs)
    return list(_compare(said, usual, f"ssh -G {target.host}"))


def usual(client: Sequence[str], patience: float) -> Mapping[str, Sequence[str]]:
    """What it uses where nothing is configured, by plain keyword. Empty: there is no client that tells."""
    with ExitStack() as stack:
        try:
            run = _start([*client, "-G", "-F", NONE, "host"], subprocess.DEVNULL, stack)
            return _parse(os.fsdecode(run.communicate(timeout=patience)[0]))
        except (UsageError, subprocess.TimeoutExpired):
            return {}


def _start(command: Sequence[str], errors: IO[bytes] | int, stack: ExitStack) -> subprocess.Popen[bytes]:
    """Start it. When the stack is left it is ended, if it has not by itself, with all that it has started."""
    try:
        process = begin(
            lambda: subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # without a terminal nothing can ask there
            ),
            _end,
        )
    except OSError as error:
        raise UsageError(f"can't start {command[0]}: {error.strerror}") from None
    stack.enter_context(process)
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    settle(process)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _can_tell(client: Sequence[str]) -> bool:
    """Whether it is an OpenSSH that has -G."""
    try:
        run = subprocess.run(
            [*client, "-V"], stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    version = re.search(rb"OpenSSH_(\d+)\.(\d+)", run.stderr)
    return version is not None and (int(version[1]), int(version[2])) >= _FIRST_VERSION


def _explain(complaint: str, target: SshTarget) -> str:
    lines = [line.strip() for line in complaint.splitlines()]
    told = one_line("; ".join(line for line in lines if not _NOISE.match(line)), 300)
    return (
        f"OpenSSH does not take its configuration: {told or 'it did not say why'}. Correct it (`ssh -G "
        f"{target.host}` tries it), or give another (--ssh-config FILE, or 'none' to use none at all)."
    )


def _parse(output: str) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    for line in filter(None, output.split("\n")):
        keyword, _, value = line.rstrip("\r").partition(" ")
        said.setdefault(keywords.plain(keyword), []).append(value)
    return said


def _compare(
    said: Mapping[str, Sequence[str]], usual: Mapping[str, Sequence[str]], where: str
) -> Iterator[Setting]:
    for name, values in said.items():
        is_set = values != usual.get(name)
        if name in _SETTLED or not (is_set or name in _ALWAYS):
            continue
        for value in values:
            # It does not quote: where a name holds a blank we can't tell where it ends.
            words = value.split(" ") if name in _LISTS else [value]
            keyword = keywords.spelled(name)
            if len(words) > 1 and not all(word.startswith(("/", "~")) for word in words):
                keyword, words = f"{keyword} with a blank in it", [value]
            yield from (Setting(keyword, word, where if is_set else "") for word in words)
