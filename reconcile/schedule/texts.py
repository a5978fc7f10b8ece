"""What is written into a crontab, into units of systemd, into the Task Scheduler, and into CI."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from subprocess import list2cmdline
from xml.sax.saxutils import escape

from msgspec import Struct

from reconcile.core.errors import UsageError
from reconcile.core.timetable import Kind, Timetable, in_cron, in_systemd

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_STAYS = (
    *("Restart=always", "RestartSec=30", "RestartPreventExitStatus=2"),
    "SuccessExitStatus=129 130 143",  # it was asked to end, and did
)
_STATE, _TIMES = ("--state", "remote"), ("--times", "ignore")
_IN_QUOTES = str.maketrans({"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$", "\n": "\\n", "\t": "\\t"})


class Order(Struct, frozen=True):
    """What is to be started."""

    name: str  # of what is made for it: ASCII letters, digits and a few others
    words: Sequence[str]  # the whole command, the program by its path in full
    in_ci: Sequence[str]  # what does the same in a checkout, where the program is in the PATH
    folder: str = ""  # in which it is started; empty: wherever


def crontab(order: Order, table: Timetable) -> str:
    """One line. A per cent sign is a line break there, in whatever quotes (crontab(5))."""
    command = shlex.join(order.words)
    if order.folder:
        command = f"cd {shlex.quote(order.folder)} && {command}"
    if "\n" in command:
        raise UsageError("a line of a crontab can't hold a name with a line break")
    return f"{in_cron(table)} {command}".replace("%", "\\%") + "\n"


def service(order: Order, *, stays: bool = False) -> str:
    """A service of systemd; ``stays``: that is started again should it ever end, else one that runs once.

    Only the process itself is asked to end, which then has time for what is under way.
    """
    folder = [f"WorkingDirectory={order.folder.replace('%', '%%')}"] if order.folder else []
    kind = [*_STAYS] if stays else ["Type=oneshot"]
    lines = [
        "[Unit]",
        f"Description={_description(order)}",
        "",
        "[Service]",
        *kind,
        *folder,
        f"ExecStart={' '.join(map(_quote, order.words))}",
        "KillMode=mixed",
        "TimeoutStopSec=30",
        *(["", "[Install]", "WantedBy=default.target"] if stays else []),
    ]
    return "\n".join(lines) + "\n"


def timer(order: Order, table: Timetable) -> str:
    """Its timer. What was due while the machine was off is made up for."""
    lines = [
        "[Unit]",
        f"Description={_description(order)}",
        "",
        "[Timer]",
        f"OnCalendar={in_systemd(table)}",
        "Persistent=true",
        f"RandomizedDelaySec={table.spread_s}",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return "\n".join(lines) + "\n"


def task(order: Order, table: Timetable, distribution: str = "") -> str:
    """A task of Windows, which starts us in WSL. ASCII: nobody agrees on the encoding of such a file."""
    words = [*(["--distribution", distribution] if distribution else [])]
    words += [*(["--cd", order.folder] if order.folder else []), "--exec", *order.words]
    text = f"""<?xml version="1.0"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>{escape(_description(order))}</Description>
  </RegistrationInfo>
  <Triggers>
    <CalendarTrigger>
{_trigger(table)}    </CalendarTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>wsl.exe</Command>
      <Arguments>{escape(list2cmdline(words))}</Arguments>
    </Exec>
  </Actions>
</Task>
"""
    return text.encode("ascii", "xmlcharrefreplace").decode()


def _trigger(table: Timetable) -> str:
    lines = []
    if table.kind is Kind.EVERY:
        lines += ["<Repetition>", f"  <Interval>PT{table.step}M</Interval>", "  <Duration>P1D</Duration>"]
        lines += ["</Repetition>"]
    lines += [f"<StartBoundary>2026-01-01T{table.hour:02}:{table.minute:02}:00</StartBoundary>"]
    lines += [f"<RandomDelay>PT{table.spread_s}S</RandomDelay>"]
    if table.kind is Kind.WEEKLY:
        lines += ["<ScheduleByWeek>", "  <WeeksInterval>1</WeeksInterval>", "  <DaysOfWeek>"]
        lines += [f"    <{DAYS[table.day]} />", "  </DaysOfWeek>", "</ScheduleByWeek>"]
    else:
        lines += ["<ScheduleByDay>", "  <DaysInterval>1</DaysInterval>", "</ScheduleByDay>"]
    return "".join(f"      {line}\n" for line in lines)


def github(order: Order, table: Timetable) -> str:
    """A workflow. The clock there is UTC; what it needs has names of secrets and variables."""
    return f"""name: {order.name}
on:
  schedule:
    - cron: "{in_cron(table)}" # UTC
  workflow_dispatch:
permissions:
  contents: read
concurrency:
  group: {order.name}
  cancel-in-progress: false
jobs:
  {order.name.replace(".", "-")}:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: pipx install reconcile-sftp
      - env:
          DEPLOY_KEY: ${{{{ secrets.DEPLOY_KEY }}}}
          RECONCILE_HOST_KEY: ${{{{ vars.HOST_KEY }}}}
        run: |
          install -m 600 /dev/null "$RUNNER_TEMP/key" && printf '%s\\n' "$DEPLOY_KEY" > "$RUNNER_TEMP/key"
          {_in_ci(order)} --identity "$RUNNER_TEMP/key"
"""


def gitlab(order: Order, table: Timetable) -> str:
    """A job, for a schedule that has to be made by hand there."""
    return f"""# Build, Pipeline schedules, New schedule: {in_cron(table)}
# Settings, CI/CD, Variables: DEPLOY_KEY (of type file) and RECONCILE_HOST_KEY
{order.name}:
  image: python:3.13
  rules:
    - if: $CI_PIPELINE_SOURCE == "schedule"
  resource_group: {order.name}
  script:
    - pip install reconcile-sftp
    - chmod 600 "$DEPLOY_KEY"
    - {_in_yaml(_in_ci(order) + ' --identity "$DEPLOY_KEY"')}
"""


def _in_ci(order: Order) -> str:
    """The state lies with DEST, as nothing stays there; a checkout makes every file's time anew."""
    added = [
        *(_STATE if "--state" not in order.in_ci else ()),
        *(_TIMES if "--times" not in order.in_ci else ()),
    ]
    return shlex.join([*order.in_ci, *added])


def _in_yaml(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _description(order: Order) -> str:
    return " ".join(f"reconcile: {order.name.removeprefix('reconcile-')}".split())


def _quote(word: str) -> str:
    """As systemd reads a command (systemd.service, "Command lines")."""
    quoted = word.translate(_IN_QUOTES)
    plain = quoted == word and word and not any(c in word for c in " ';&|<>#*?")
    return word if plain else f'"{quoted}"'
