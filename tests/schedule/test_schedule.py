"""What starts a job by the clock, fed to those that are to do it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from zlib import crc32

import pytest
import yaml  # type: ignore[import-untyped]

from reconcile.cli import main
from reconcile.core.errors import Exit, UsageError
from reconcile.core.timetable import Timetable, in_cron, in_systemd, read_every, read_weekly
from reconcile.schedule import texts
from reconcile.schedule.texts import Order
from reconcile.state.schedule import recall_schedule

Call = Callable[..., tuple[int, str, str]]
NASTY = 'a folder\'s "name" with 100% $HOME \\ `id`; ü'
ODD = Order("reconcile-odd", ("/bin/echo", "run", NASTY, "", "-q"), ("reconcile", "run", NASTY), "/tmp")
TABLES = [Timetable(), read_weekly("sun 03:15"), read_every("15m"), read_every("6h")]
NAMESPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
FILE = '[jobs.photos]\nsource = "src"\ntarget = "./dest"\n[jobs.www]\nsource = "src"\ntarget = "./www"\n'


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Call]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_text("a")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def call(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(args)
        return (code, *capsys.readouterr())

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


# What they are given, as they read it


@pytest.mark.parametrize("table", TABLES)
def test_units_are_right(tmp_path: Path, table: Timetable) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    (tmp_path / "odd.service").write_text(texts.service(ODD))
    (tmp_path / "odd.timer").write_text(texts.timer(ODD, table))
    (tmp_path / "stays.service").write_text(texts.service(ODD, stays=True))
    command = ["systemd-analyze", "verify", "--user", *map(str, sorted(tmp_path.glob("*.*")))]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_LOG_LEVEL": "warning"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if "odd" in line or "stays" in line]
    assert (complaints, done.returncode) == ([], 0), done.stderr
    when = in_systemd(table)
    assert "Next elapse" in subprocess.check_output(["systemd-analyze", "calendar", when], text=True)


def unquote(line: str) -> list[str]:
    """A command line as systemd takes it apart, which does so much like a shell."""
    return shlex.split(line.replace("%%", "%").replace("$$", r"\$"), posix=True)


def test_a_unit_starts_what_was_meant() -> None:
    (line,) = [line for line in texts.service(ODD).splitlines() if line.startswith("ExecStart=")]
    assert unquote(line.removeprefix("ExecStart=").replace("`", r"\`"))[:2] == ["/bin/echo", "run"]
    assert texts.service(ODD).count("\n") == 9
    assert '"a folder\'s \\"name\\" with 100%% $$HOME \\\\ `id`; ü" ""' in line


@pytest.mark.parametrize("table", TABLES)
def test_the_line_for_cron_is_right(tmp_path: Path, table: Timetable) -> None:
    line = texts.crontab(ODD, table)
    (tmp_path / "crontab").write_text(line)
    if shutil.which("crontab") is not None:
        checks = [
            ["crontab", each, str(tmp_path / "crontab")] for each in ("-n", "-T")
        ]  # Debian's, and others'
        assert 0 in [subprocess.run(each, capture_output=True, check=False).returncode for each in checks]
    command = line.split(" ", 5)[5].replace("\\%", "%")  # as cron does before it calls the shell
    said = subprocess.check_output(["/bin/sh", "-c", command], text=True)
    assert said == f"run {NASTY}  -q\n"


def test_a_line_break_in_a_name_is_refused_to_cron() -> None:
    order = Order("odd", ("/bin/echo", "a\nb"), ())
    with pytest.raises(UsageError):
        texts.crontab(order, Timetable())


@pytest.mark.parametrize("table", TABLES)
def test_the_task_of_windows_is_right(table: Timetable) -> None:
    text = texts.task(ODD, table, "Debian")
    assert text.isascii()
    root = ET.fromstring(text)  # noqa: S314 - our own
    assert root.findtext(f".//{NAMESPACE}Command") == "wsl.exe"
    arguments = root.findtext(f".//{NAMESPACE}Arguments") or ""
    assert arguments.startswith("--distribution Debian --cd /tmp --exec /bin/echo run ")
    assert arguments == subprocess.list2cmdline(
        ["--distribution", "Debian", "--cd", "/tmp", "--exec", *ODD.words]
    )
    trigger = root.find(f".//{NAMESPACE}CalendarTrigger")
    assert trigger is not None
    names = [child.tag.removeprefix(NAMESPACE) for child in trigger]
    assert names[-3:-1] == ["StartBoundary", "RandomDelay"]  # the order that the schema demands
    assert names[-1] in {"ScheduleByDay", "ScheduleByWeek"}


@pytest.mark.parametrize("table", TABLES)
def test_the_workflows_are_right(table: Timetable) -> None:
    workflow: dict[Any, Any] = yaml.safe_load(texts.github(ODD, table))
    assert workflow[True]["schedule"] == [{"cron": in_cron(table)}]  # "on" is a word for true
    (job,) = workflow["jobs"].values()
    command = job["steps"][-1]["run"].splitlines()[-1]
    assert shlex.split(command)[:3] == ["reconcile", "run", NASTY]
    ((_, told),) = yaml.safe_load(texts.gitlab(ODD, table)).items()
    script = told["script"]
    assert shlex.split(script[-1])[:3] == ["reconcile", "run", NASTY]
    assert shlex.split(script[-1])[-2:] == ["--identity", "$DEPLOY_KEY"]


# What is typed


def start(command: str, folder: Path | str) -> None:
    """As cron would."""
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(["/bin/sh", "-c", command], check=True, cwd=folder, env=here, timeout=60)


def test_src_and_dest_with_their_flags(call: Call, tmp_path: Path) -> None:
    code, out, _ = call(
        "schedule", "src", "./dest", "--state", "st", "--daily", "4:05", "--mirror", "--for", "cron"
    )
    assert code == Exit.OK
    when, command = out[:9], out[9:]
    assert when == "5 4 * * *"
    ran = subprocess.run(
        ["/bin/sh", "-c", command],
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ran.returncode == 0
    assert (tmp_path / "dest" / "a").exists()
    assert f" run {tmp_path}/src ./dest --mirror --state {tmp_path}/st -q\n" in command


def test_what_is_typed_means_the_same_wherever_it_is_started(call: Call, tmp_path: Path) -> None:
    out = call("schedule", "--exclude", "src", "src", "./dest", "--for", "cron")[1]
    assert f" run {tmp_path}/src ./dest --exclude src -q\n" in out
    out = call("schedule", "--no-default-excludes", "--for=cron", "--", "src", "./dest")[1]
    assert f" run {tmp_path}/src ./dest --no-default-excludes -q\n" in out
    (tmp_path / "reconcile.toml").write_text(FILE)
    (tmp_path / "list").touch()
    out = call("schedule", "photos", "--exclude-from", "list", "--state", "remote", "--for", "cron")[1]
    assert f" run photos --exclude-from {tmp_path}/list --state remote -q --config " in out
    assert "run photos --exclude-from list" in call("schedule", "photos", "--exclude-from", "list")[1]
    (tmp_path / os.fsdecode(b"\xff")).mkdir()
    code, _, err = call("schedule", os.fsdecode(b"\xff"), "./dest")
    assert (code, "no UTF-8" in err) == (Exit.USAGE, True)


def name_of(*jobs: str) -> str:
    """What is made for jobs of the file here goes by this name."""
    known = "\0".join([f"{os.getcwd()}/reconcile.toml", *(each for each in jobs if each != "all")])
    return f"reconcile-{'-'.join(jobs)}-{crc32(known.encode()):08x}"


def test_jobs_of_the_file_from_any_folder(call: Call, tmp_path: Path) -> None:
    (tmp_path / "reconcile.toml").write_text(FILE)
    code, out, _ = call("schedule", "photos", "--for=cron")
    assert code == Exit.OK
    assert f" run photos -q --config {tmp_path}/reconcile.toml\n" in out
    ran = subprocess.run(
        ["/bin/sh", "-c", out[11:]],
        check=False,
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ran.returncode == 0
    assert (tmp_path / "dest" / "a").exists()
    assert f"# {name_of('all')}, every 15 min" in call("schedule", "--every", "15m")[1]
    assert " watch photos --config " in call("schedule", "photos", "--watch")[1]
    assert " --every 1h\n" in call("schedule", "photos", "--every=1h", "--watch")[1]
    assert call("schedule", "no-such")[0] == Exit.USAGE
    assert call("schedule", "photos", "--every", "1h", "--daily", "1:00")[0] == Exit.USAGE


# Handing over, to doubles that write down what they were told


def pretend(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


CRONTAB = """
case $1 in
-l) if [ -e "$HOME/crontab" ]; then cat "$HOME/crontab"; else echo "no crontab for me" >&2; exit 1; fi;;
-) cat > "$HOME/crontab";;
esac"""


def test_cron_gets_a_line_and_gives_it_back(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reconcile.toml").write_text(FILE)
    pretend(tmp_path / "bin", "crontab", CRONTAB)
    pretend(tmp_path / "bin", "systemctl", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    mine = "# mine\n0 0 * * * true\n"
    crontab = tmp_path / "home" / "crontab"
    crontab.write_text(mine.rstrip("\n"))  # its last line has no end
    assert call("schedule", "photos", "--install") == (
        Exit.OK,
        "reconcile: daily at 03:15, by your crontab\n",
        "",
    )
    assert call("schedule", "www", "--install", "--every", "1h")[0] == Exit.OK
    assert call("schedule", "photos", "--install", "--daily", "4:00")[0] == Exit.OK
    lines = crontab.read_text().splitlines()
    assert lines[:2] == mine.splitlines()
    assert [line for line in lines if line.startswith("# reconcile")] == [
        f"# reconcile schedule: {name_of('www')}",
        f"# reconcile schedule: {name_of('photos')}",
    ]
    assert [line[:9] for line in lines[3::2]] == ["0 * * * *", "0 4 * * *"]
    assert "tomorrow 04:00" in call("status")[1] or "today 04:00" in call("status")[1]
    code, out, _ = call("schedule", "photos", "--off")
    assert (code, out) == (Exit.OK, "reconcile: taken away: a line of your crontab\n")
    assert call("schedule", "www", "--off")[0] == Exit.OK
    assert crontab.read_text() == mine
    assert (
        call("schedule", "www", "--off")[1]
        == f"reconcile: nothing of {name_of('www')} was handed over here\n"
    )
    assert "04:00" not in call("status")[1]
    assert call("schedule", "www", "--install")[0] == Exit.OK
    mark = crontab.read_text().splitlines()[-2]
    crontab.write_text(f"{mark}\n{mine}")  # somebody has removed the line below the mark
    assert call("schedule", "www", "--off")[0] == Exit.OK
    assert crontab.read_text() == mine


def test_jobs_of_two_files_that_are_called_alike(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path / "bin", "crontab", CRONTAB)
    pretend(tmp_path / "bin", "systemctl", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    for site in ("one", "two"):
        (tmp_path / site).mkdir()
        (tmp_path / site / "reconcile.toml").write_text(FILE)
        assert call("schedule", "--config", f"{site}/reconcile.toml", "--install")[0] == Exit.OK
    crontab = tmp_path / "home" / "crontab"
    assert crontab.read_text().count(" run -q --config ") == 2
    assert call("schedule", "--config", "two/reconcile.toml", "--off")[0] == Exit.OK
    assert f"--config {tmp_path}/one/reconcile.toml" in crontab.read_text()
    own = tmp_path / "home/.config/reconcile.toml"
    own.parent.mkdir(exist_ok=True)
    own.write_text(FILE)
    assert "# reconcile-photos, " in call("schedule", "photos")[1]


def test_systemd_gets_units_and_gives_them_back(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reconcile.toml").write_text(FILE)
    pretend(tmp_path / "bin", "systemctl", f'echo "$@" >> {tmp_path}/told')
    pretend(tmp_path / "bin", "crontab", CRONTAB)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert call("schedule", "photos", "--install")[0] == Exit.OK
    units = tmp_path / "home/.config/systemd/user"
    assert sorted(path.name for path in units.iterdir()) == [
        f"{name_of('photos')}.service",
        f"{name_of('photos')}.timer",
    ]
    assert {path.stat().st_mode & 0o777 for path in units.iterdir()} == {0o600}
    told = (tmp_path / "told").read_text().splitlines()
    assert told[-2:] == ["--user daemon-reload", f"--user enable --now {name_of('photos')}.timer"]
    assert call("schedule", "photos", "--install", "--watch")[0] == Exit.OK
    code, out, _ = call("schedule", "photos", "--off")
    assert code == Exit.OK
    assert out.count("reconcile-photos") == 3
    assert list(units.iterdir()) == []
    assert any("disable --now" in line for line in (tmp_path / "told").read_text().splitlines())


def test_nobody_takes_it(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reconcile.toml").write_text(FILE)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = call("schedule", "photos", "--install")
    assert code == Exit.FATAL
    assert "neither a user manager of systemd nor a crontab" in err
    (tmp_path / "bin").mkdir()
    pretend(tmp_path / "bin", "systemctl", '[ "$2" = show-environment ]')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    code, _, err = call("schedule", "photos", "--install")
    assert code == Exit.FATAL
    assert "--off takes them away" in err


def test_a_schedule_that_is_damaged_is_none(tmp_path: Path) -> None:
    (tmp_path / "schedule").write_bytes(b"no")
    assert recall_schedule(str(tmp_path)) is None


def test_the_program_is_found_from_anywhere(call: Call) -> None:
    _, out, _ = call("schedule", "src", "./dest", "--for", "cron")
    program = shlex.split(out.split(" && ")[1])[0]
    assert os.path.isabs(program)
    assert program == sys.executable or os.path.basename(program) == "reconcile"
