"""What GitHub's runner reads: nobody's name or word may be a command to it."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconcile.core.job import Result
from reconcile.core.model import Action, Entry, Kind, Op, Plan, Problem, Reason, Stage
from reconcile.process import Session
from reconcile.report import Outlet, make_reporter
from reconcile.report.github import GithubReporter, LogOutlet, defuse
from reconcile.report.json import JsonReporter
from reconcile.report.plain import IN_CI_EVERY_S, PlainReporter
from reconcile.report.summary import LIMIT, write_outputs, write_summary

COMMANDS = {"group", "endgroup", "error", "warning"}
EVIL = [
    "::add-mask::x",
    "\n::error::x",
    "a\r\n ::stop-commands::t",
    "%0A::error::x",
    "x##[add-mask]y",
    "a:b,c%",
]
WORDS = st.one_of(
    st.sampled_from(EVIL), st.text(st.sampled_from("ab:#[]%,\r\n \x85\u2028\u2003"), max_size=12)
)


def create(path: str) -> Action:
    return Action(Op.CREATE, path, new=Entry(Kind.FILE, 0o644, size=5), reason="new")


def problem(path: str, message: str = "permission denied") -> Problem:
    return Problem(path, Stage.APPLY, Reason.DENIED, message)


def result_of(command: str, *paths: str, problems: tuple[Problem, ...] = ()) -> Result:
    plan = Plan(levels=[list(map(create, paths))])
    ended = () if command == "plan" else tuple(plan.actions)
    return Result(command, "/src", "sftp://host/d", plan, ended, problems=problems, entries=3)


def commands_in(log: str) -> list[tuple[str, str, str]]:
    """The commands that the runner finds: their names, properties and data."""
    found = []
    for line in re.split(r"\r\n|\r|\n", log):
        assert "##[" not in line
        if line.lstrip().startswith("::"):
            match = re.fullmatch(r"::([a-z-]+)(?: (\S.*?))?::(.*)", line)
            assert match is not None, line
            assert match[1] in COMMANDS
            found.append((match[1], match[2] or "", match[3]))
    return found


def tell(path: str, word: str) -> str:
    """All that a reporter says if everything is called so."""
    log = io.StringIO()
    result = result_of("plan", path, problems=(problem(path, word), problem("", "x")))
    for verbose in (False, True):
        reporter = GithubReporter("plan", LogOutlet(log), LogOutlet(log), verbose=verbose)
        reporter.about(path, f"sftp://{path}")
        reporter.phase("scan")
        reporter.say(word)
        reporter.warn(f"{word} warned")
        reporter.to_do_it = word
        reporter.refused(result.plan)
        reporter.finish(result, 3)
        reporter.fail("error", 1, word)
    return log.getvalue()


@pytest.mark.parametrize("evil", EVIL)
def test_no_name_and_no_word_is_a_command(evil: str) -> None:
    found = commands_in(tell(evil, evil))
    assert {name for name, _, _ in found} == COMMANDS
    for name, properties, _ in found:
        assert properties in ("title=reconcile", "title=reconcile%3A problem", ""), name


@given(path=WORDS, word=WORDS)
@settings(max_examples=30, deadline=None)
def test_none_at_all_is(path: str, word: str) -> None:
    commands_in(tell(path, word))


def test_what_is_no_command_stays_as_it_is() -> None:
    for text in ("a::b", "x: ::y", "", "# [x]"):
        assert defuse(text) == text
    assert defuse(" ::error::x\n::y") == " : :error::x\n: :y"


def test_problems_warnings_and_the_end_are_annotations() -> None:
    log = io.StringIO()
    reporter = GithubReporter("run", LogOutlet(log), LogOutlet(log))
    reporter.say("said")
    reporter.warn("50% of a,b: gone")
    reporter.finish(result_of("run", "f", problems=(problem("p"),)), 3)
    said = log.getvalue()
    assert "reconcile: note: said\n" in said
    assert commands_in(said) == [
        ("warning", "title=reconcile", "50%25 of a,b: gone"),
        ("error", "title=reconcile%3A problem", "p: permission denied"),
    ]


def test_a_plan_can_be_folded() -> None:
    log = io.StringIO()
    reporter = GithubReporter("plan", LogOutlet(log), LogOutlet(log))
    reporter.finish(result_of("plan", "f"), 0)
    begin, *shown, end, _ = log.getvalue().splitlines()
    assert (begin, end) == ("::group::Plan → sftp://host/d", "::endgroup::")
    assert any(line.startswith("  + f") for line in shown)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """What a step's summary and outputs are written to."""
    summary, output = tmp_path / "summary", tmp_path / "output"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_OUTPUT", str(output))
    return summary, output


