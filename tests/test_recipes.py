"""The recipes of the README for a CI, literally, on loopback: from two fresh clones, and a cancelled one."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.core.turns import EXPIRY
from reconcile.remotes.ssh.known_hosts import fingerprint
from tests.faults.conftest import TORTURE
from tests.readme import README
from tests.support.processes import wait_for
from tests.support.runners import SHELL, GitHub, GitLab, action_steps, find_recipe
from tests.support.sshd import Sshd
from tests.support.trees import build_tree, read_tree

TEXT = README.read_text()
TARGET = "deploy@example.org:/srv/www"
MODE = "github.event_name == 'pull_request' && 'plan' || 'run'"
SITE = {
    "index.html": "<h1>one</h1>",
    "assets": {f"{number:02}.js": f"// {number}" for number in range(30)},
    ".DS_Store": "no",
}
BUILT = {"index.html": 0o644, "assets": 0o755, **{f"assets/{number:02}.js": 0o644 for number in range(30)}}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a site that ``make public`` builds."""
    folder = tmp_path / "project"
    build_tree(folder, {"site": SITE, "Makefile": "public:\n\tcp -r site public\n"})
    git(folder, "init", "-q", "-b", "main")
    commit(folder)
    return folder


def git(folder: Path, *args: str) -> None:
    who = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    subprocess.run(["git", "-C", folder, *who, *args], check=True)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "more")


def host_key(sshd: Sshd) -> str:
    """As a variable of a project has it."""
    return fingerprint(base64.b64decode(sshd.host_key.split()[1]))


def shown(dest: Path) -> dict[str, int | None]:
    return {path: node.mode for path, node in read_tree(dest).items() if not path.startswith(".reconcile")}


Deploy = Callable[..., GitHub]


@pytest.fixture
def on_github(tmp_path: Path, project: Path, sshd: Sshd) -> Deploy:
    """``on_github(mode, dest)``: the recipe on a fresh machine."""
    machines = iter(range(100))
    job = find_recipe(TEXT, ".github/workflows/deploy.yml")["jobs"]["deploy"]

    def deploy(mode: str, dest: Path) -> GitHub:
        machine = GitHub(tmp_path / f"runner-{next(machines)}", project)
        target = sshd.url(dest)
        steps = [_aimed(step, target) for step in job["steps"]]
        known = {
            MODE: mode,
            "secrets.DEPLOY_KEY": sshd.endpoint.identity.read_text(),
            "vars.HOST_KEY": host_key(sshd),
        }
        machine.deploy({"steps": steps}, known)
        assert not (machine.folder / "temp" / "reconcile-key").exists()
        return machine

    return deploy


def _aimed(step: dict[str, object], target: str) -> dict[str, object]:
    given = step.get("with")
    if not isinstance(given, dict):
        return step
    return {**step, "with": {name: target if value == TARGET else value for name, value in given.items()}}


def test_github_twice_from_two_clones(project: Path, dest: Path, on_github: Deploy) -> None:
    planned = on_github("plan", dest)
    assert (planned.code, planned.outputs["changes"]) == (0, "true"), planned.log
    assert Path(planned.outputs["plan"]).stat().st_size
    assert "::group::Plan" in planned.log
    assert not dest.exists()
    first = on_github("run", dest)
    assert first.code == 0, first.log
    assert "note: left out: 1 .DS_Store" in first.log
    assert shown(dest) == BUILT
    again = on_github("run", dest)
    assert (again.code, again.outputs["changes"]) == (0, "false"), again.log
    assert "nothing to do" in again.log
    (project / "site/index.html").write_text("<h1>two</h1>")
    (project / "site/assets/07.js").unlink()
    commit(project)
    third = on_github("run", dest)
    assert third.code == 0, third.log
    counts = json.loads(third.outputs["counts"])
    assert {op: count for op, count in counts.items() if count} == {"modify": 1, "delete": 1}
    assert "1 changed" in (third.folder / "temp" / "summary").read_text()
    assert shown(dest).keys() == BUILT.keys() - {"assets/07.js"}


