"""Where this user's own files are, and what a path means that was typed.

In a container a user may have neither ``HOME`` nor an entry in the password file. Python then
leaves ``~`` as it is, and ``~/.ssh`` would be a folder in whatever folder we happen to be in.
"""

from __future__ import annotations

import os

from reconcile.core.errors import UsageError

NO_HOME = "this user has no home folder (HOME is not set, and the system knows of none)"


def in_home(path: str) -> str | None:
    """``path`` with a leading ``~`` resolved; None where there is no such home folder."""
    name, _, rest = path.partition("/")
    if not name.startswith("~"):
        return path
    home = os.environ.get("HOME", "") if name == "~" else ""
    if not os.path.isabs(home):
        home = _registered(name[1:])
    return os.path.join(home, rest) if os.path.isabs(home) else None


def login_home() -> str:
    """The home folder as the system's list has it: OpenSSH's, which does not ask ``HOME``.

    Of a user who is not in that list the one that ``HOME`` names; and so where that holds an SSH
    configuration: whoever set it meant that. Empty: there is none.
    """
    home = os.environ.get("HOME", "")
    if not os.path.isfile(os.path.join(home, ".ssh", "config")):
        home = _registered("") or home
    return home if os.path.isabs(home) else ""


def is_moved() -> bool:
    """Whether ``login_home`` is not where OpenSSH looks."""
    registered = _registered("")
    return bool(registered) and login_home() != registered


def expand(path: str, way_out: str) -> str:
    """The same; raises UsageError where there is no such home folder, and says ``way_out``."""
    full = in_home(path)
    if full is None:
        who = NO_HOME if path.partition("/")[0] == "~" else "there is no such user here"
        raise UsageError(f"can't tell where {path} is: {who}. {way_out}")
    return full


def expand_option(path: str, option: str) -> str:
    """The same for what an option was given; raises UsageError for an empty one, too."""
    if not path:
        raise UsageError(f"{option}: the name is empty")
    return expand(path, f"Write the path in full ({option}).")


def absolute(text: str) -> str:
    """The absolute path that was given, its links as they are: they may be there to turn."""
    parts = os.path.join(_here(), text).split("/")
    if ".." in parts:  # goes up from where a link leads
        last = len(parts) - parts[::-1].index("..")
        parts = [os.path.realpath("/".join(parts[:last])), *parts[last:]]
    return "/" + os.path.normpath("/".join(parts)).lstrip("/")


def _here() -> str:
    """The current folder, by the path that the shell came there."""
    shell = os.environ.get("PWD", "")
    try:
        if os.path.isabs(shell) and os.path.samefile(shell, "."):
            return shell
    except OSError:
        pass
    return os.getcwd()


def _registered(user: str) -> str:
    """The home folder of a user, of this one if ``user`` is empty, as the system's list has it."""
    import pwd

    try:
        return (pwd.getpwnam(user) if user else pwd.getpwuid(os.getuid())).pw_dir
    except KeyError:
        return ""
