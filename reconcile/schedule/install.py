"""Handing it over: to systemd's user manager, or to cron where there is none. And taking it back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from reconcile.core.errors import ReconcileError
from reconcile.home import expand
from reconcile.state.private import create

MARK = "# reconcile schedule: "  # before a line of ours in a crontab


def has_systemd() -> bool:
    """Whether this user has a manager that would start something."""
    return (
        shutil.which("systemctl") is not None
        and _run("systemctl", "--user", "show-environment").returncode == 0
    )


def install_units(units: Mapping[str, str], enabled: str) -> Sequence[str]:
    """Write the units, and have ``enabled`` wait for its time, now and after each boot; the files."""
    folder = _unit_folder()
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in units.items():
            with open(create(str(folder / name)), "w") as file:  # what was typed is nobody else's to read
                file.write(text)
            written.append(str(folder / name))
    except OSError as error:
        raise ReconcileError(
            f"The unit can't be written to {folder}: {error.strerror}. Nothing was started."
        ) from None
    _need("systemctl", "--user", "daemon-reload")
    _need("systemctl", "--user", "enable", "--now", enabled)
    return written


def remove_units(names: Sequence[str]) -> Sequence[str]:
    """Stop them and take them away; the files that were there."""
    folder = _unit_folder()
    there = [name for name in names if (folder / name).exists()]
    if there and has_systemd():
        _run("systemctl", "--user", "disable", "--now", *there)
    for name in there:
        (folder / name).unlink(missing_ok=True)
    if there and has_systemd():
        _run("systemctl", "--user", "daemon-reload")
    return [str(folder / name) for name in there]


def install_line(name: str, line: str) -> None:
    """Put a line into the user's crontab, in the place of the one of that name."""
    if shutil.which("crontab") is None:
        raise ReconcileError(
            "There is neither a user manager of systemd nor a crontab here. Nothing was changed. Leave "
            "--install out to see what could be handed over elsewhere."
        )
    _write_crontab(_without(_read_crontab(), name) + f"{MARK}{name}\n{line}")


def remove_line(name: str) -> bool:
    """Take that line away; whether it was there."""
    if shutil.which("crontab") is None:
        return False
    before = _read_crontab()
    after = _without(before, name)
    if after != before:
        _write_crontab(after)
    return after != before


def _without(text: str, name: str) -> str:
    """All other lines, as they are: also what is below our mark, if somebody took our line away."""
    kept, is_marked = [], False
    for line in text.splitlines(keepends=True):
        was_marked, is_marked = is_marked, line.rstrip("\n") == f"{MARK}{name}"
        is_ours = was_marked and not line.startswith("#") and re.search(r"\breconcile\b.* run\b", line)
        if not is_marked and not is_ours:
            kept.append(line)
    if kept and not kept[-1].endswith("\n"):
        kept.append("\n")
    return "".join(kept)


def _read_crontab() -> str:
    """Empty where there is none yet."""
    done = _run("crontab", "-l")
    if done.returncode and "no crontab" not in done.stderr:
        raise ReconcileError(f"The crontab can't be read: {done.stderr.strip()}. Nothing was changed.")
    return "" if done.returncode else done.stdout


def _write_crontab(text: str) -> None:
    done = _run("crontab", "-", said=text)
    if done.returncode:
        raise ReconcileError(f"The crontab was not taken: {done.stderr.strip()}. It is as it was.")


def _unit_folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):
        base = expand("~/.config", "Set HOME, or XDG_CONFIG_HOME.")
    return Path(base, "systemd", "user")


def _need(*command: str) -> None:
    done = _run(*command)
    if done.returncode:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise ReconcileError(
            f"{' '.join(command)}: {said}. The units are written, and not at work; --off takes them away."
        )


def _run(*command: str, said: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            input=said,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"can't be run: {error.strerror}")