def test_gitlab_twice_from_two_clones(project: Path, dest: Path, sshd: Sshd, tmp_path: Path) -> None:
    job = find_recipe(TEXT, ".gitlab-ci.yml")["deploy"]
    line = [each.replace(TARGET, sshd.url(dest)) for each in job["script"]]
    assert line != job["script"]

    def deploy(name: str, rule: int) -> GitLab:
        machine = GitLab(tmp_path / name, project)
        key = machine.folder / "temp" / "DEPLOY_KEY"
        key.write_bytes(sshd.endpoint.identity.read_bytes())
        key.chmod(0o666)  # as it is there
        variables = {"DEPLOY_KEY": str(key), "HOST_KEY": host_key(sshd), **job["rules"][rule]["variables"]}
        machine.deploy({"script": line}, variables)
        assert machine.code == 0, machine.log
        return machine

    if TORTURE:  # as a merge request: it was seen on GitHub
        assert "32 to create" in deploy("planned", 0).log
        assert not dest.exists()
    deploy("first", 1)
    assert shown(dest) == BUILT
    assert "nothing to do" in deploy("second", 1).log


EVIL = "a'b\"c $(touch pwned) `touch pwned`; touch pwned\n--option ${{ github.token }}"


def test_no_input_is_run_by_a_shell(tmp_path: Path, project: Path) -> None:
    """What is handed over is what was given, word by word: a program in the place of ours tells."""
    given = {
        "source": f"-s{EVIL}",
        "target": f"x:{EVIL}",
        "key": EVIL,
        "password": "secret $(touch pwned)",
        "host-key": "SHA256:a b\n\n SHA256:c",
        "mirror": "true",
        "publish": "$(touch pwned)",
        "exclude": "*.$(touch pwned)\n/a b\n",
        "mode": "verify",
        "args": "--keep=30d\n\n--channels=1\n",
    }
    machine = GitHub(tmp_path / "runner", project)
    machine.clone()
    program = machine.folder / "temp" / "reconcile" / "bin" / "reconcile"
    program.parent.mkdir(parents=True)
    told = 'for each; do printf "%s\\0" "$each"; done; printf "%s" "$INPUT_PASSWORD$INPUT_KEY"'
    program.write_text(f"#!/bin/sh\n{told}\n")
    program.chmod(0o755)
    said = []
    for step, environment in action_steps(given):
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"
        process = machine.start(step["run"], machine.environment(**environment), SHELL)
        said.append(process.communicate(timeout=60)[0])
        assert process.returncode == 0, said
    *args, left = said[1].split("\0")
    key = str(machine.folder / "temp" / "reconcile-key")
    assert args == [
        *("verify", "--ci", "--mirror", "--publish=$(touch pwned)", f"--identity={key}"),
        *("--password-env=INPUT_PASSWORD", "--host-key=SHA256:a b", "--host-key= SHA256:c"),
        *("--exclude=*.$(touch pwned)", "--exclude=/a b", "--keep=30d", "--channels=1", "--"),
        *(f"-s{EVIL}", f"x:{EVIL}"),
    ]
    assert left == "secret $(touch pwned)"  # the key is in its file, and the file is gone
    assert not Path(key).exists()
    assert not list(machine.folder.rglob("pwned*"))


@pytest.mark.parametrize(("name", "value"), [("mode", "sync"), ("mode", ""), ("mirror", "yes")])
def test_what_an_input_can_not_be(name: str, value: str, tmp_path: Path, project: Path) -> None:
    machine = GitHub(tmp_path / "runner", project)
    machine.clone()
    [_, (step, environment), _] = action_steps({"source": "s", "target": "h:d", name: value})
    assert machine.run(step["run"], machine.environment(**environment), SHELL) == 2
    assert machine.log.startswith(f"::error title=reconcile::{name} is ")