@pytest.fixture
def unseen() -> Iterator[None]:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


@pytest.mark.usefixtures("unseen")
def test_a_job_has_a_summary_and_outputs(files: tuple[Path, Path]) -> None:
    summary, output = files
    reporter = make_reporter("run")
    reporter.finish(result_of("run", "a<b>", "c", problems=(problem("p"),)), 3)
    assert "2 created" in summary.read_text()
    assert "+ a&lt;b&gt;" in summary.read_text()
    assert "p: permission denied" in summary.read_text()
    told = dict(line.split("=", 1) for line in output.read_text().splitlines())
    assert told["changes"] == "true"
    assert json.loads(told["counts"])["create"] == 2
    make_reporter("run").fail("unreachable", 6, "no\n\n# way")
    assert "<pre>no\n\n# way\n</pre>" in summary.read_text()
    assert output.read_text().splitlines()[-2] == "changes=false"
    before = summary.read_text()
    make_reporter("run", quiet=True).finish(result_of("run", "f"), 0)
    assert summary.read_text() == before


@pytest.mark.usefixtures("unseen")
def test_files_that_can_not_be_written_end_nothing(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    files[0].mkdir()
    monkeypatch.delenv("GITHUB_OUTPUT")
    make_reporter("run").finish(result_of("run", "f"), 0)


def test_a_summary_never_takes_more_than_github_does(files: tuple[Path, Path]) -> None:
    wide = f"{'&' * 250}/{'<' * 250}/" + "\udcff" * 250
    long = [f"{number:04}/{wide}" for number in range(300)]
    actions = [Action(Op.DELETE, path, old=Entry(Kind.FILE, 0o644, size=1)) for path in long]
    problems = [problem(path, f"{'<' * 2000} {path}") for path in long]
    result = Result("run", "/src", "sftp://host/d", Plan(), actions, problems=problems)
    for room in (100_000, 3_000, 1_000, 100, 0, -5):
        text = write_summary(result, "&" * 1000, room=room)
        assert len(text.encode("utf-8", "backslashreplace")) <= max(room, 0)
        assert text.count("<pre>") == text.count("</pre>") == text.count("</details>")
        assert text.count("lines more, which are in the log") <= text.count("<pre>")
    summary, _ = files
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        for _ in range(3):
            make_reporter("run").finish(result, 3)
    assert LIMIT // 2 < summary.stat().st_size <= LIMIT


def test_nothing_in_a_summary_is_taken_for_markup() -> None:
    evil = "</pre></details>\n\n# x [y](z) <img src=q> `"
    result = result_of("run", evil, problems=(problem(evil, evil),))
    text = write_summary(result, evil)
    assert "<img" not in text
    assert "# x" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)


def test_outputs_hold_nothing_of_others() -> None:
    assert re.fullmatch(
        r'changes=true\ncounts=\{("[a-z]+":\d+,?)+\}\n', write_outputs(result_of("run", "f\nx=y"))
    )


def test_a_document_is_no_command_either() -> None:
    log = io.StringIO()
    JsonReporter("run", Outlet(log)).finish(result_of("run", "##[add-mask]x"), 0)
    assert "##[" not in log.getvalue()
    assert json.loads(log.getvalue())["actions"][0]["path"] == "##[add-mask]x"


class Screen(io.StringIO):
    """A stream that claims to be a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("value", "is_ci"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_ci_alone_means_plain_lines_and_no_questions(
    value: str, is_ci: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", value)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setattr(sys, "stdin", Screen())
    reporter = make_reporter("run")
    assert isinstance(reporter, PlainReporter)
    assert (type(reporter) is PlainReporter) is is_ci
    if is_ci:
        assert reporter.every == IN_CI_EVERY_S
        assert not Session().may_ask()
