"""The command line as a shell, a cron job and a script see it: output, JSON and exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest

from reconcile import __version__
from reconcile.cli import main
from reconcile.commands import NAMES, find_command
from reconcile.demo import compare
from reconcile.report.words import PATIENCE, show_name
from reconcile.serve.server import Server
from reconcile.state.lock import hold_lock
from tests.support.doors import dropping_first
from tests.support.processes import wait_for
from tests.support.proxy import Proxy
from tests.support.trees import Tree

PASSWORD = "correct horse"
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Place:
    """SRC, DEST and what is needed to get there."""

    source: Path
    served: Path
    port: int
    options: tuple[str, ...]

    @property
    def args(self) -> tuple[str, ...]:
        return (str(self.source), f"sftp://me@127.0.0.1:{self.port}/dest", *self.options)

    def start(self, *args: str, **more: Any) -> subprocess.Popen[bytes]:
        """The command line in a process of its own."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **more.pop("env", {})}
        pipes: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        pipes |= more
        command = [sys.executable, "-m", "reconcile", *args]
        process: subprocess.Popen[bytes] = subprocess.Popen(command, env=environment, text=False, **pipes)
        return process

    def call(self, *args: str, **more: Any) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of it."""
        with self.start(*args, **more) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out.decode(), err.decode()


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The command line takes some over, which a process of its own may do."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "served").mkdir()
    with Server(tmp_path / "served", user="me", password=PASSWORD) as server:
        yield server


@pytest.fixture
def place(tmp_path: Path, source: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Place:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{server.port} {' '.join(server.host_key)}\n")
    monkeypatch.setenv("SITE_PASSWORD", PASSWORD)
    options = ("--state", str(tmp_path / "state"), "--known-hosts", str(known_hosts))
    return Place(source, Path(server.root), server.port, (*options, "--password-env", "SITE_PASSWORD"))


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, stdout and stderr of a command line, in this process."""

    def call(*args: str) -> tuple[int, str, str]:
        code = main(args)
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return int(code), out, err

    return call


@pytest.fixture
def cli_json(cli: Callable[..., tuple[int, str, str]]) -> Callable[..., dict[str, Any]]:
    """The one document that ``--json`` prints; it tells the exit code, and nothing else is printed."""

    def call(*args: str) -> dict[str, Any]:
        code, out, err = cli(*args, "--json")
        assert out.count("\n") == 1
        assert err == ""
        body: dict[str, Any] = json.loads(out)
        assert body["exit_code"] == code
        return body

    return call


Cli = Callable[..., tuple[int, str, str]]
CliJson = Callable[..., dict[str, Any]]
Build = Callable[[Tree], Path]

# Help


def test_version(cli: Cli) -> None:
    assert cli("--version") == (0, f"reconcile {__version__}\n", "")


@pytest.mark.parametrize("command", NAMES)
def test_every_option_has_help(cli: Cli, command: str) -> None:
    code, out, _ = cli(command, "--help")
    assert code == 0
    lines = out.splitlines()
    for line, below in pairwise(lines):
        if re.match(r"  -", line):
            assert re.search(r"\S  +\S", line.strip()) or re.match(r" {20,}\S", below), line


