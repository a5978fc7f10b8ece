"""``init``: a job is written into ``reconcile.toml``, and its first plan shown."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from reconcile.commands import find_command
from reconcile.commands.asked import carry_out_jobs
from reconcile.commands.help import Grouped
from reconcile.commands.run import begin_job, finish_job
from reconcile.config import check_name, make_flags, make_job
from reconcile.core.errors import Exit, UsageError
from reconcile.core.job import Job
from reconcile.home import absolute, expand_option
from reconcile.jobs.file import NAME, show_path, users_file
from reconcile.jobs.settings import WORDS, is_path, settings_of
from reconcile.jobs.writing import add_job, ignore_snapshots, spell, spell_path, spell_text
from reconcile.options import job_options
from reconcile.remotes import FORGETFUL, parse_target, scheme_of

if TYPE_CHECKING:
    from reconcile.process import Session

# For what a browser shows: git's own and the like is no part of it, and everybody may read what is.
_TRASH = "30d"  # where that can be had
_SITE: Mapping[str, Any] = {"default_excludes": True, "chmod": "D755,F644", "times": "ignore"}


@click.command("init", cls=Grouped)
@click.option("--name", metavar="NAME", help="What the job is called.  [default: the name of SRC]")
@click.option("--site", is_flag=True, help="For web sites: without .git and the like, readable for all.")
@click.option("--user", is_flag=True, help="Into the user's own file, ~/.config/reconcile.toml.")
@job_options
@click.pass_context
def command(context: click.Context, /, name: str | None, site: bool, user: bool, **values: Any) -> int:
    """Write a job into reconcile.toml, here or where --config says.

    \b
      reconcile init                                     asks what to send where
      reconcile init ~/photos me@nas:photos --mirror     writes that
      reconcile init public web:/srv/www --site

    The name may also come first: init NAME SRC DEST. A file that is there gets one job more, and stays as
    it is otherwise. On a terminal the first plan of
    the job is shown, which tells whether the server lets you in.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    session: Session = context.obj
    asking = session.may_ask() and not values["as_json"] and not values["quiet"]
    names = values["names"]
    if len(names) == 3 and name is None and ("/" in names[2] or ":" in names[2]):
        name, *names = names
    source, target, asked = _what_to_send(context, names, asking=asking)
    if user:
        path = users_file()
        if path is None or values["config"]:
            raise click.UsageError("--user: there is no home folder, or --config names a file", context)
    else:
        path = absolute(expand_option(values["config"] or NAME, "--config"))
    job = make_job(make_flags({"source": source, "target": target}))
    name = name or _slug(job.source)
    if asked:
        values["mirror"] |= click.confirm("Delete there what you delete here?", default=False, err=True)
        name = click.prompt("What is it called?", default=name, err=True)
    check_name(name, "--name")
    folder = os.path.dirname(path)
    is_here = job.target.scheme == "file" and "://" not in target
    add_job(
        path,
        find_command("run"),
        name,
        spell_text(spell_path(source, folder, plain=True)),
        spell_text(spell_path(target, folder) if is_here else target),
        {**_profile(job, values, site=site), **dict(_spelled(context, values, folder))},
    )
    say(f"wrote [jobs.{name}] to {show_path(path)}", values)
    if not user and (ignore := ignore_snapshots(folder)) is not None:
        say(f"added snapshots/ to {show_path(ignore)}", values)
    where = [] if path == absolute(NAME) or user else ["--config", path]
    if not asking:
        say(f"next: {shlex.join(['reconcile', 'plan', name, *where])}", values)
        return Exit.OK

    def show(values: Mapping[str, Any]) -> int:
        job, reporter = begin_job(context, "plan", values)
        reporter.to_do_it = shlex.join(["reconcile", "run", name, *where])
        return finish_job(session, job, reporter, "plan")

    return carry_out_jobs(context, "plan", {**values, "names": (name,), "config": path}, show)


def say(text: str, values: Mapping[str, Any]) -> None:
    """A line, unless quiet was asked for."""
    if not values["quiet"] and not values["as_json"]:
        click.echo(f"reconcile: {text}")


def _what_to_send(context: click.Context, names: Sequence[str], *, asking: bool) -> tuple[str, str, bool]:
    """SRC and DEST, and whether they were asked for."""
    if len(names) > 2:
        raise click.UsageError(f"Got unexpected extra argument ({' '.join(names[2:])})", context)
    if len(names) == 2:
        return names[0], names[1], False
    if not asking:
        missing = "DEST" if names else "SRC"
        raise click.UsageError(f"Missing argument '{missing}': there is no terminal to ask on", context)
    source = names[0] if names else click.prompt("Which folder is to be sent?", default=".", err=True)
    return (
        source,
        click.prompt("To where (user@host:path, s3://bucket/…, ./folder)?", value_proc=_dest, err=True),
        True,
    )


def _dest(text: str) -> str:
    try:
        parse_target(text)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    return text


def _slug(source: str) -> str:
    """A name for what is sent from there."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", os.path.basename(source)).strip("-")[:40] or "all"


def _profile(job: Job, values: Mapping[str, Any], *, site: bool) -> dict[str, str]:
    """What a new job says unless told otherwise."""
    known = settings_of(find_command("run"))
    caps = scheme_of(job.target).recall_caps(job, FORGETFUL)
    has_trash = caps.trash and caps.rename and values["publish"] != "release"  # else it is a copy each time
    said: dict[str, Any] = {"trash": _TRASH} if has_trash else {}
    if site:
        said |= _SITE
    return {key: spell(value) for key, value in said.items() if key in known}


def _spelled(context: click.Context, values: Mapping[str, Any], folder: str) -> Iterator[tuple[str, str]]:
    """What was typed of options, as the file has it."""
    for key, option in settings_of(find_command("run")).items():
        value = values.get(str(option.name))
        typed = context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
        if key in ("quiet", "verbose") or not (typed or (key == "mirror" and value)):
            continue
        texts: list[Any] = list(value or ()) if option.multiple else [value]
        if is_path(option):
            texts = [each if each in WORDS else spell_path(each, folder) for each in texts]
        spelled = [spell_text(each) if isinstance(each, str) else spell(each) for each in texts]
        yield key, f"[{', '.join(spelled)}]" if option.multiple else spelled[0]
