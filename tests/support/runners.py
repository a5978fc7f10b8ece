"""What a CI does with a recipe: the steps as it runs them, on this machine, each time from a fresh clone.

Of GitHub's expressions those are known that are handed over, and no others. Of its actions
``checkout``, and ours, whose steps are carried out as they stand in ``action/action.yml``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action"
BINARIES = Path(sys.executable).parent


def find_recipe(text: str, file: str) -> Any:
    """The YAML block of the README that begins by naming ``file``."""
    [recipe] = re.findall(rf"```yaml\n# {re.escape(file)}\b.*?\n(.*?)```", text, re.DOTALL)
    return yaml.load(recipe, Loader=yaml.BaseLoader)  # noqa: S506 - nothing but strings, "on" among them


@dataclass
class Machine:
    """One that has just been made for a job: a home of its own, and a clone of the project."""

    folder: Path
    project: Path  # the repository
    log: str = ""
    code: int = 0  # of the first step that failed
    outputs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("home", "temp"):
            (self.folder / name).mkdir(parents=True)

    @property
    def checkout(self) -> Path:
        """Where the project is."""
        return self.folder / "work" / "www"

    def clone(self) -> None:
        """As a job finds it."""
        subprocess.run(["git", "clone", "-q", self.project, self.checkout], check=True)

    def environment(self, **more: str) -> dict[str, str]:
        """What every step is told."""
        path = os.pathsep.join([str(BINARIES), os.environ["PATH"]])
        return {
            "PATH": path,
            "HOME": str(self.folder / "home"),
            "CI": "true",
            "LANG": "C.UTF-8",
            "RECONCILE_DEBUG": "1",
            **more,
        }

    def start(
        self, script: str, environment: Mapping[str, str], flags: Sequence[str]
    ) -> subprocess.Popen[str]:
        """A script, as both services hand it to a shell."""
        file = self.folder / "temp" / "script.sh"
        file.write_text(script)
        return subprocess.Popen(
            ["bash", *flags, str(file)],
            cwd=self.checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, script: str, environment: Mapping[str, str], flags: Sequence[str]) -> int:
        """The same to its end; the exit code."""
        process = self.start(script, environment, flags)
        said, _ = process.communicate(timeout=120)
        self.log += said
        return process.returncode


class GitHub(Machine):
    """Runs a job of a workflow. ``known``: expressions and what they come to."""

    def deploy(self, job: Mapping[str, Any], known: Mapping[str, str]) -> None:
        """All steps of it."""
        self.install()
        for step in job["steps"]:
            if "run" in step:
                self._step(step, {}, known)
            elif step["uses"].startswith("actions/checkout@"):
                self.clone()
            else:
                assert re.fullmatch(r"[\w.-]+/reconcile/action@\S+", step["uses"])
                given = {name: expand(value, known) for name, value in step["with"].items()}
                self._act(given)

    def install(self) -> None:
        """As it is after the first of the action's steps: what that takes is tried for itself."""
        binaries = self.folder / "temp" / "reconcile" / "bin"
        binaries.mkdir(parents=True)
        (binaries / "reconcile").symlink_to(BINARIES / "reconcile")

    def _act(self, given: Mapping[str, str]) -> None:
        for step, environment in action_steps(given):
            self._step(step, environment, {})
        # What a step does for those that follow.
        told = self.folder / "temp" / "output"
        if told.exists():
            self.outputs = dict(line.split("=", 1) for line in told.read_text().splitlines())

    def _step(
        self, step: Mapping[str, Any], environment: Mapping[str, str], known: Mapping[str, str]
    ) -> None:
        if self.code and step.get("if") != "always()":
            return
        script = expand(step["run"], known)
        ended = self.run(script, self.environment(**environment), SHELL)
        self.code = self.code or ended

    def environment(self, **more: str) -> dict[str, str]:
        """As GitHub has it."""
        temp = self.folder / "temp"
        return super().environment(
            GITHUB_ACTIONS="true",
            GITHUB_ACTION_PATH=str(ACTION),
            GITHUB_OUTPUT=str(temp / "output"),
            GITHUB_STEP_SUMMARY=str(temp / "summary"),
            RUNNER_TEMP=str(temp),
            **more,
        )


SHELL = ("--noprofile", "--norc", "-eo", "pipefail")  # what ``shell: bash`` stands for


def action_steps(given: Mapping[str, str]) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """The steps of our action with their variables, once its inputs are ``given``."""
    action = yaml.load((ACTION / "action.yml").read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - as above
    inputs = action["inputs"]
    assert given.keys() <= inputs.keys()
    assert {name for name, each in inputs.items() if each.get("required") == "true"} <= given.keys()
    known = {f"inputs.{name}": given.get(name, each.get("default", "")) for name, each in inputs.items()}
    return [
        (step, {name: expand(value, known) for name, value in step.get("env", {}).items()})
        for step in action["runs"]["steps"]
    ]


def expand(text: str, known: Mapping[str, str]) -> str:
    """With its expressions replaced. KeyError for one that is not known."""
    return re.sub(r"\$\{\{ *(.*?) *\}\}", lambda match: known[match[1]], text)


class GitLab(Machine):
    """Runs a job of a pipeline. ``variables``: of the project, and of the rule that applies."""

    def deploy(self, job: Mapping[str, Any], variables: Mapping[str, str]) -> None:
        """All lines of it, as one script."""
        self.clone()
        self.code = self.run("\n".join(job["script"]), self.environment(**variables), ["-e"])
