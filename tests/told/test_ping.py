"""A monitor hears of every run, however that ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconcile.cli import main
from reconcile.core.errors import Exit, UsageError
from reconcile.core.job import Ending, Result
from reconcile.serve.files import File, Files
from reconcile.serve.server import Server
from reconcile.told import ping as pinging
from reconcile.told.ping import Ping
from tests.faults.conftest import TORTURE
from tests.support.command import Reconcile, ReconcileHere
from tests.support.monitor import Monitor, no_proxy
from tests.support.mounts import in_memory, mounted

TRIES = 20 if TORTURE else 1
WELL = Ending(Result("run", "/src", "/dest"), "ok", 0)


@pytest.fixture(autouse=True)
def direct() -> Iterator[None]:
    with no_proxy():
        yield


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with Monitor() as monitor:
        yield monitor


@pytest.fixture
def job(source: Path, dest: Path, state: Path, monitor: Monitor) -> Reconcile:
    (source / "a").write_text("a")
    return ReconcileHere(source, str(dest), state, ["--ping", monitor.url])


# What is said


def test_a_run_that_goes_well(job: Reconcile, monitor: Monitor) -> None:
    job.run()
    assert monitor.paths == ["/start", ""]
    assert "1 created, 1 B sent" in monitor.heard[1][1]
    job("run", "--quiet", json_out=False)  # the text is the same, whatever is shown
    assert "nothing to do" in monitor.heard[3][1]


def test_problems_are_told(job: Reconcile, monitor: Monitor) -> None:
    (job.source / "theirs").touch(mode=0)
    bound = Reconcile(job.source, job.target, job.state, job.flags, bound=True)
    assert bound("run").code == Exit.PROBLEMS
    assert monitor.paths == ["/start", "/3"]
    assert "problem: theirs: " in monitor.heard[1][1]


def test_nothing_is_pinged_but_a_run(job: Reconcile, monitor: Monitor) -> None:
    job("plan")
    job("run", "--dry-run")
    job("plan", env={"RECONCILE_PING": monitor.url})
    assert monitor.paths == []


def test_the_environment_names_it(source: Path, dest: Path, state: Path, monitor: Monitor) -> None:
    job = ReconcileHere(source, str(dest), state)
    assert job("run", env={"RECONCILE_PING": monitor.url}).code == Exit.OK
    assert monitor.paths == ["/start", ""]


def test_what_stands_in_a_query_stays(monitor: Monitor) -> None:
    Ping(f"{monitor.url}/?create=1", pytest.fail).start()
    assert monitor.paths == ["/start?create=1"]


def test_a_long_text_is_told_from_its_end(monitor: Monitor) -> None:
    ending = Ending(WELL.result, "error", 1, "x" * 20_000 + "the end")
    Ping(monitor.url, pytest.fail).end(ending)
    ((path, text),) = monitor.heard
    assert path == "/1"
    assert len(text) == 10_000
    assert text.endswith("the end\n")


# However it ends: each of these is tried as often as TRIES says.


class Halting(Files):
    """Gives no file away before it is told to."""

    began, go_on = threading.Event(), threading.Event()

    def hold(self, fd: int) -> File:
        self.began.set()
        self.go_on.wait(60)
        return super().hold(fd)


@pytest.mark.parametrize("_", range(TRIES))
def test_terminated_while_it_sends(
    source: Path, state: Path, tmp_path: Path, monitor: Monitor, _: int
) -> None:
    """What is under way ends well, and all that is known is saved, before it is told."""
    (source / "a").write_text("a")
    (tmp_path / "served").mkdir()
    Halting.began.clear()
    Halting.go_on.clear()
    with Server(tmp_path / "served", user="me", password="pw", interface=Halting) as server:
        (tmp_path / "hosts").write_text(f"[127.0.0.1]:{server.port} {' '.join(server.host_key)}\n")
        flags = ["--ping", monitor.url, "--known-hosts", str(tmp_path / "hosts"), "--password-env", "SECRET"]
        argv = ReconcileHere(source, f"sftp://me@127.0.0.1:{server.port}/dest", state, flags).argv("run")
        with subprocess.Popen(
            argv, env=os.environ | {"SECRET": "pw"}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as process:
            assert Halting.began.wait(60)
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            assert b"stopping" in process.stderr.readline()
            Halting.go_on.set()
        assert process.returncode == Exit.TERMINATED
    assert monitor.paths == ["/start", "/143"]
    assert "terminated" in monitor.heard[1][1]


@pytest.mark.parametrize("_", range(TRIES))
def test_terminated_while_it_connects(
    source: Path, state: Path, monitor: Monitor, tmp_path: Path, _: int
) -> None:
    """Nothing is at risk there, so it ends at once: in the signal's handler."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"sftp://me@127.0.0.1:{mute.getsockname()[1]}/dest"
        process = ReconcileHere(source, url, state, ["--ping", monitor.url]).start("run")
        line, _address = mute.accept()
        with line:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == Exit.TERMINATED
    assert monitor.paths == ["/start", "/143"]
    assert monitor.heard[1][1] == "error: terminated; nothing was done\n"


