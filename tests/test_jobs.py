"""Jobs by their names, as a command line asks for them: which, in what manner, and what comes of several."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconcile.cli import main
from reconcile.commands import find_command
from reconcile.core.errors import Exit
from reconcile.jobs.settings import TYPED_ONLY, settings_of
from reconcile.report.several import summarise_jobs, worst
from tests.support.monitor import Monitor, no_proxy
from tests.support.processes import wait_for

ROOT = Path(__file__).parents[1]
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with two jobs, where the command line is."""
    folder = tmp_path / "project"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name}.txt").write_text(name)
    _write(
        folder, '[jobs.one]\nsource = "a"\ntarget = "./to-a"\n[jobs.two]\nsource = "b"\ntarget = "./to-b"\n'
    )
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PWD", str(folder))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield folder
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    def call(*args: str) -> tuple[int, str, str]:
        code = main(args)
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return int(code), out, err

    return call


def _write(folder: Path, text: str) -> None:
    (folder / "reconcile.toml").write_text(text)
    (folder / "reconcile.toml").chmod(0o644)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".reconcile"}


def test_all_jobs_are_run_and_one_that_fails_stops_none(project: Path, cli: Cli) -> None:
    (project / "a").rename(project / "c")
    code, out, err = cli("run")
    assert code == Exit.REFUSED
    assert "── one ──\nreconcile: error: The source" in err
    assert "── two ──\nreconcile: 1 created" in out
    assert out.endswith("reconcile: 2 jobs: 1 done, 1 refused (one)\n")
    assert _names(project / "to-b") == {"b.txt"}
    (project / "c").rename(project / "a")
    assert cli("run", "-q") == (0, "", "")
    assert _names(project / "to-a") == {"a.txt"}


def test_quiet_says_whose_problem_it_is(project: Path, cli: Cli) -> None:
    (project / "a").rename(project / "c")
    code, out, err = cli("run", "-q")
    assert (code, out) == (Exit.REFUSED, "")
    assert err.startswith("── one ──\n")
    assert err.endswith("reconcile: 2 jobs: 1 done, 1 refused (one)\n")


def test_some_jobs_from_a_folder_below(project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "b")
    monkeypatch.setenv("PWD", str(project / "b"))
    code, out, err = cli("run", "two")
    assert (code, err) == (0, "")
    assert out.startswith("reconcile: 1 created")  # one alone needs no title
    assert not (project / "to-a").exists()
    (state,) = (project / "snapshots" / "two").iterdir()
    assert (state / "snapshot").exists()
    assert cli("verify", "two")[0] == 0
    assert cli("run", "two", "two")[1].startswith("reconcile: nothing to do, no connection made")


def test_a_plan_of_several_says_once_what_to_type(project: Path, cli: Cli) -> None:
    code, out, _ = cli("plan", "one", "two", "--mirror")
    assert code == 0
    assert out.count("to do it") == 1
    assert out.endswith("reconcile: 2 jobs: 2 planned\nreconcile: to do it: reconcile run one two --mirror\n")
    assert cli("plan", "--detailed-exitcode")[0] == Exit.CHANGES
    assert cli("run")[0] == 0
    assert "to do it" not in cli("plan")[1]


def test_one_document_of_several_jobs(project: Path, cli: Cli) -> None:
    (project / "b").rename(project / "c")
    code, out, err = cli("run", "--json")
    body: dict[str, Any] = json.loads(out)
    assert (code, err, out.count("\n")) == (Exit.REFUSED, "", 1)
    assert (body["exit_code"], body["status"]) == (code, "problems")
    assert [(each["job"], each["exit_code"]) for each in body["jobs"]] == [("one", 0), ("two", 4)]


def test_a_name_that_is_no_job(project: Path, cli: Cli) -> None:
    code, _, err = cli("run", "three")
    assert code == Exit.USAGE
    assert "there is no job 'three'" in err
    assert "one, two" in err
    code, _, err = cli("run", "a", "to-a")
    assert code == Exit.USAGE
    assert "written ./folder" in err
    assert json.loads(cli("run", "three", "--json")[1])["exit_code"] == Exit.USAGE


def test_nothing_is_begun_if_anything_in_the_file_is_wrong(project: Path, cli: Cli) -> None:
    _write(project, (project / "reconcile.toml").read_text() + "mirro = true\n")
    code, out, err = cli("run", "one")
    assert (code, out) == (Exit.USAGE, "")
    assert "reconcile.toml:7: mirro is no option; did you mean mirror?" in err
    assert not (project / "to-a").exists()
    assert cli("run", "a", "./to-a")[0] == 0  # SRC DEST asks no file


