"""``schedule``: a job is handed over to whoever starts things by the clock."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

import click
from click.core import ParameterSource

from reconcile.commands.asked import find_asked
from reconcile.commands.look import folder_of, without_telling
from reconcile.config import make_flags, make_job
from reconcile.core.errors import Exit, UsageError
from reconcile.core.job import Job
from reconcile.core.timetable import Timetable, in_words, read_daily, read_every, read_weekly
from reconcile.home import absolute, in_home
from reconcile.jobs.file import JobFile
from reconcile.jobs.settings import WORDS, is_path
from reconcile.options import job_options
from reconcile.schedule import install, texts
from reconcile.schedule.texts import Order
from reconcile.state.schedule import remember_schedule

_OURS = ("daily", "weekly", "every", "whom", "installs", "off", "watch", "config")
_MADE = {  # for whom, and what is above it where all are shown
    "cron": "cron: a line for crontab -e",
    "systemd": "systemd: in ~/.config/systemd/user, then systemctl --user enable --now {name}.timer",
    "windows": 'Windows: {name}.xml, then schtasks /Create /TN "{name}" /XML "{name}.xml"',
    "github": "GitHub: .github/workflows/{name}.yml",
    "gitlab": "GitLab: a part of .gitlab-ci.yml",
}


@click.command("schedule")
@click.option("--daily", metavar="TIME", help="Each day at this time.  [default: 03:15]")
@click.option("--weekly", metavar="'DAY TIME'", help="Each week, 'sun 03:15', say.")
@click.option("--every", metavar="STEP", help="Again and again: 5m, 15m, 1h, 6h.")
@click.option(
    "--for",
    "whom",
    type=click.Choice([*_MADE]),
    help="Show what one of them takes, and nothing else, to be written into a file.",
)
@click.option(
    "--install", "installs", is_flag=True, help="Hand it over here: to systemd's user manager, else to cron."
)
@click.option("--off", is_flag=True, help="Take back what --install did.")
@click.option("--watch", is_flag=True, help="The service that keeps reconcile watch at work instead.")
@job_options
@click.pass_context
def command(
    context: click.Context,
    /,
    daily: str | None,
    weekly: str | None,
    every: str | None,
    whom: str | None,
    installs: bool,
    off: bool,
    watch: bool,
    **values: Any,
) -> int:
    """Show what starts a job by the clock: for cron, systemd, Windows, GitHub and GitLab.

    \b
      reconcile schedule                          of all jobs, daily at 03:15
      reconcile schedule photos --weekly 'sun 03:15' --for cron
      reconcile schedule photos --every 15m --install

    Takes the flags of run, which are part of what is started. Changes nothing without --install or --off.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    asked = find_asked(context, values)
    jobs = [make_job(make_flags(without_telling(each.values))) for each in asked]
    table = _read_table(daily, weekly, every)
    config = asked[0].file.path if asked[0].file is not None else None
    name = _name(values["names"], jobs, asked[0].file)
    order = _order(context, values, jobs, config, name, "watch" if watch else "run")
    if off:
        return _take_back(name, jobs)
    if installs:
        return _hand_over(order, table, jobs, watch=watch)
    if watch:
        click.echo(texts.service(order, stays=True), nl=False)
    elif whom is not None:
        click.echo(_make(order, table, whom), nl=False)
    else:
        click.echo(f"# {name}, {in_words(table)}")
        for each, title in _MADE.items():
            click.echo(f"\n# {title.format(name=name)}\n\n{_make(order, table, each)}", nl=False)
        click.echo("\n# --install hands it over to this machine, --for NAME shows one of these alone")
    return Exit.OK


def _make(order: Order, table: Timetable, whom: str) -> str:
    makers: Mapping[str, Callable[[Order, Timetable], str]] = {
        "cron": texts.crontab,
        "systemd": _both_units,
        "windows": lambda order, table: texts.task(order, table, os.environ.get("WSL_DISTRO_NAME", "")),
        "github": texts.github,
        "gitlab": texts.gitlab,
    }
    return makers[whom](order, table)


def _both_units(order: Order, table: Timetable) -> str:
    service, timer = texts.service(order), texts.timer(order, table)
    return f"# {order.name}.service\n{service}\n# {order.name}.timer\n{timer}"


