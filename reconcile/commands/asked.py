"""Which jobs a command line asks for, and how several are carried out: one by one, whatever becomes of each.

What is said of a job weighs more the nearer it is: a flag, ``RECONCILE_*`` in the environment, the job's own
table, the tables it inherits from, ``[defaults]``, and last what is built in.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource
from msgspec import Struct

from reconcile.commands.ending import fail, own_up
from reconcile.core.errors import Exit, UsageError
from reconcile.jobs.settings import IN_CI, add_value, read_environment, settings_of, variable_of
from reconcile.remotes import parse_target, strange_flags
from reconcile.report.several import Documents, Titled, summarise_jobs, worst

if TYPE_CHECKING:
    from reconcile.jobs.file import Entry, JobFile, Table
    from reconcile.process import Session

CONFIG = "RECONCILE_CONFIG"  # names the file, as --config does
_TYPED = (ParameterSource.COMMANDLINE, ParameterSource.PROMPT)


class Asked(Struct, frozen=True):
    """One job as it is asked for."""

    name: str  # "": SRC and DEST were typed
    values: Mapping[str, Any]  # as if all had been typed, by names of parameters
    origins: Mapping[str, Sequence[str | Table]]  # by key: who says what is in force; of a list all of them
    file: JobFile | None = None


def find_asked(context: click.Context, values: Mapping[str, Any], *, whole: bool = False) -> list[Asked]:
    """The jobs that are asked for, one at least. Raises UsageError, and Refused for an unsafe file.

    ``whole``: with all that a run of them would be told, though the command has no such options.
    """
    values = (_built_in() if whole else {}) | dict(values)
    names, config = values.pop("names"), values.pop("config")
    if is_pair(names):
        if config is not None:
            raise click.UsageError("--config names a file of jobs, and SRC DEST is none of them", context)
        if len(names) > 2:
            raise click.UsageError(f"Got unexpected extra argument ({' '.join(names[2:])})", context)
        typed = {**values, "source": names[0], "target": names[1]}
        return [_put_together(context, typed, ())]
    file = find_job_file(config)
    if file is None:
        _say_what_is_missing(context, names)
    if strange := [name for name in names if name not in file.jobs]:
        raise _strange_job(context, file, strange[0])
    if not file.jobs:
        raise click.UsageError(f"{file.path} has no jobs: [jobs.NAME] with source and target is one", context)
    jobs = [file.jobs[name] for name in dict.fromkeys(names or file.jobs)]
    return [_of_file(context, values, file, job) for job in jobs]


def find_one(context: click.Context, values: Mapping[str, Any]) -> Asked:
    """The job that is asked for, where there may be but one. Raises the same."""
    asked = find_asked(context, values)
    if len(asked) != 1:
        raise UsageError("name one job")
    return asked[0]


def find_dest(context: click.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a command that takes a DEST, which may be the name of a job: where that leads, and how.

    Raises UsageError, and Refused for an unsafe file.
    """
    values = dict(values)
    dest, config = values["target"], values.pop("config")
    is_place = "/" in dest or ":" in dest
    if is_place and config is not None:
        raise click.UsageError("--config names a file of jobs, and DEST is none of them", context)
    file = None if is_place else find_job_file(config)
    if file is not None and dest not in file.jobs and config is not None:
        raise _strange_job(context, file, dest)
    if file is None or dest not in file.jobs:
        return values
    job = file.jobs[dest]
    asked = _put_together(context, {**values, "target": job.target}, job.tables)
    return dict(asked.values)


def find_job_file(config: str | None) -> JobFile | None:
    """The file of jobs, read and found right; None: there is none. Raises UsageError, and Refused."""
    from reconcile.commands import find_command
    from reconcile.jobs.file import find_file, read_file

    path = find_file(config or os.environ.get(CONFIG) or None)
    return None if path is None else read_file(path, find_command("run"))


def carry_out_jobs(
    context: click.Context, command: str, values: Mapping[str, Any], do: Callable[[Mapping[str, Any]], int]
) -> int:
    """``do`` each of the jobs that are asked for, with what is in force of it; the exit code of all.

    One that fails does not stop the others; a signal does.
    """
    session: Session = context.obj
    asked = find_asked(context, values)
    if len(asked) == 1:
        return attempt(session, asked[0], do)
    session.several = True
    ended: dict[str, int] = {}
    documents = Documents([each.name for each in asked], ended) if values["as_json"] else None
    if documents is not None:
        session.farewells.append(documents.print)
    for each in asked:
        if session.stop.requested:
            break
        if documents is not None:
            session.out = documents.of(each.name)
        else:
            session.out, session.err = Titled.both(each.name)
        ended[each.name] = attempt(session, each, do)
    session.ending = True
    session.out = session.err = None
    code = worst(ended.values())
    if documents is not None:
        return code if documents.print(code) else Exit.FATAL
    if not values["quiet"] or code not in (Exit.OK, Exit.CHANGES):
        text = summarise_jobs(command, [each.name for each in asked], ended)
        aside = bool(values["quiet"]) or values.get("events") == "-"
        click.echo(f"reconcile: {text}", err=aside)
        if session.to_do:
            click.echo(f"reconcile: to do it: {to_do_it(session.args)}", err=aside)
    return code


def attempt(session: Session, asked: Asked, do: Callable[[Mapping[str, Any]], int]) -> int:
    """The exit code of one job, whatever ends it; why is told."""
    session.reporter, session.ending = None, False
    try:
        code = do(asked.values)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - every way out has its exit code
        session.ending = True
        code = fail(error, session)
    return own_up(code, session.reporter)


