"""What ``~``, ``%h`` and ``${NAME}`` stand for in an SSH config: ssh_config(5), "TOKENS"."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping

_TOKEN = re.compile(r"%(.?)|\$\{([^}]*)\}?", re.DOTALL)


def tokens(*, home: str, host: str, port: int, user: str, name: str, alias: str | None) -> dict[str, str]:
    """All that can be told here; %C is not among them, since each version hashes other things into it."""
    node = os.uname().nodename
    return {
        "%": "%",
        "d": home,
        "h": host,
        "i": str(os.getuid()),
        "k": alias or name,
        "L": node.partition(".")[0],
        "l": node,
        "n": name,
        "p": str(port),
        "r": user,
        "u": own_name(),
    }


def own_name() -> str:
    """Who runs this, as the system's list has it. Empty: it has nothing."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def expand_path(path: str, known: Mapping[str, str]) -> str:
    """A path with all of them expanded. Raises ValueError where that can't be done."""
    return expand(expand_home(path, known["d"]), known, with_environment=True)


def expand_home(path: str, home: str) -> str:
    """A leading ``~`` or ``~user``. Raises ValueError for a user that there is not."""
    name, slash, rest = path.partition("/")
    if not name.startswith("~"):
        return path
    if name != "~":
        try:
            home = pwd.getpwnam(name[1:]).pw_dir
        except KeyError:
            raise ValueError(f"there is no user {name[1:]}") from None
    if not home:
        raise ValueError("this user has no home folder")
    return f"{home.rstrip('/')}{slash}{rest}"


def expand(text: str, known: Mapping[str, str], *, with_environment: bool = False) -> str:
    """Tokens, and variables where they are allowed. Raises ValueError for one that is not known."""

    def value(found: re.Match[str]) -> str:
        if found[2] is None:
            if found[1] not in known:
                raise ValueError(f"what %{found[1]} stands for can't be told here")
            return known[found[1]]
        if not with_environment:
            return found[0]
        if found[2] not in os.environ:
            raise ValueError(f"the variable {found[2]} is not set")
        return os.environ[found[2]]

    return _TOKEN.sub(value, text)
