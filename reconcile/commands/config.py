"""``config``: what is in force of a job, and who says so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from reconcile.commands import find_command
from reconcile.commands.asked import Asked, find_asked
from reconcile.commands.help import Grouped
from reconcile.commands.look import end_of, tell_document
from reconcile.core.errors import Exit
from reconcile.jobs.settings import settings_of
from reconcile.jobs.writing import spell
from reconcile.options import job_options

if TYPE_CHECKING:
    from reconcile.jobs.file import Table

_HIDDEN = "***"
_SECRETS = ("password_command", "passphrase_command")  # which may hold what they print
_NAMED_SECRET = re.compile(r"(?i)pass|secret|token|key|credential")
_MOST = 60  # characters of a value beside which its origin still has place


@click.group("config", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Look at what reconcile.toml, the environment and the flags say.

    \b
      reconcile config show                     of all jobs
      reconcile config show photos              of one
      reconcile config show photos --mirror     and with a flag
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    end_of(context)


@command.command("show", cls=Grouped)
@job_options
@click.pass_context
def show(context: click.Context, /, **values: Any) -> int:
    """Print what is in force of a job, and where each value comes from.

    \b
      reconcile config show                     of all jobs
      reconcile config show photos              of one
      reconcile config show photos --mirror     and with a flag

    A flag wins over RECONCILE_* in the environment, that over the job's own table, that over those that it
    inherits from and [defaults], and these over what is built in. Secrets are not shown.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    asked = find_asked(context, values)
    shown = {each.name: list(_settings(each)) for each in asked}
    if values["as_json"]:
        jobs = [
            {
                "job": name or None,
                "settings": [dict(zip(("key", "value", "from"), row, strict=True)) for row in rows],
            }
            for name, rows in shown.items()
        ]
        return tell_document(values, Exit.OK, jobs=jobs)
    for each in asked:
        rows = shown[each.name]
        if each.file is not None:
            click.echo(f"# {each.file.path}\n[jobs.{each.name}]")
        texts = [(key, spell(value), "; ".join(origins)) for key, value, origins in rows]
        width = max(len(key) for key, _, _ in texts)
        wide = min(max(len(text) for _, text, _ in texts), _MOST)
        for key, text, origin in texts:
            click.echo(f"{key:{width}} = {text:{wide}}  # {origin}")
        if each is not asked[-1]:
            click.echo()
    return Exit.OK


def _settings(asked: Asked) -> Iterator[tuple[str, Any, Sequence[str]]]:
    """Key, value and origins of all that has a value, what was said by somebody first of all where it is."""
    if asked.file is None:
        yield "source", asked.values["source"], ["SRC"]
        yield "target", asked.values["target"], ["DEST"]
    else:
        entry = asked.file.jobs[asked.name]
        for key in ("source", "target"):
            table = next(table for table in reversed(entry.tables) if key in table.values)
            yield key, _masked(key, asked.values[key], [table]), [_origin(asked, table, key)]
    for key, option in settings_of(find_command("run")).items():
        value = asked.values.get(str(option.name))
        origins = asked.origins.get(key, ())
        if key == "state" and asked.file is not None:
            told = [_origin(asked, origin, key) for origin in origins] or ["built in"]
            yield key, value, told
        elif origins:
            yield key, _masked(key, value, origins), [_origin(asked, origin, key) for origin in origins]
        elif value not in (None, False, ()):
            yield key, value, ["built in"]


def _origin(asked: Asked, origin: str | Table, key: str) -> str:
    if isinstance(origin, str):
        return origin
    assert asked.file is not None
    return f"[{'.'.join(origin.path)}], line {asked.file.line_of(origin, key)}"


def _masked(key: str, value: Any, origins: Sequence[str | Table]) -> Any:
    """The value, but for what may be a secret in it."""
    if key in _SECRETS:
        return f"{str(value).split()[0]} {_HIDDEN}" if len(str(value).split()) > 1 else value
    said = [origin.raw.get(key) for origin in origins if not isinstance(origin, str)]
    names = re.findall(r"\$\{(\w+)\}", json.dumps(said, default=str))
    if any(_NAMED_SECRET.search(name) for name in names):
        return _HIDDEN
    if key == "ping":  # whoever has it may tell in the job's name
        return re.sub(r"(?<=[/=])[^/=?&]{8,}", _HIDDEN, re.sub(r"//[^/@]*@", f"//{_HIDDEN}@", str(value)))
    return value