def to_do_it(args: Sequence[str], command: str = "run") -> str:
    """The command line that does what this one shows."""
    only_shows = {"-n", "--dry-run", "--detailed-exitcode"}
    words = [command if place == 0 else arg for place, arg in enumerate(args)]
    return shlex.join(["reconcile", *(word for word in words if word not in only_shows)])


def is_pair(names: Sequence[str]) -> bool:
    """Whether these are SRC and DEST, and no names of jobs: those hold neither of the two characters."""
    return len(names) > 1 and ("/" in names[1] or ":" in names[1])


def split_names(names: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What names one job, and what is named after it."""
    count = 2 if is_pair(names) else 1
    return names[:count], names[count:]


def _strange_job(context: click.Context, file: JobFile, name: str) -> click.UsageError:
    return click.UsageError(
        f"there is no job {name!r} in {file.path}; there are: {', '.join(file.jobs) or 'none'}. "
        "A folder here is written ./folder as DEST, a server host:path",
        context,
    )


def _say_what_is_missing(context: click.Context, names: Sequence[str]) -> NoReturn:
    """Raises UsageError: there is no file of jobs, and no SRC DEST either."""
    if len(names) == 2:
        raise click.UsageError(
            f"DEST has none of the forms that are known: a folder here is written ./{names[1]}, a server "
            "host:path. Nor are these names of jobs: there is no reconcile.toml here or above",
            context,
        )
    missing = "DEST" if names else "SRC"
    raise click.UsageError(
        f"Missing argument '{missing}'. Names of jobs need a reconcile.toml, here or in a folder above: "
        "'reconcile init SRC DEST' writes one",
        context,
    )


def _of_file(context: click.Context, values: Mapping[str, Any], file: JobFile, job: Entry) -> Asked:
    from reconcile.config import REMOTE
    from reconcile.core.job import Own
    from reconcile.jobs.file import NAME, SNAPSHOTS
    from reconcile.state.store import default_state_base

    said = {**values, "source": job.source, "target": job.target, "job": job.name}
    asked = _put_together(context, said, job.tables)
    state = asked.values["state"]
    here = None
    if state is None or state == REMOTE:
        here = default_state_base() if file.is_users else os.path.join(file.folder, SNAPSHOTS)
        here = os.path.join(here, job.name)
    if state != REMOTE:
        state = here or os.path.join(state, job.name)
    ours = (
        Own(os.path.join(file.folder, SNAPSHOTS), "is where reconcile keeps the state of jobs"),
        Own(file.path, f"is the {NAME} that says what is sent"),
    )
    told = {**asked.values, "state": state, "state_here": here, "ours": ours}
    return Asked(job.name, told, asked.origins, file)


def _built_in() -> dict[str, Any]:
    """What a run is told by nobody."""
    from reconcile.commands import find_command

    told = find_command("run").make_context("run", []).params
    return {name: value for name, value in told.items() if name not in ("dry_run", "plan")}


def _put_together(context: click.Context, values: Mapping[str, Any], tables: Sequence[Table]) -> Asked:
    """What is in force of what the tables, the environment and the flags say."""
    from reconcile.commands import find_command

    options = settings_of(find_command("run"))
    said: list[tuple[str | Table, Mapping[str, Any]]] = [(table, table.values) for table in tables]
    said.append(("", read_environment(options, os.environ)))
    together = dict(values)
    origins: dict[str, Sequence[str | Table]] = {}
    strange = _strange(values["target"]) if len(said) > 1 or said[0][1] else frozenset[str]()
    for key, option in options.items():
        if option.name not in values:
            continue  # the command's own affair, as --detailed-exitcode is
        layers = [(origin or variable_of(option), held[key]) for origin, held in said if key in held]
        if context.get_parameter_source(option.name) in _TYPED:
            layers.append((option.opts[0], values[option.name]))
        if not layers or (not _is_meant(layers, tables) and option.name in strange):
            continue
        value: Any = ()
        for _, each in layers:
            value = add_value(option, value, each)
        together[option.name] = value
        origins[key] = [origin for origin, _ in (layers if value is not layers[-1][1] else layers[-1:])]
    if together.get("ci"):
        for key, value in IN_CI.items():
            if key in options and key not in origins:
                together[options[key].name or key] = value
                origins[key] = ["--ci"]
    _settle_loudness(context, together)
    return Asked("", together, origins)


def _is_meant(layers: Sequence[tuple[str | Table, Any]], tables: Sequence[Table]) -> bool:
    """Whether it is said of this very job: by a flag, or in its own table."""
    return any(
        origin is tables[-1] if tables and not isinstance(origin, str) else str(origin).startswith("-")
        for origin, _ in layers
    )


def _strange(target: str) -> frozenset[str]:
    """What means nothing for this DEST, though it may for other jobs: a key, where it is a disk."""
    try:
        return strange_flags(parse_target(target))
    except UsageError:  # told by who makes the job
        return frozenset()


def _settle_loudness(context: click.Context, together: dict[str, Any]) -> None:
    """What is typed wins here, too: -q over a file that wants all told."""
    for one, other in (("quiet", "verbose"), ("verbose", "quiet")):
        typed = [name for name in (one, other) if context.get_parameter_source(name) in _TYPED]
        if typed == [one]:
            together[other] = False