@pytest.mark.parametrize("_", range(TRIES))
def test_terminated_while_it_pings_that_it_starts(source: Path, dest: Path, state: Path, _: int) -> None:
    with Monitor(holds=1) as monitor:
        process = ReconcileHere(source, str(dest), state, ["--ping", monitor.url]).start("run")
        monitor.wait(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == Exit.TERMINATED
        assert monitor.paths == ["/start", "/143"]


@pytest.mark.parametrize("_", range(TRIES))
def test_the_disk_here_is_full(source: Path, dest: Path, tmp_path: Path, monitor: Monitor, _: int) -> None:
    for number in range(200):
        (source / f"{number} {'x' * 100}").touch()
    with mounted(tmp_path / "full", *in_memory("16k")):
        job = ReconcileHere(source, str(dest), tmp_path / "full", ["--ping", monitor.url])
        assert job("run").code == Exit.FATAL
    assert monitor.paths == ["/start", "/1"]
    assert "No space left on device" in monitor.heard[1][1]


@pytest.mark.parametrize("_", range(TRIES))
def test_nobody_is_there(source: Path, state: Path, monitor: Monitor, _: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    flags = ["--ping", monitor.url, "--retries", "0"]
    assert (
        ReconcileHere(source, f"sftp://me@127.0.0.1:{port}/dest", state, flags)("run").code
        == Exit.UNREACHABLE
    )
    assert monitor.paths == ["/start", "/6"]


@pytest.mark.parametrize("_", range(TRIES))
def test_it_is_refused(job: Reconcile, monitor: Monitor, dest: Path, _: int) -> None:
    dest.mkdir()
    (dest / "theirs").touch()
    assert job("run").code == Exit.REFUSED
    assert monitor.paths == ["/start", "/4"]


@pytest.mark.parametrize("_", range(TRIES))
@pytest.mark.parametrize("wrong", [["--no-such-flag"], ["--max-delete", "many"], ["--links", "cut"]])
def test_flags_are_wrong(job: Reconcile, monitor: Monitor, wrong: list[str], _: int) -> None:
    assert job("run", *wrong).code == Exit.USAGE
    assert monitor.paths[-1] == "/2"
    assert "error: " in monitor.heard[-1][1]


FILE = """
[defaults]
ping = "{url}/all"
[jobs.one]
source = "src"
target = "./one"
[jobs.two]
inherit = "one"
ping = "${{CHECK}}/two"
{wrong}
"""


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), ["/all/2", "/two/2"]),
        (("two",), ["/two/2"]),
        (("-v", "--timeout", "5", "two"), ["/two/2"]),
        (("none",), []),
        (("two", "--ping=URL/three"), ["/three/2"]),
        (("src", "./one", "--no-such"), []),
    ],
)
def test_the_file_is_wrong(
    tmp_path: Path, monitor: Monitor, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], told: list[str]
) -> None:
    (tmp_path / "reconcile.toml").write_text(FILE.format(url=monitor.url, wrong="mirorr = true"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHECK", monitor.url)
    code = run_here(["run", *(arg.replace("URL", monitor.url) for arg in args)])
    assert (code, sorted(monitor.paths)) == (Exit.USAGE, told)


def test_a_file_that_somebody_else_may_write_names_nobody(
    tmp_path: Path, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reconcile.toml").write_text(FILE.format(url=monitor.url, wrong=""))
    (tmp_path / "reconcile.toml").chmod(0o666)
    monkeypatch.chdir(tmp_path)
    assert run_here(["run"]) == Exit.REFUSED
    assert monitor.paths == []


def run_here(args: list[str]) -> int:
    """In this process, with its handlers of signals put back."""
    heeded = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in heeded}
    try:
        return main(args)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# Who does not listen


def test_a_monitor_that_answers_nothing_takes_no_longer_than_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pinging, "PATIENCE", 0.2)
    said: list[str] = []
    with Monitor(holds=1) as monitor:
        Ping(monitor.url, said.append).end(WELL)
    assert said == ["the monitor at 127.0.0.1 did not hear of it: no answer within 0.2 s"]


def test_a_server_of_names_that_answers_nothing_takes_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinging, "PATIENCE", 0.2)
    answer = threading.Event()

    def resolve(*_: object, **__: object) -> None:
        answer.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    said: list[str] = []
    Ping("https://check.example/secret", said.append).start()
    answer.set()
    assert said == ["the monitor at check.example did not hear of it: no answer within 0.2 s"]


def test_the_exit_code_is_that_of_the_run(job: Reconcile) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    ran = job("run", "--ping", f"http://127.0.0.1:{port}/secret", json_out=False)
    assert ran.code == Exit.OK
    assert "note: the monitor at 127.0.0.1 did not hear of it: Connection refused" in ran.err
    assert "secret" not in ran.out + ran.err


def test_it_is_tried_again_where_that_may_help() -> None:
    with Monitor(503, 429) as monitor:
        Ping(monitor.url, pytest.fail).start()
        assert monitor.paths == ["/start"] * 3
    said: list[str] = []
    with Monitor(404) as monitor:
        Ping(monitor.url, said.append).start()
        assert monitor.paths == ["/start"]
    assert said == ["the monitor at 127.0.0.1 did not hear of it: it answered 404"]


@pytest.mark.parametrize(
    "url",
    ["", "check", "file:///etc/passwd", "ftp://host/x", "http:///x", "https://a b/", "http://h:x/",
     "https://me:secret@host/", "https://host/ä", "https://host/\n"],
)  # fmt: skip
def test_what_is_no_url_is_said_without_repeating_it(url: str) -> None:
    with pytest.raises(UsageError) as error:
        Ping(url, pytest.fail)
    assert "secret" not in str(error.value)