def test_what_is_said_nearer_weighs_more(
    project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("x.tmp", "x.o", "x.e", "x.f"):
        (project / "a" / name).write_text(name)
    _write(
        project,
        '[defaults]\nexclude = ["*.tmp"]\nquiet = true\n'
        '[jobs.one]\nsource = "a"\ntarget = "./to-a"\nexclude = ["*.o"]\nverbose = false\nmax_delete = "1"\n',
    )
    monkeypatch.setenv("RECONCILE_EXCLUDE", "*.e\n*.never")
    assert cli("run", "one", "--exclude", "*.f") == (0, "", "")
    assert _names(project / "to-a") == {"a.txt"}
    assert "nothing to do" in cli("run", "one", "--exclude", "*.f", "-v")[1]  # over what the file says
    monkeypatch.setenv("RECONCILE_MIRROR", "yes")
    (project / "a" / "y").write_text("")
    (project / "a" / "z").write_text("")
    assert cli("run", "one")[0] == 0
    for path in (project / "a").iterdir():
        path.unlink()
    assert cli("run", "one")[0] == Exit.REFUSED  # max_delete
    monkeypatch.setenv("RECONCILE_MAX_DELETE", "100%")
    (project / "a" / "y").write_text("")
    assert cli("run", "one")[0] == 0
    assert _names(project / "to-a") == {"y"}
    monkeypatch.setenv("RECONCILE_LINKS", "some")
    code, _, err = cli("run", "one")
    assert code == Exit.USAGE
    assert "RECONCILE_LINKS takes one of" in err


def test_a_profile_counts_less_than_all_that_is_said(
    project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "a" / ".git").mkdir()
    (project / "a" / "a.txt").chmod(0o600)
    here = ("--state", str(project / "state"))
    code, _, err = cli("run", "--ci", "a", "./to-a", *here)
    assert code == 0
    assert "left out: 1 .git" in err
    there = project / "to-a" / "a.txt"
    assert there.stat().st_mode & 0o777 == 0o644
    os.utime(project / "a" / "a.txt", (1, 1))
    out = cli("run", "--ci", "a", "./to-a", *here)[1]
    assert "nothing to do (1 entry unchanged)" in out  # connected, to look at the mark
    assert cli("run", "--ci", "a", "./to-a", *here, "--chmod", "F604", "--times", "keep")[0] == 0
    assert (there.stat().st_mode & 0o777, there.stat().st_mtime) == (0o604, 1)
    monkeypatch.setenv("RECONCILE_CI", "true")
    monkeypatch.setenv("RECONCILE_CHMOD", "F640")
    assert cli("run", "a", "./to-a", *here, "--no-default-excludes")[0] == 0
    assert there.stat().st_mode & 0o777 == 0o640
    assert _names(project / "to-a") == {"a.txt", ".git"}


def test_the_environment_counts_for_src_dest_too(
    project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILE_STATE", str(project / "kept"))
    monkeypatch.setenv("RECONCILE_QUIET", "1")
    monkeypatch.setenv("RECONCILE_LINKS", "")  # says nothing
    assert cli("run", "a", "./to-a") == (0, "", "")
    assert _names(project / "kept")
    monkeypatch.setenv("RECONCILE_START_OVER", "yes")  # as a standing order it would be a trap
    assert "nothing to do, no connection" in cli("run", "a", "./to-a", "-v")[1]


def test_what_is_ours_is_not_sent(project: Path, cli: Cli) -> None:
    _write(
        project, '[jobs.all]\nsource = "."\ntarget = "../out"\n[jobs.more]\nsource="a"\ntarget="../more"\n'
    )
    assert cli("run")[0] == 0
    assert cli("run")[0] == 0
    assert _names(project.parent / "out") == {"a", "b"}


def test_a_job_goes_on_where_its_source_moves(project: Path, cli: Cli) -> None:
    assert cli("run", "one")[0] == 0
    (project / "a").rename(project / "moved")
    text = (project / "reconcile.toml").read_text()
    _write(project, text.replace('source = "a"', 'source = "moved"'))
    assert "nothing to do" in cli("run", "one")[1]


def test_a_config_elsewhere(project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    assert "there is no reconcile.toml" in cli("run", "one", "two")[2]
    assert cli("run", "one", "--config", "project/reconcile.toml")[0] == 0
    monkeypatch.setenv("RECONCILE_CONFIG", str(project / "reconcile.toml"))
    assert cli("run")[0] == 0
    code, _, err = cli("run", "a", "./to-a", "--config", "project/reconcile.toml")
    assert code == Exit.USAGE
    assert "--config names a file of jobs" in err


def test_a_signal_ends_all_of_them(project: Path) -> None:
    _write(project, (project / "reconcile.toml").read_text().replace('"./to-a"', '"127.0.0.1:/x"'))
    command = [
        sys.executable,
        "-m",
        "reconcile",
        "run",
        "--json",
        "--transport",
        "ssh",
        "--ssh-config",
        "none",
    ]
    command += ["--ssh-command", f"sh -c 'touch {project}/called; exec sleep 60'"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        wait_for((project / "called").exists, "the client", 60)
        process.terminate()
        out, _ = process.communicate(timeout=60)
    assert process.returncode == Exit.TERMINATED
    body = json.loads(out)
    assert [(each["job"], each["exit_code"]) for each in body["jobs"]] == [("one", 143)]
    assert body["not_begun"] == ["two"]
    assert not (project / "to-b").exists()


def test_the_exit_code_of_several() -> None:
    order = (129, 1, 2, 6, 4, 5, 3, 10, 0)
    for place in range(len(order)):
        assert worst(reversed(order[place:])) == order[place]
    assert worst([130, 1]) == 130
    assert worst([143, 1]) == 143
    assert worst([]) == 0


def test_the_summary_of_several() -> None:
    ended = {"a": 0, "b": 3, "c": 6, "d": 143}
    said = "5 jobs: 1 done, 1 unreachable (c), 1 with problems (b), 1 terminated (d), 1 not begun (e)"
    assert summarise_jobs("run", "abcde", ended) == said


def test_every_option_of_run_is_a_setting_or_typed() -> None:
    command = find_command("run")
    keys = settings_of(command)
    assert {"mirror", "max_delete", "exclude", "state", "identity", "as_json"} - keys.keys() == {"as_json"}
    typed = {str(option.name) for option in command.params} - {"names"}
    assert typed - {option.name for option in keys.values()} <= TYPED_ONLY | {"as_json"}


# What is in force, and who says so


def test_config_show_tells_who_says_what(project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILE_LINKS", "skip")
    monkeypatch.setenv("API_TOKEN", "hunter2")
    _write(
        project,
        '[defaults]\nexclude = ["*.tmp"]\n\n[jobs.one]\nsource = "a"\ntarget = "host:x"\nretries = 7\n'
        'remote_workdir = "/x-${API_TOKEN}"\npassword_command = "echo hunter2"\n'
        '[jobs.two]\ninherit = "one"\ntarget = "host:to"\n',
    )
    code, out, err = cli("config", "show", "two", "--exclude", "*.o", "--retries", "3")
    assert (code, err) == (0, "")
    rows = {line.partition("=")[0].strip(): line.partition("=")[2] for line in out.splitlines()[2:]}
    said = {key: " ".join(row.split()) for key, row in rows.items()}
    assert out.splitlines()[:2] == [f"# {project}/reconcile.toml", "[jobs.two]"]
    assert said["source"] == f'"{project}/a" # [jobs.one], line 5'
    assert said["target"] == '"host:to" # [jobs.two], line 12'
    assert said["exclude"] == '["*.tmp", "*.o"] # [defaults], line 2; --exclude'
    assert said["retries"] == "3 # --retries"
    assert said["links"] == '"skip" # RECONCILE_LINKS'
    assert said["fsync"] == '"auto" # built in'
    assert said["state"] == f'"{project}/snapshots/two" # built in'
    assert said["remote_workdir"] == '"***" # [jobs.one], line 8'
    assert said["password_command"] == '"echo ***" # [jobs.one], line 9'
    document = json.loads(cli("config", "show", "--json")[1])
    assert [each["job"] for each in document["jobs"]] == ["one", "two"]
    assert {"key": "retries", "value": 7, "from": ["[jobs.one], line 7"]} in document["jobs"][0]["settings"]
    assert "hunter2" not in out + json.dumps(document)
    assert "hunter2" not in cli("config", "show")[1]


def test_config_show_of_src_dest(project: Path, cli: Cli) -> None:
    code, out, _ = cli("config", "show", "a", "./b", "--mirror")
    assert code == 0
    assert re.search(r"mirror += true +# --mirror", out)
    assert cli("config")[0] == Exit.USAGE


# A job is written


def test_init_writes_what_was_typed_and_it_runs(project: Path, cli: Cli) -> None:
    (project / "reconcile.toml").unlink()
    (project / ".gitignore").write_text("/out")
    (project / "list").write_text("*.tmp\n")
    (project / "a" / "x.tmp").write_text("")
    typed = ("--mirror", "--exclude", "${x}", "--exclude-from", "list", "--retries", "0", "--keep", "30d")
    code, out, err = cli("init", "a", "./out", *typed)
    assert (code, err) == (0, "")
    assert out == (
        f"reconcile: wrote [jobs.a] to {project}/reconcile.toml\n"
        f"reconcile: added snapshots/ to {project}/.gitignore\n"
        "reconcile: next: reconcile plan a\n"
    )
    text = (project / "reconcile.toml").read_text()
    assert (
        '[jobs.a]\nsource = "a"\ntarget = "./out"\ntrash = "30d"\nmirror = true\nexclude = ["$${x}"]\n'
        in text
    )
    assert '\nexclude_from = ["./list"]\n' in text
    assert (project / ".gitignore").read_text() == "/out\nsnapshots/\n"
    assert cli("run")[0] == 0
    assert _names(project / "out") == {"a.txt"}
    before = text.replace("retries = 0", "retries = 0 # mine")
    _write(project, before)
    assert cli("init", "b", "me@host:b", "--name", "other")[0] == 0
    assert cli("init", "third", "b", "me@host:c")[0] == 0
    assert '[jobs.third]\nsource = "b"\ntarget = "me@host:c"\n' in (project / "reconcile.toml").read_text()
    assert (project / "reconcile.toml").read_text().startswith(before)
    assert 'source = "b"\ntarget = "me@host:b"\n' in (project / "reconcile.toml").read_text()
    assert (project / ".gitignore").read_text() == "/out\nsnapshots/\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["a"], "Missing argument 'DEST'"),
        ([], "Missing argument 'SRC'"),
        (["a", "dest"], "none of the forms"),
        (["a", "me:pw@host:x"], "DEST holds a password"),
        (["a", "./out", "--name", "one"], "there is a job 'one'"),
        (["a", "./out", "--name", "../x"], "--name takes a name"),
        (["a", "./out", "more", "./x"], "unexpected extra argument"),
        (["a\udcff", "./out", "--name", "x"], "is no UTF-8"),
    ],
)
def test_init_leaves_all_as_it_was_where_it_refuses(
    project: Path, cli: Cli, args: list[str], words: str
) -> None:
    before = (project / "reconcile.toml").read_text()
    code, _, err = cli("init", *args)
    assert code == Exit.USAGE
    assert words in err
    assert (project / "reconcile.toml").read_text() == before
    assert {path.name for path in project.iterdir()} == {"a", "b", "reconcile.toml"}


def test_init_asks_on_a_terminal_and_shows_the_first_plan(project: Path) -> None:
    (project / "reconcile.toml").unlink()
    said = in_terminal(project, ["init"], b"a\n./out\ny\nphotos\n")
    assert b"wrote [jobs.photos]" in said
    assert b"a.txt" in said
    assert b"reconcile run photos" in said
    text = (project / "reconcile.toml").read_text()
    assert '[jobs.photos]\nsource = "a"\ntarget = "./out"\ntrash = "30d"\nmirror = true\n' in text
    assert not (project / "out").exists()


def in_terminal(folder: Path, args: list[str], typed: bytes) -> bytes:
    """What the command line shows to somebody who types."""
    keyboard, screen = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PWD": str(folder), "TERM": "xterm"}
    command = [sys.executable, "-m", "reconcile", *args]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=screen, stdout=screen, stderr=screen
    ) as process:
        os.close(screen)
        os.write(keyboard, typed)
        said = b""
        try:
            while some := os.read(keyboard, 65536):
                said += some
        except OSError:
            pass  # the other end was closed
    os.close(keyboard)
    assert process.returncode == 0, said
    return said


def test_what_was_sent_without_a_file_is_known_to_the_job(project: Path, cli: Cli, home: Path) -> None:
    assert cli("run", "a", "./to-a")[0] == 0
    code, out, _ = cli("run", "one")
    assert code == 0
    assert "nothing to do" in out
    (state,) = (project / "snapshots" / "one").iterdir()
    assert (state / "snapshot").exists()
    assert "nothing to do, no connection made" in cli("run", "one")[1]


# What fails in one job


def test_what_is_said_for_all_is_left_out_where_it_means_nothing(
    project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(
        project,
        '[defaults]\nport = 22\n[jobs.nas]\nsource = "a"\ntarget = "host:x"\nidentity = "key"\n'
        '[jobs.usb]\ninherit = "nas"\ntarget = "./usb"\n',
    )
    monkeypatch.setenv("RECONCILE_COMPRESS", "1")
    assert cli("run", "usb")[0] == 0
    out = cli("config", "show", "nas", "usb")[1].partition("[jobs.usb]")
    assert ("identity" in out[0], "compress" in out[0]) == (True, True)
    assert not {"identity", "port", "compress"} & set(out[2].split())
    code, _, err = cli("run", "usb", "--identity", "key")
    assert code == Exit.USAGE
    assert "--identity means nothing" in err
    _write(project, (project / "reconcile.toml").read_text() + 'identity = "key"\n')
    assert cli("run", "usb")[0] == Exit.USAGE


def test_a_file_that_is_wrong_is_told_to_the_monitors_it_names(project: Path, cli: Cli) -> None:
    text = (
        '[defaults]\nping = "URL/all"\n[jobs.one]\nsource = "a"\ntarget = "./x"\nmiror = 1\n'
        '[jobs.two]\ninherit = "three"\n[jobs.three]\nping = "URL/three"\nsource = 7\n'
    )
    with no_proxy(), Monitor() as monitor:
        _write(project, text.replace("URL", monitor.url))
        assert cli("run")[0] == Exit.USAGE
        assert sorted(monitor.paths) == ["/all/2", "/three/2"]
        assert "miror is no option; did you mean mirror?" in monitor.heard[0][1]
        assert cli("run", "two")[0] == Exit.USAGE
        assert monitor.paths[2:] == ["/three/2"]
        assert cli("plan")[0] == Exit.USAGE
        assert cli("run", "a", "x", "./y")[0] == Exit.USAGE  # no job of it was meant, but it is the file here
        (project / "reconcile.toml").chmod(0o666)
        heard = len(monitor.paths)
        assert cli("run")[0] == Exit.REFUSED
        assert len(monitor.paths) == heard  # it may be somebody else's


# The list


def test_the_jobs_of_the_file_and_those_without_one(project: Path, cli: Cli, home: Path) -> None:
    assert cli("run", "one")[0] == 0
    assert cli("run", "b", "./elsewhere")[0] == 0
    _write(project, (project / "reconcile.toml").read_text() + '[jobs.odd]\nsource = "a"\ntarget = "odd"\n')
    code, out, err = cli("jobs")
    assert (code, err) == (0, "")
    rows = [re.split(r" {2,}", line) for line in out.splitlines()]
    assert rows[0] == ["JOB", "SOURCE", "TARGET", "SIZE", "LAST RUN"]
    assert rows[1][0] == "one"
    assert rows[1][2:4] == [str(project / "to-a"), "1 entry, 1 B"]
    assert rows[1][4].startswith("today ")
    assert rows[2] == ["two", str(project / "b"), str(project / "to-b"), "-", "never"]
    assert rows[3][0] == "odd"
    assert rows[3][4].startswith("DEST has none of the forms")
    assert rows[4][:4] == ["-", str(project / "b"), str(project / "elsewhere"), "1 entry, 1 B"]
    listed = json.loads(cli("jobs", "--json")[1])["jobs"]
    assert [each["job"] for each in listed] == ["one", "two", "odd", None]
    assert (listed[0]["entries"], listed[0]["bytes"], listed[0]["last_run"]["exit_code"]) == (1, 1, 0)
    (project / "reconcile.toml").unlink()
    assert [each["job"] for each in json.loads(cli("jobs", "--json")[1])["jobs"]] == [None]


def test_a_damaged_state_hides_no_job(project: Path, cli: Cli) -> None:
    assert cli("run", "one")[0] == 0
    (state,) = (project / "snapshots" / "one").iterdir()
    (state / "snapshot").write_bytes(b"what is this")
    code, out, _ = cli("jobs")
    assert code == 0
    assert re.search(r"^one .* - +today ", out, re.MULTILINE)


def test_doctor_takes_the_name_of_a_job(project: Path, cli: Cli) -> None:
    _write(project, '[jobs.far]\nsource = "a"\ntarget = "sftp://me@127.0.0.1:1/x"\nssh_config = "none"\n')
    code, _, err = cli("doctor", "far")
    assert code == Exit.UNREACHABLE
    assert "127.0.0.1, port 1" in err
    assert "none of the forms" in cli("doctor", "near")[2]


def test_a_job_that_keeps_its_state_at_dest_takes_along_what_is_known_here(project: Path, cli: Cli) -> None:
    """What was sent by hand is known, and is still, when it is sent by hand again."""
    assert cli("run", "a", "./to-a")[0] == Exit.OK
    _write(project, '[jobs.one]\nsource = "a"\ntarget = "./to-a"\nstate = "remote"\n')
    code, out, err = cli("run", "one")
    assert (code, "from now on its state is at DEST" in err) == (Exit.OK, True)
    assert "0 created" not in out
    code, out, err = cli("run", "a", "./to-a")
    assert (code, err) == (Exit.OK, "")
    assert "no connection made" in out