def test_installing_is_done_once(tmp_path: Path, project: Path) -> None:
    machine = GitHub(tmp_path / "runner", project)
    machine.clone()
    [(step, environment), *_] = action_steps({"source": "s", "target": "h:d"})
    program = machine.folder / "temp" / "reconcile" / "bin" / "reconcile"
    program.parent.mkdir(parents=True)
    program.write_text("")
    program.chmod(0o755)
    assert machine.run(step["run"], machine.environment(**environment), SHELL) == 0
    if TORTURE:
        program.unlink()
        assert machine.run(step["run"], machine.environment(**environment), SHELL) == 0
        assert subprocess.run([program, "--version"], check=True, capture_output=True).stdout


MANY = 4000


@pytest.fixture
def cancelled(tmp_path: Path, project: Path, dest: Path, sshd: Sshd) -> Callable[..., tuple[GitHub, int]]:
    """``cancelled(*signals)``: a machine whose job was told so in the middle, and how it ended.

    The signals go to the shell of the step, as there, and nowhere else.
    """
    build_tree(project, {"site": {f"m{number}": "x" * 300 for number in range(MANY)}})
    commit(project)

    def cancel(*signals: signal.Signals) -> tuple[GitHub, int]:
        machine = GitHub(tmp_path / "runner-cancelled", project)
        machine.clone()
        machine.run("make public", machine.environment(), SHELL)
        machine.install()
        given = {"source": "public", "target": sshd.url(dest), "key": sshd.endpoint.identity.read_text()}
        more = {"host-key": host_key(sshd), "args": "--limit-rate=150k", "mirror": "true"}
        [_, (step, environment), _] = action_steps(given | more)
        process = machine.start(step["run"], machine.environment(**environment), SHELL)
        wait_for(lambda: len(arrived(dest)) > 20, "some files to arrive", 60)
        for each in signals:
            process.send_signal(each)
        machine.log, _ = process.communicate(timeout=60)
        return machine, process.returncode

    return cancel


def arrived(dest: Path) -> set[str]:
    """The many that are there."""
    return {path.name for path in dest.glob("m*")}


def test_a_cancelled_job_ends_with_all_saved(
    dest: Path, on_github: Deploy, cancelled: Callable[..., tuple[GitHub, int]]
) -> None:
    machine, code = cancelled(signal.SIGINT, signal.SIGTERM)
    assert code == 130, machine.log
    assert "what was acknowledged is remembered" in machine.log
    before = len(arrived(dest)) + len(list(dest.glob("**/*.js"))) + len(list(dest.glob("index.html")))
    assert before > 20
    goes_on = on_github("run", dest)
    assert goes_on.code == 0, goes_on.log
    assert "was interrupted" not in goes_on.log
    assert json.loads(goes_on.outputs["counts"])["create"] == MANY + 31 - before
    assert len(arrived(dest)) == MANY


@pytest.mark.skipif(not TORTURE, reason="long; tests/apply/test_broken_off.py has a short form")
def test_a_job_that_is_killed_sends_nothing_again_that_had_arrived(
    dest: Path, on_github: Deploy, cancelled: Callable[..., tuple[GitHub, int]]
) -> None:
    _, code = cancelled(signal.SIGKILL)
    assert code == -signal.SIGKILL
    before = {path: path.stat().st_ino for path in dest.glob("m*")}
    late = time.time() - EXPIRY - 10
    for lock in dest.glob(".reconcile/**/*.lock-*"):  # nobody waits so long here
        for path in (lock, *lock.rglob("*")):
            os.utime(path, (late, late))
    goes_on = on_github("run", dest)
    assert goes_on.code == 0, goes_on.log
    assert "was interrupted" in goes_on.log
    assert {path: path.stat().st_ino for path in before} == before
    assert len(arrived(dest)) == MANY
    assert on_github("run", dest).outputs["changes"] == "false"