def _hand_over(order: Order, table: Timetable, jobs: Sequence[Job], *, watch: bool) -> int:
    name = order.name
    if watch:
        if not install.has_systemd():
            raise UsageError(
                "--watch --install needs systemd's user manager; start reconcile watch otherwise"
            )
        unit = f"{name}-watch.service"
        written = install.install_units({unit: texts.service(order, stays=True)}, unit)
        click.echo(f"reconcile: watching from now on, by {written[0]}")
        return Exit.OK
    if install.has_systemd():
        units = {f"{name}.service": texts.service(order), f"{name}.timer": texts.timer(order, table)}
        written = install.install_units(units, f"{name}.timer")
        install.remove_line(name)  # should it have been cron's before
        click.echo(f"reconcile: {in_words(table)}, by {' and '.join(written)}")
        click.echo("reconcile: note: to have it run while you are not logged in: loginctl enable-linger")
    else:
        install.install_line(name, texts.crontab(order, table))
        click.echo(f"reconcile: {in_words(table)}, by your crontab")
    for job in jobs:
        remember_schedule(folder_of(job), table)
    return Exit.OK


def _take_back(name: str, jobs: Sequence[Job]) -> int:
    removed = list(install.remove_units([f"{name}.timer", f"{name}.service", f"{name}-watch.service"]))
    if install.remove_line(name):
        removed.append("a line of your crontab")
    for job in jobs:
        remember_schedule(folder_of(job), None)
    said = f"taken away: {', '.join(removed)}" if removed else f"nothing of {name} was handed over here"
    click.echo(f"reconcile: {said}")
    return Exit.OK


def _read_table(daily: str | None, weekly: str | None, every: str | None) -> Timetable:
    given = [
        (text, read)
        for text, read in ((daily, read_daily), (weekly, read_weekly), (every, read_every))
        if text
    ]
    if len(given) > 1:
        raise UsageError("--daily, --weekly and --every exclude each other")
    return given[0][1](given[0][0]) if given else Timetable()


def _name(names: Sequence[str], jobs: Sequence[Job], file: JobFile | None) -> str:
    """What is made for it goes by this name: the jobs', or that of the folder of their state.

    Jobs of two files may be called alike: so it tells which file they are of, unless that is the user's own.
    """
    if file is None:
        words = os.path.basename(jobs[0].state)
    else:
        words = "-".join(names or ["all"])[:80]
        if not file.is_users:
            words += f"-{crc32(os.fsencode(chr(0).join([file.path, *names]))):08x}"
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", f"reconcile-{words}")[:100]


def _order(
    context: click.Context,
    values: Mapping[str, Any],
    jobs: Sequence[Job],
    config: str | None,
    name: str,
    verb: str,
) -> Order:
    """What was typed, without what is about the schedule: with paths that hold wherever it is started."""
    names = list(values["names"])
    here = [*_options(context)]
    if verb == "run" and not (values["quiet"] or values["verbose"] or values["as_json"]):
        here.append("-q")  # a mail only if something is wrong
    if config is not None:
        here += ["--config", config]
    if verb == "watch" and (every := context.params["every"]) is not None:
        here += ["--every", every]
    words = *_program(), verb, *_ordered([jobs[0].source, names[1]] if config is None else names, here)
    in_ci = ("reconcile", verb, *_ordered(names, [*_options(context, in_ci=True)]))
    folder = "" if config is not None else os.getcwd()
    if re.search(r"[\ud800-\udfff]", "".join((*words, folder))):
        raise UsageError("a name that is no UTF-8 can't be handed over to anybody")
    return Order(name, words, in_ci, folder)


def _options(context: click.Context, *, in_ci: bool = False) -> Iterator[str]:
    """Those of run that were typed, as words; ``in_ci``: for a checkout, with paths as given."""
    for option in context.command.params:
        name = option.name or ""
        typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not typed or not isinstance(option, click.Option) or name in _OURS:
            continue
        value: Any = context.params[name]
        if option.is_flag:
            yield option.opts[0] if value else option.secondary_opts[0]
            continue
        for each in value if option.multiple else [value]:
            is_here = is_path(option) and each not in WORDS and not in_ci
            yield from (option.opts[0], absolute(in_home(each) or each) if is_here else str(each))


def _ordered(names: Sequence[str], options: Sequence[str]) -> Sequence[str]:
    """Names first, as people type it, unless one could be taken for an option."""
    odd = any(name.startswith("-") for name in names)
    return [*options, "--", *names] if odd else [*names, *options]


def _program() -> Sequence[str]:
    """What starts us, from any folder and with any PATH."""
    started = os.path.abspath(sys.argv[0])
    if os.path.basename(started) == "reconcile" and os.access(started, os.X_OK):
        return (started,)
    if sys.argv[0].endswith("__main__.py"):
        return (sys.executable, "-m", "reconcile")
    found = shutil.which("reconcile")
    return (os.path.abspath(found),) if found is not None else (sys.executable, "-m", "reconcile")
