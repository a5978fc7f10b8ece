"""``plan --out`` and ``run --plan``: what of a command line is saved with a plan, and how it comes back."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import click
from click.core import ParameterSource
from msgspec.structs import replace

from reconcile.commands.asked import is_pair
from reconcile.config import Flags
from reconcile.core.job import Job, Own, Result, Reviewed
from reconcile.state.saved import Saved, read_plan, save_plan

# What makes no plan another one: where things are, and how patient a run is.
_FREE = frozenset(
    (
        *("source", "target", "reaching", "state", "state_here", "job", "ours", "moved_from", "lock", "ci"),
        *("retries", "retry_max_wait", "timeout", "wait", "fsync", "limit_rate"),
    )
)
SHAPING = frozenset(Flags.__struct_fields__) - _FREE
_UNSAID = ("names", "out", "detailed_exitcode", "as_json", "quiet", "verbose")


def leave_out(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The same, with the file of a plan among what is never sent."""
    ours = (*values.get("ours", ()), Own(os.path.abspath(path), "is a saved plan"))
    return {**values, "ours": ours}


def saver(context: click.Context, path: str, values: Mapping[str, Any]) -> Callable[[Job, Result], None]:
    """What saves the plan of a job, of which ``values`` are in force."""

    def save(job: Job, result: Result) -> None:
        flags = {name: value for name, value in values.items() if name in SHAPING}
        names = (job.source, job.dest) if is_pair(context.params["names"]) else (values["job"],)
        reviewed = Reviewed(*result.footing, list(result.plan.actions))
        save_plan(path, Saved(names, flags, reviewed))

    return save


def recall(context: click.Context, path: str, values: Mapping[str, Any]) -> Saved:
    """A saved plan. Raises UsageError where something else was typed than was said for it.

    Whoever wrote it: of what it says no more is taken than ``SHAPING`` names, none of which is a command.
    """
    saved = read_plan(path)
    flags = {name: said for name, said in saved.flags.items() if name in SHAPING and name in values}
    for name, said in flags.items():
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        typed = values[name]
        if not set(typed) <= set(said) if isinstance(said, tuple) else typed != said:
            option = next(each for each in context.command.params if each.name == name)
            raise click.UsageError(
                f"{option.opts[0]} is not as it was for {path!r}; leave it out: what was planned is done",
                context,
            )
    return replace(saved, flags=flags)


def to_apply(context: click.Context, path: str) -> str:
    """The command line that carries out what is saved there: with what was typed and is not in it."""
    words = ["reconcile", "run", "--plan", path]
    for option in context.command.params:
        name = option.name or ""
        typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not typed or name in SHAPING or name in _UNSAID or not isinstance(option, click.Option):
            continue
        value: Any = context.params[name]
        if option.is_flag:
            words.append(option.opts[0])
        else:
            words += [
                word
                for each in (value if option.multiple else [value])
                for word in (option.opts[0], str(each))
            ]
    return shlex.join(words)
