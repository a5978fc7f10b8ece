"""The options of a command as settings: what may be said of them elsewhere than on the command line.

An option is a key of the file by its long name, ``max_delete`` for ``--max-delete``, and so it is
``RECONCILE_MAX_DELETE`` in the environment. Whatever is an option is a setting: nothing is listed twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click

PREFIX = "RECONCILE_"
# For one run, or about what is typed itself: as a standing order these would be a trap.
TYPED_ONLY = frozenset(
    (
        *("adopt_orphans", "allow_mass_delete", "config", "dry_run", "job", "json", "moved_from", "only"),
        *("out", "plan", "release_held", "start_over"),
    )
)
# What --ci stands for: a checkout has new times, and the modes of whoever made it, and its machine forgets.
IN_CI: Mapping[str, Any] = {
    "state": "remote",
    "times": "ignore",
    "chmod": "D755,F644",
    "check_mark": True,
    "default_excludes": True,
}
WORDS = frozenset(("-", "none", "remote"))  # which some options take in the place of a file
_YES, _NO = frozenset(("1", "true", "yes", "on")), frozenset(("0", "false", "no", "off"))


class BadValueError(ValueError):
    """What a setting is given is nothing that its option takes. The message says what it takes."""


def settings_of(command: click.Command) -> dict[str, click.Option]:
    """All settings that a command has, by their keys, in the order of its help."""
    return {
        key_of(option): option
        for option in command.params
        if isinstance(option, click.Option) and key_of(option) not in TYPED_ONLY
    }


def key_of(option: click.Option) -> str:
    """The long name as a key."""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")


def variable_of(option: click.Option) -> str:
    """The variable of the environment that sets it."""
    return PREFIX + key_of(option).upper()


def is_path(option: click.Option) -> bool:
    """Whether it names a file or a folder of this machine."""
    return option.metavar is not None and re.match(r"(FILE|DIR)\b", option.metavar) is not None


def read_value(option: click.Option, raw: object) -> Any:
    """What the option is with a value of the file. Raises BadValueError."""
    if option.is_flag:
        if not isinstance(raw, bool):
            raise BadValueError("takes true or false")
        return raw
    if option.multiple:
        some = raw if isinstance(raw, list) else [raw]
        if not all(isinstance(each, str) for each in some):
            raise BadValueError('takes a list of strings, ["…", "…"]')
        return _cast(option, some)
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise BadValueError(f"takes {_takes(option)}")
    return _cast(option, raw if isinstance(raw, str) else str(raw))


def read_variable(option: click.Option, text: str) -> Any:
    """The same for a variable of the environment: a list has a line for each. Raises BadValueError."""
    if option.is_flag:
        if text.lower() not in _YES | _NO:
            raise BadValueError("takes true or false")
        return text.lower() in _YES
    return _cast(option, text.splitlines() if option.multiple else text)


def add_value(option: click.Option, below: Any, value: Any) -> Any:
    """``value`` over what was said ``below``, with less weight: lists add up, the rest is replaced.

    Whoever types one more ``--exclude`` wants all the others, too. Keys of hosts are a list of
    what is trusted, which one more entry would widen: the last who says something says all.
    """
    if option.multiple and option.name != "host_key":
        return (*below, *value)
    return value


def _takes(option: click.Option) -> str:
    match option.type:
        case click.Choice():
            return "one of " + ", ".join(f'"{choice}"' for choice in option.type.choices)
        case click.types.IntParamType() | click.types.FloatParamType():
            return "a number"
    return "a string"


def _cast(option: click.Option, value: object) -> Any:
    try:
        return option.type_cast_value(click.Context(click.Command("")), value)
    except click.BadParameter as error:
        raise BadValueError(f"takes {_takes(option)}: {error.message}") from None


def read_environment(options: Mapping[str, click.Option], variables: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says of the settings, by their keys; an empty variable says nothing.

    Raises ``click.UsageError``.
    """
    found = {}
    for key, option in options.items():
        if text := variables.get(variable_of(option)):
            try:
                found[key] = read_variable(option, text)
            except BadValueError as error:
                raise click.UsageError(f"{variable_of(option)} {error}") from None
    return found