def test_alone_it_says_what_it_is_and_what_to_type_next(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    code, out, err = cli()
    assert (code, err) == (2, "")
    assert out.index("\n\n") == out.index("\n\n  reconcile plan SRC DEST  ")
    assert out[: out.index("\n\n")].count("\n") == 2
    (tmp_path / "reconcile.toml").write_text('[jobs.one]\nsource = "a"\ntarget = "./b"\n')
    (tmp_path / "reconcile.toml").chmod(0o644)
    assert "what would be done for one of " in cli()[1]
    (tmp_path / "reconcile.toml").write_text("[jobs.one]\n")
    assert "reconcile.toml:1: [jobs.one] has no source and target" in cli()[1]


def test_the_help_has_all_commands(cli: Cli) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    assert "reconcile plan SRC DEST" in out
    assert all(f"\n  {command} " in out for command in NAMES)


@pytest.mark.parametrize("command", [name for name in NAMES if name != "demo"])
def test_every_help_has_three_examples(cli: Cli, command: str) -> None:
    """On top, and as wide as a screen."""
    text = cli(command, "--help")[1].partition("Options:")[0]
    examples = re.findall(rf"^    (?:\S.*)?reconcile {command}\b.*$", text, re.MULTILINE)
    assert len(examples) == 3
    assert all(len(example) <= 80 for example in examples)
    if not isinstance(find_command(command), click.Group):  # whose examples are of the commands in it
        known = {name for option in find_command(command).params for name in option.opts}
        typed = [example.strip().partition("   ")[0] for example in examples]
        assert set(re.findall(r"--[a-z][a-z-]*", " ".join(typed))) <= known


def test_the_options_of_a_job_are_told_in_groups(cli: Cli) -> None:
    titles = ("What is sent", "Deleting", "The server", "Caution", "Output")
    for command in ("run", "plan", "verify", "init"):
        out = cli(command, "--help")[1]
        assert sorted(titles, key=lambda title: out.index(f"\n{title}:\n")) == list(titles)
        for parameter in find_command(command).params:
            if isinstance(parameter, click.Option):
                assert out.count(f"{parameter.opts[-1]}") >= 1
        for option, title in (("--mirror", 1), ("--exclude", 0), ("--identity", 2), ("--refresh", 3)):
            place = out.index(f"\n  {option} ")
            assert out.index(f"\n{titles[title]}:\n") < place < out.index(f"\n{titles[title + 1]}:\n")


# Completion

_ASK = {  # what a shell runs to complete the line
    "bash": 'eval "$(reconcile completion bash)"; COMP_WORDS=(LINE); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); '
    "_reconcile_completion reconcile; printf '%s\\n' \"${COMPREPLY[@]}\"",
    "zsh": 'autoload -U compinit; compinit -u -D; eval "$(reconcile completion zsh)"; words=(LINE); '
    "CURRENT=${#words}; compadd() { print -rl -- $completions }; "
    "_describe() { print -rl -- ${completions_with_descriptions%%:*} }; _reconcile_completion",
    "fish": "reconcile completion fish | source; complete -C 'LINE' | cut -f1",
}


@pytest.mark.parametrize("shell", _ASK)
def test_a_shell_completes_commands_options_and_jobs(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    (tmp_path / "reconcile.toml").write_text(
        '[jobs.photos]\nsource = "a"\ntarget = "./b"\n[jobs.phone]\nsource = "a"\ntarget = "./c"\n'
    )
    (tmp_path / "reconcile.toml").chmod(0o644)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= {"PWD": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def complete(line: str) -> set[str]:
        done = subprocess.run(
            [shell, "-c", _ASK[shell].replace("LINE", line)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return set(done.stdout.split())

    assert complete("reconcile ver") == {"verify"}
    assert complete("reconcile run pho") == {"photos", "phone"}
    assert complete("reconcile plan --mirror --max-del") == {"--max-delete"}


# Wrong usage


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run"], "Missing argument 'SRC'"),
        (["run", "src"], "Missing argument 'DEST'"),
        (["run", "src", "host:dest", "more"], "unexpected extra argument"),
        (["run", "--nonsense"], "No such option"),
        (["nonsense"], "No such command"),
        (["plan", "src", "host:dest", "--links", "some"], "'some' is not one of"),
        (["plan", "src", "host:dest", "--port", "ssh"], "not a valid integer"),
        (["plan", "src", "host:dest", "--port", "0"], "1 to 65535"),
        (["plan", "src", "host:dest", "--on-drift", "ask"], "'ask' is not one of"),
        (["plan", "src", "host:dest", "--fsync", "maybe"], "'maybe' is not one of"),
        (["plan", "src", "host:dest", "--retries", "1.5"], "not a valid integer"),
        (["plan", "src", "host:dest", "--timeout", "soon"], "not a valid float"),
        (["plan", "src", "host:dest", "--wait", "nan"], "--wait takes a number of seconds"),
        (["plan", "src", "host:dest", "-q", "-v"], "exclude each other"),
        (["run", "src", "host:dest", "--max-delete", "half"], "--max-delete"),
        (["run", "src", "dest"], "none of the forms"),
        (["run", "src", "sftp://me:hunter2@host/dest"], "password"),
        (["run", "src", "host:dest", "me:hunter2@host:dest"], "unexpected extra argument"),
        (["run", "me:hunter2@host:dest", "src"], "none of the forms"),
        (["serve", "/does/not/exist"], "not a directory"),
        (["serve", ".", "--port", "70000"], "--port"),
    ],
)
def test_wrong_usage(cli: Cli, cli_json: CliJson, args: list[str], words: str) -> None:
    code, out, err = cli(*args)
    assert code == 2
    assert out == ""
    assert err.startswith("reconcile: error: ")
    assert words in err
    assert "hunter2" not in err
    assert "Traceback" not in err
    if args[0] == "serve":
        return
    body = cli_json(*args)
    assert (body["status"], body["exit_code"]) == ("error", 2)
    assert words in body["message"]
    assert "hunter2" not in json.dumps(body)


def test_a_document_whatever_is_wrong_before_the_command(cli_json: CliJson) -> None:
    for args in ([], ["--json", "run"], ["--bogus"]):
        assert cli_json(*args)["status"] == "error"


# A job from its first run to the last


def test_a_job(place: Place, server: Server, tree: Build, cli: Cli, cli_json: CliJson) -> None:
    tree({"a": "one", "d": {"b": "two", "x [x]\n": "odd", "\udcff": "bytes"}, "empty": {}})
    code, out, err = cli("plan", *place.args)
    assert (code, err) == (0, "")
    assert "  + d/\n" in out
    assert r"  + d/x [x]\n  3 B" in out
    *_, summary, next_step = out.splitlines()
    assert summary.startswith(
        "reconcile: plan: 6 to create, 0 to change, 0 to move, 0 to delete; 14 B to send"
    )
    assert next_step == f"reconcile: to do it: reconcile run {shlex.join(place.args)}"
    assert cli("plan", *place.args, "--detailed-exitcode")[0] == 10
    assert cli("run", "-n", *place.args)[1] == out
    assert not (place.served / "dest").exists()

    code, out, err = cli("run", *place.args)
    assert (code, err) == (0, "")
    assert out.startswith("reconcile: 6 created, 14 B sent in ")
    assert out.count("\n") == 1
    assert list(compare(place.source, place.served / "dest")) == []

    (place.source / "d").rename(place.source / "e")
    (place.source / "a").unlink()
    planned = cli_json("plan", *place.args, "--mirror")
    done = cli_json("run", *place.args, "--mirror")
    assert planned["counts"] == done["counts"] | {"move": 1, "delete": 1}
    assert done["entries"]["move"] == 4
    assert done["connected"] is True
    assert done["requests"] > 0
    assert list(compare(place.source, place.served / "dest")) == []

    server.close()
    assert cli("plan", *place.args, "--detailed-exitcode")[0] == 0
    body = cli_json("run", *place.args)
    assert (body["status"], body["exit_code"], body["connected"]) == ("ok", 0, False)
    code, out, err = cli("run", *place.args)
    assert (code, err) == (0, "")
    assert out.startswith("reconcile: nothing to do, no connection made")
    assert cli("run", *place.args, "-q") == (0, "", "")


def test_a_run_with_nothing_to_do_is_light(place: Place, tree: Build, cli: Cli) -> None:
    tree({"a": "one"})
    assert cli("run", *place.args)[0] == 0
    watched = (
        "paramiko",
        "cryptography",
        "rich",
        "botocore",
        "hashlib",
        "random",
        "socket",
        "asyncio",
        "tempfile",
    )
    script = (
        "import sys; from reconcile.cli import main; code = main(sys.argv[1:]);"
        f"print(code, [name for name in {watched!r} if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, "run", "-q", *place.args]
    assert subprocess.check_output(command, cwd=ROOT, text=True) == "0 []\n"


def test_some_paths_have_problems(place: Place, tree: Build, cli: Cli, cli_json: CliJson) -> None:
    tree({"a": "one", ".reconcile-mine": "reserved"})
    body = cli_json("run", *place.args)
    assert (body["status"], body["exit_code"], body["counts"]["create"]) == ("problems", 3, 1)
    assert [problem["path"] for problem in body["problems"]] == [".reconcile-mine"]
    code, out, err = cli("run", *place.args)
    assert code == 3
    assert out.count("\n") == 1
    assert ".reconcile-mine" in err
    code, out, err = cli("run", *place.args, "-q")
    assert (code, out) == (3, "")
    assert ".reconcile-mine" in err
    assert cli("plan", *place.args, "--detailed-exitcode")[0] == 3


@pytest.mark.parametrize("command", ["plan", "run"])
def test_refusals(place: Place, tree: Build, cli: Cli, cli_json: CliJson, command: str) -> None:
    (place.served / "dest").mkdir()
    (place.served / "dest" / "theirs").write_text("not ours")
    tree({"a": "one"})
    code, out, err = cli(command, *place.args)
    assert (code, out) == (4, "")
    assert "--adopt-existing" in err
    assert cli_json(command, *place.args)["status"] == "refused"
    body = cli_json(command, str(place.source / "absent"), *place.args[1:])
    assert (body["status"], body["exit_code"]) == ("refused", 4)
    assert body["source"] == str(place.source / "absent")
    assert sorted(os.listdir(place.served / "dest")) == ["theirs"]


def test_another_run_is_at_work(place: Place, tree: Build, cli: Cli, cli_json: CliJson) -> None:
    tree({"a": "one"})
    assert cli("run", *place.args)[0] == 0
    (folder,) = (place.source.parent / "state").iterdir()
    tree({"b": "two"})
    with hold_lock(str(folder)):
        code, out, err = cli("run", *place.args)
        assert (code, out) == (5, "")
        assert f"process {os.getpid()} on " in err
        assert "--wait" in err
        body = cli_json("run", *place.args, "--wait", "0.1")
        assert (body["status"], body["exit_code"], body["connected"]) == ("locked", 5, False)
        assert cli("plan", *place.args)[0] == 0  # it changes nothing, and takes no lock
    assert cli("run", *place.args)[1].startswith("reconcile: 1 created")


def test_nobody_answers(place: Place, server: Server, tree: Build, cli: Cli, cli_json: CliJson) -> None:
    tree({"a": "one"})
    server.close()
    body = cli_json("run", *place.args, "--retries", "0")
    assert (body["status"], body["exit_code"], body["connected"]) == ("unreachable", 6, False)
    code, out, err = cli("plan", *place.args, "--retries", "1")
    assert (code, out) == (6, "")
    told, error = err.splitlines()
    assert "not connected" in told
    assert "attempt 1 of 1" in told
    assert error.startswith("reconcile: error: ")


def test_a_host_that_drops_the_first_call_is_called_again(place: Place, tree: Build, cli: Cli) -> None:
    tree({"a": "one"})
    with dropping_first(place.port) as port:
        target = f"sftp://me@127.0.0.1:{port}/dest"
        code, out, err = cli("run", place.args[0], target, *place.args[2:], "--accept-new-host-key")
    assert (code, "1 created" in out) == (0, True), err
    assert f"not connected (127.0.0.1, port {port}, took the call but closed the connection" in err
    assert "attempt 1 of 5" in err


def test_a_user_without_a_home_is_asked_for_a_place_for_the_state(
    place: Place, tree: Build, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tree({"a": "one"})
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir(tmp_path))
    at = place.args.index("--state")
    code, _, err = cli("plan", *place.args[:at], *place.args[at + 2 :])
    assert code == 2
    assert "--state" in err
    code, _, err = cli("plan", *place.args[:2], "--state", "~/state")
    assert (code, "--state" in err) == (2, True)
    assert cli("run", *place.args)[0] == 0
    at = place.args.index("--known-hosts")
    code, _, err = cli("run", *place.args[:at], *place.args[at + 2 :], "--refresh")
    assert code == 6
    assert "name a file for it with --known-hosts" in err
    assert set(os.listdir(tmp_path)) - set(before) <= {"state"}


def test_a_port_in_the_path_is_told_until_there_is_a_state(place: Place, tree: Build, cli: Cli) -> None:
    tree({"a": "one"})
    _, _, err = cli("plan", place.args[0], "127.0.0.1:2222/x", *place.args[2:], "--retries", "0")
    assert "If 2222 is the port, write sftp://127.0.0.1:2222/x" in err


def test_a_typed_password_is_good_for_the_whole_run(
    place: Place, tree: Build, make_proxy: Callable[..., Proxy]
) -> None:
    """The line breaks when the user has gone away."""
    tree({f"{number:03}": os.urandom(3000) for number in range(300)})
    proxy = make_proxy(place.port, 0.02)
    target = f"sftp://me@127.0.0.1:{proxy.port}/dest"
    terminal, side = pty.openpty()
    said = b""
    with place.start(
        *("run", place.args[0], target, "--accept-new-host-key", *place.args[2:-2]),
        stdin=side,
        stderr=side,
        start_new_session=True,
    ) as process:
        while b"Password of" not in said:
            said += os.read(terminal, 1000)
        os.write(terminal, f"{PASSWORD}\n".encode())
        wait_for(lambda: proxy.counts().up > 100_000, "some files")
        proxy.cut()
        out, _ = process.communicate(timeout=60)
        os.set_blocking(terminal, False)
        said += os.read(terminal, 100_000)
    os.close(terminal)
    os.close(side)
    assert process.returncode == 0, said
    assert b"the connection was lost" in said
    assert said.count(b"Password of") == 1
    assert b"300 created" in out


# What comes from outside


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_unwind(place: Place, tree: Build, number: signal.Signals, code: int) -> None:
    tree({"a": "one"})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        port = str(silent.getsockname()[1])
        with place.start("run", *place.args, "--port", port, "--json") as process:
            connection, _ = silent.accept()  # from here on it waits for a banner
            with connection:
                process.send_signal(number)
                out, err = process.communicate(timeout=30)
    body = json.loads(out)
    assert (process.returncode, err) == (code, b"")
    assert (body["status"], body["exit_code"]) == ("interrupted", code)
    assert body["message"].endswith("; nothing was done")


BUSY = """
import signal, sys
from reconcile.process import Session, heed_signals
from reconcile.report import make_reporter

session = Session()
heed_signals(session)
session.reporter = make_reporter("run", as_json="--json" in sys.argv)
session.reporter.about("/src", "sftp://host/dest")
session.reporter.phase("apply")
session.stop.graceful = True
signal.raise_signal(signal.SIGHUP)
print("asked to stop by", session.stop.requested, file=sys.stderr, flush=True)
signal.raise_signal(signal.SIGTERM)
print("never")
"""


@pytest.mark.parametrize("as_json", [False, True])
def test_the_first_signal_asks_and_the_second_ends(as_json: bool) -> None:
    """A run that is in the middle of writing to the server, reduced to what a signal meets there."""
    command = [sys.executable, "-c", BUSY, *(["--json"] if as_json else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 143
    *patience, asked, farewell = done.stderr.splitlines() if not as_json else [*done.stderr.splitlines(), ""]
    assert patience == ([] if as_json else [f"reconcile: note: {PATIENCE}"])
    assert asked == f"asked to stop by {signal.SIGHUP.value}"
    words = "terminated at once; the next run finds out what became of what was under way, and goes on"
    if as_json:
        body = json.loads(done.stdout)
        assert (body["status"], body["exit_code"], body["message"]) == ("interrupted", 143, words)
    else:
        assert (farewell, done.stdout) == (f"reconcile: error: {words}", "")


def test_what_a_ci_sends_to_cancel_a_job_aborts_no_save() -> None:
    """An interrupt, and 7.5 s later terminate. Both are what asks; more of either ends it."""
    script = BUSY.replace("SIGHUP", "SIGINT").replace('print("never")', "signal.raise_signal(signal.SIGTERM)")
    script = script.replace(
        "signal.raise_signal(signal.SIGTERM)", "signal.raise_signal(signal.SIGTERM)\nprint('saved')", 1
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "saved\n"
    assert done.returncode == 143
    assert done.stderr.count(PATIENCE) == 1
    assert f"asked to stop by {signal.SIGINT.value}" in done.stderr


def test_nor_does_it_what_is_left_to_do_after_the_save() -> None:
    """As to let go of the lock: else nobody has it for minutes."""
    script = BUSY.replace("SIGHUP", "SIGINT").replace(
        "signal.raise_signal(signal.SIGTERM)",
        "session.stop.graceful = False\nsignal.raise_signal(signal.SIGTERM)",
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("never\n", 0)


UNHEARD = """
import signal
from reconcile.process import Session, heed_signals
from reconcile.report import make_reporter

class Fading:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

session = Session()
heed_signals(session)
session.reporter = make_reporter("run")
session.reporter.phase("scan")
Fading()
print("went on")
"""


def test_a_signal_is_heard_where_python_swallows_exceptions() -> None:
    """In a destructor, or in a callback of the import system, which then holds its lock for ever."""
    command = [sys.executable, "-c", UNHEARD]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (143, "")
    assert done.stderr == "reconcile: error: terminated; nothing was done\n"


def test_a_signal_at_a_prompt_leaves_a_terminal_that_shows_what_is_typed(place: Place, tree: Build) -> None:
    tree({"a": "one"})
    terminal, side = pty.openpty()
    streams = {"stdin": side, "stdout": side, "stderr": side}
    with place.start("run", *place.args[:-2], **streams, start_new_session=True) as process:
        said = b""
        while b"Password" not in said:
            said += os.read(terminal, 1000)
        while termios.tcgetattr(side)[3] & termios.ECHO:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
    assert termios.tcgetattr(side)[3] & termios.ECHO
    assert b"terminated; nothing was done" in os.read(terminal, 1000)
    os.close(terminal)
    os.close(side)


def test_what_is_ignored_from_the_start_stays_so() -> None:
    script = "import signal; from reconcile.process import Session, heed_signals; heed_signals(Session());"
    script += "signal.raise_signal(signal.SIGHUP); print('still here')"
    command = ["nohup", sys.executable, "-c", script]
    assert subprocess.check_output(command, cwd=ROOT, stderr=subprocess.DEVNULL) == b"still here\n"


def test_a_reader_that_leaves_is_no_error(place: Place, tree: Build) -> None:
    tree({f"{number:04}" + "x" * 200: "" for number in range(1000)})  # more than a pipe holds
    reader, writer = os.pipe()
    with place.start("plan", "-v", *place.args, stdout=writer) as process:
        os.close(writer)
        assert os.read(reader, 1)
        os.close(reader)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize(
    ("command", "redirect", "code"),
    [
        (("plan",), ">/dev/full", 1),
        (("plan", "--json"), ">/dev/full", 1),
        (("run", "--json"), ">/dev/full", 1),
        (("plan",), ">&-", 1),
        (("run", "--json"), ">&-", 1),
        (("run",), ">/dev/full", 0),  # the run is what was asked for, its last line is not
        (("run",), ">&-", 0),
        (("plan", "-q"), ">/dev/full", 0),
    ],
)
def test_what_was_asked_for_and_can_not_be_written_is_no_success(
    place: Place, tree: Build, command: tuple[str, ...], redirect: str, code: int
) -> None:
    tree({"a": "one"})
    line = f"{shlex.join([sys.executable, '-m', 'reconcile', *command, *place.args])} {redirect}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("error: stdout can't be written to" in done.stderr) is (code == 1)
    assert "Traceback" not in done.stderr


def test_the_names_that_peers_have_for_it_are_known(cli: Cli) -> None:
    code, _, err = cli("run", "--delete", "a", "b:c")
    assert code == 2
    assert "no such option: --delete; that is --mirror here" in err


def test_a_swapped_source_and_destination_are_told(cli: Cli, tmp_path: Path) -> None:
    for source in ("me@example.org:photos", "sftp://example.org/photos"):
        code, _, err = cli("run", source, str(tmp_path))
        assert code == 2
        assert "are they swapped?" in err


def test_names_survive_any_locale(place: Place, tree: Build) -> None:
    tree({"Übersicht": "one", "\udcff": "two"})
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, out, err = place.call("run", *place.args, "--json", env=ascii_only)
    assert (code, err) == (0, "")
    assert [action["path"] for action in json.loads(out)["actions"]] == ["Übersicht", "\udcff"]
    assert sorted(os.listdir(os.fsencode(place.served / "dest")))[1:] == ["Übersicht".encode(), b"\xff"]


def test_output_that_can_not_be_encoded_is_escaped(place: Place, tree: Build) -> None:
    tree({"Übersicht": "one"})
    code, out, err = place.call("plan", *place.args, env={"PYTHONIOENCODING": "ascii"})
    assert (code, err) == (0, "")
    assert "\\xdcbersicht" in out


def test_bugs_are_one_line_and_tell_how_to_see_more(place: Place, tree: Build) -> None:
    """A module of the third party that is broken stands for any bug."""
    tree({"a": "one"})
    broken = place.source.parent / "broken"
    broken.mkdir()
    (broken / "msgpack.py").write_text("raise RuntimeError('boom')\n")
    path = {"PYTHONPATH": f"{broken}:{ROOT}"}
    code, out, err = place.call("run", *place.args, env=path)
    assert (code, out) == (1, "")
    assert err.startswith(
        "reconcile: error: RuntimeError: boom (this is a bug in reconcile; RECONCILE_DEBUG=1 "
    )
    assert err.count("\n") == 1
    assert "Traceback" in place.call("run", *place.args, env=path | {"RECONCILE_DEBUG": "1"})[2]
    code, out, err = place.call("run", "--json", *place.args, env=path)
    assert (code, err) == (1, "")
    assert json.loads(out)["status"] == "error"


def test_errors_of_the_local_system_are_no_bugs(place: Place, tree: Build, cli: Cli) -> None:
    tree({"a": "one"})
    state = place.source.parent / "file"
    state.touch()
    code, out, err = cli("run", *place.args, "--state", str(state))
    assert (code, out) == (1, "")
    assert show_name(str(state)) in err
    assert "bug" not in err


# The other commands


def test_serve_says_how_to_connect(place: Place, tree: Build) -> None:
    tree({"a": "one"})
    password = {"SITE_PASSWORD": f"{PASSWORD}\n"}  # as out of a file
    with place.start(
        *("serve", str(place.served), "--user", "you", "--password-env", "SITE_PASSWORD"), env=password
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        port = re.search(r"sftp://you@127\.0\.0\.1:(\d+)/", line)
        assert port, line
        args = (str(place.source), f"sftp://you@127.0.0.1:{port[1]}/new", *place.options[:2])
        more = ("--known-hosts", str(place.source.parent / "new_hosts"), "--accept-new-host-key")
        code, out, _ = place.call("run", *args, *more, "--password-env", "SITE_PASSWORD")
        assert (code, out.startswith("reconcile: 1 created")) == (0, True)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert (place.served / "new" / "a").read_text() == "one"


def test_serve_needs_no_home(place: Place) -> None:
    nobody = "import os, sys; os.getuid = lambda: 54321; from reconcile.cli import main; main(sys.argv[1:])"
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    with subprocess.Popen(
        [sys.executable, "-c", nobody, "serve", str(place.served)],
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"serving ")
        process.terminate()


def test_ctrl_c_while_it_still_imports(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    ended = subprocess.run(
        [sys.executable, "-m", "reconcile", "--version"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, b"", b"")


def test_demo(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, out, err = cli("demo")
    assert (code, err) == (0, "")
    assert "nothing to do, no connection made" in out
    assert "→ lib/asyncio/ → archive/asyncio/" in out
    assert "byte by byte: equal" in out
    assert os.listdir(tmp_path) == []
    assert list((ROOT / "snapshots").glob("demo-*")) == []


def test_a_mass_delete_shows_its_plan_and_is_refused_also_after_a_run_without_mirror(
    place: Place, cli: Callable[..., tuple[int, str, str]], cli_json: Callable[..., dict[str, Any]]
) -> None:
    for number in range(60):
        (place.source / f"f{number:02}").write_text(f"{number}")
    assert cli("run", *place.args)[0] == 0
    for number in range(1, 60):
        (place.source / f"f{number:02}").unlink()

    code, out, err = cli("run", *place.args, "-q")  # nothing is deleted, and yet it is told once
    assert (code, out) == (0, "")
    assert "59 entries are gone here since the last run" in err
    assert cli("run", *place.args, "-q") == (0, "", "")
    assert "; 59 entries gone here are kept there" in cli("run", *place.args)[1]
    assert "; 59 entries gone here are kept there" in cli("plan", *place.args)[1]
    assert cli_json("run", *place.args)["kept"] == 59

    for command in ("plan", "run"):
        code, out, err = cli(command, *place.args, "--mirror")
        assert code == 4
        assert out.count("\n  - f") == 59
        assert "would delete 59 entries on the remote, of 60 known" in err
    assert len(list((place.served / "dest").glob("f*"))) == 60
    code, out, err = cli("run", *place.args, "--mirror", "--allow-mass-delete")
    assert "59 deleted" in out
    assert "kept there" not in out


def test_a_terminal_connects_early_and_asks_when_it_is_its_turn(place: Place, tree: Build) -> None:
    """The connection is made beside the scan; its question comes once all that is shown meanwhile is gone."""
    tree({f"f{number:03}": f"{number}" for number in range(200)})
    mine, side = pty.openpty()
    streams = {"stdin": side, "stdout": side, "stderr": side}
    with place.start("run", *place.args[:-2], **streams, start_new_session=True) as process:
        said = b""
        while b"Password" not in said:
            said += os.read(mine, 1000)
        while termios.tcgetattr(side)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(mine, PASSWORD.encode() + b"\n")
        while b"200 created" not in said:
            said += os.read(mine, 1000)
        assert process.wait(timeout=30) == 0
    assert said.count(b"Password") == 1
    assert said.index(b"looking at the source") < said.index(b"Password")
    os.close(mine)
    os.close(side)
