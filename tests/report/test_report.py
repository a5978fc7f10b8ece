"""What a user, a cron mail and a machine get to read."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconcile.core.errors import Exit
from reconcile.core.job import Result, Since
from reconcile.core.model import Action, Entry, Kind, Op, Outcome, Plan, Problem, Reason, Stage, Stats, Tally
from reconcile.core.paths import parking_place
from reconcile.core.units import show_bytes, show_duration
from reconcile.report import Outlet, PlainReporter, Recorder, make_reporter, plans, words
from reconcile.report.document import document
from reconcile.report.json import JsonReporter
from reconcile.report.meter import Meter
from reconcile.report.terminal import TerminalReporter

FILE = Entry(Kind.FILE, 0o644, size=1_234_567)
FOLDER = Entry(Kind.DIR, 0o755)
LINK = Entry(Kind.SYMLINK, 0o777, link="a b\n")
NASTY = "x [/x] [red]:smile:\x1b[31m\r\n\u202e\udcff"


class Screen(io.StringIO):
    """A stream that claims to be a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def create(path: str, size: int = 1_234_567) -> Action:
    return Action(Op.CREATE, path, new=Entry(Kind.FILE, 0o644, size=size), reason="new")


PLAN = Plan(
    levels=[
        [Action(Op.MOVE, parking_place(1), new=FILE, source="b", moved=FILE)],
        [
            Action(Op.MKDIR, "new", new=FOLDER, reason="new"),
            Action(Op.MOVE, "b", new=FILE, source="a", moved=FILE),
            Action(Op.MOVE, "a", new=FILE, source=parking_place(1), moved=FILE, home="b"),
            Action(Op.MOVE, "pics/2023", new=FOLDER, source="2023", moved=FOLDER, entries=1000),
        ],
        [
            create("new/file"),
            Action(Op.CREATE, "link", new=LINK),
            Action(Op.MODIFY, NASTY, new=FILE, old=FILE),
        ],
        [
            Action(Op.SETMETA, "run.sh", new=replace(FILE, mode=0o755), old=FILE, reason="mode"),
            Action(Op.DELETE, "old", old=FOLDER, entries=37),
        ],
    ],
    bytes_avoided=5_000_000,
)
DONE = list(PLAN.actions)
PROBLEM = Problem("bad\nname", Stage.APPLY, Reason.DENIED, "permission denied")


def plan_result(plan: Plan = PLAN, problems: Sequence[Problem] = ()) -> Result:
    return Result("plan", "/src", "sftp://host/dest", plan, problems=problems, entries=1234)


def run_result(ended: Sequence[Action] = DONE, **more: object) -> Result:
    values: dict[str, object] = {"connected": True, "duration_s": 4.12, "entries": 1234} | more
    return Result("run", "/src", "sftp://host/dest", PLAN, ended, **values)  # type: ignore[arg-type]


def plain(
    command: str, *, quiet: bool = False, verbose: bool = False
) -> tuple[Recorder, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return PlainReporter(command, Outlet(out), Outlet(err), quiet=quiet, verbose=verbose), out, err


def terminal(
    command: str, *, quiet: bool = False, verbose: bool = False
) -> tuple[Recorder, io.StringIO, io.StringIO]:
    out, err = Screen(), Screen()
    return TerminalReporter(command, Outlet(out), Outlet(err), quiet=quiet, verbose=verbose), out, err


def end(reporter: Recorder, tally: Tally, outcome: Outcome) -> None:
    """What a run does with an outcome."""
    tally.add(outcome)
    reporter.outcome(outcome)


def live_through(reporter: Recorder, result: Result, exit_code: int = 0) -> None:
    """Everything that a run tells."""
    for phase in ("scan", "hash", "diff", "connect"):
        reporter.phase(phase)
    reporter.say("the server can't do [/this]\x1b[31m")
    reporter.phase("apply")
    reporter.planned(result.plan, tally := Tally())
    for action in result.ended:
        reporter.sent(action.bytes, action.path)
        end(reporter, tally, Outcome(action))
    reporter.phase("commit")
    reporter.finish(result, exit_code)


# Names and numbers


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", "./"),
        ("plain name", "plain name"),
        ("Übersicht 日本", "Übersicht 日本"),
        ("x [/x]", "x [/x]"),
        ("a\nb\tc\x1b[0m", r"a\nb\tc\x1b[0m"),
        ("\udcff", r"\xff"),
        (r"\xff", r"\\xff"),
        ("\u202e", r"\u202e"),
        ("\x85", r"\x85"),
    ],
)
def test_names_are_shown_on_one_line(name: str, shown: str) -> None:
    assert words.show_name(name) == shown


raw_names = st.binary(min_size=1, max_size=8).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(raw_names, raw_names)
def test_different_names_look_different(one: str, other: str) -> None:
    assert words.show_name(one).isprintable()
    assert (words.show_name(one) == words.show_name(other)) == (one == other)


def test_messages_keep_their_lines_and_nothing_else() -> None:
    assert words.show_message("a\nb\x1b]0;evil\x07\r") == "a\nb\\x1b]0;evil\\x07\\r"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (999_960, "1.0 MB"),
        (10**17, "100 PB"),
    ],
)
def test_bytes_are_shown_in_decimal_units(count: int, shown: str) -> None:
    assert show_bytes(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0 s"), (59.96, "1 min 00 s"), (187, "3 min 07 s"), (7500, "2 h 05 min")]
)
def test_durations_are_readable(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown


# A plan


def listed(plan: Plan, **how: int | None) -> list[plans.Line]:
    lines, deleted = plans.list_plan(plan, **how)
    assert "-" not in {line.sign for line in lines}
    assert {line.sign for line in deleted} <= {"-"}
    return [*lines, *deleted]


def test_a_short_plan_is_a_list_of_signs() -> None:
    assert [str(line) for line in listed(PLAN)] == [
        r"+ link  link to a b\n",
        "+ new/",
        "+ new/file  1.2 MB",
        "~ run.sh  mode 644 → 755",
        r"~ x [/x] [red]:smile:\x1b[31m\r\n\u202e\xff  1.2 MB",
        "→ b → a",
        "→ a → b",
        "→ 2023/ → pics/2023/  1,000 entries",
        "- old/  37 entries",
    ]
    assert plans.explain_signs(listed(PLAN)) == "+ new  ~ changed  → moved  - deleted"


@pytest.mark.parametrize(
    ("action", "shown"),
    [
        (Action(Op.DELETE, "f", old=FILE, reason="deleted"), "- f  1.2 MB"),
        (Action(Op.DELETE, "l", old=LINK, reason="deleted"), "- l"),
        (
            Action(Op.DELETE, "d", old=FOLDER, members=(("a", FILE), ("b", FOLDER)), entries=3),
            "- d/  3 entries, 1.2 MB",
        ),
        (
            Action(Op.DELETE, "f", old=FILE, keep=True, reason="is now a dir"),
            "- f  is now a dir, 1.2 MB, kept in the trash there",
        ),
    ],
)
def test_what_is_deleted_says_how_much_goes_and_whether_for_good(action: Action, shown: str) -> None:
    assert [str(line) for line in listed(Plan([[action]]))] == [shown]


def test_remarks_stand_in_one_column_as_wide_as_a_screen_shows_names() -> None:
    names = ["a", "longer", "日本", "e\u0301", "x" * 60, "none"]
    lines = [plans.Line("+", name, "" if name == "none" else "1 B") for name in names]
    assert [str(line) for line in plans.align(lines, 80)] == [
        "+ a       1 B",
        "+ longer  1 B",
        "+ 日本    1 B",
        "+ e\u0301       1 B",
        f"+ {'x' * 60}  1 B",
        "+ none",
    ]
    assert plans.align([], 80) == []


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (FILE, replace(FILE, size=12), "1.2 MB → 12 B"),
        (FILE, replace(FILE, digest=b"other"), "1.2 MB"),
        (LINK, replace(LINK, link="c"), r"link to a b\n → c"),
        (LINK, FILE, "was a symlink, 1.2 MB"),
    ],
)
def test_a_change_is_told_as_what_was_and_what_will_be(old: Entry, new: Entry, shown: str) -> None:
    reason = "content" if old.kind is new.kind else "was a symlink"
    [line] = listed(Plan([[Action(Op.MODIFY, "x", new=new, old=old, reason=reason)]]))
    assert str(line) == f"~ x  {shown}"


def test_a_time_and_a_mode_are_told_together() -> None:
    new = replace(FILE, mode=0o600, mtime_ns=5_000_000_000)
    [line] = listed(Plan([[Action(Op.SETMETA, "x", new=new, old=FILE, reason="mode and time")]]))
    assert str(line) == "~ x  mode 644 → 600, time"


def test_a_path_that_is_touched_twice_is_listed_once() -> None:
    steps = [
        [Action(Op.MKDIR, "d", new=FOLDER, reason="new")],
        [Action(Op.SETMETA, "d", new=replace(FOLDER, mode=0o555), old=FOLDER, reason="mode")],
    ]
    assert [str(line) for line in listed(Plan(steps))] == ["+ d/"]
    assert words.summarise(plan_result(Plan(steps))).startswith("plan: 1 to create, 0 to change, ")


def test_deletes_and_moves_are_never_hidden_among_new_files() -> None:
    actions = [create(f"lib/{number}", 1) for number in range(500)]
    actions += [Action(Op.MOVE, "lib/moved", new=FILE, source="from", moved=FILE)]
    actions += [Action(Op.DELETE, f"lib/old{number}", old=FILE) for number in range(3)]
    lines = [str(line) for line in listed(Plan([actions]))]
    assert lines == [
        "+ lib/…  500 new, 500 B",
        "→ from → lib/moved",
        "- lib/old0  1.2 MB",
        "- lib/old1  1.2 MB",
        "- lib/old2  1.2 MB",
    ]
    many = [create(f"a{number}/x", 1) for number in range(100)]
    many += [Action(Op.DELETE, f"b{number}/x", old=FILE) for number in range(150)]
    signs = Counter(line.sign for line in listed(Plan([many])))
    assert signs == {"+": plans.LINES + 1, "-": 150}


def test_what_goes_is_never_folded() -> None:
    many = Plan([[Action(Op.DELETE, f"b/{number}", old=FILE) for number in range(2000)]])
    assert [line.sign for line in listed(many)] == ["-"] * 2000


def test_a_new_folder_is_one_line_of_a_folded_plan() -> None:
    actions = [Action(Op.MKDIR, path, new=FOLDER, reason="new") for path in ("photos", "photos/2023")]
    actions += [create(f"photos/2023/{number}", 1000) for number in range(60)]
    lines = [str(line) for line in listed(Plan([actions]))]
    assert lines == ["+ photos/", "+ photos/2023/  60 entries, 60.0 kB"]


def test_a_long_plan_is_folded_by_directory() -> None:
    paths = (
        [f"big/deep/{number}" for number in range(500)] + [f"small/{number}" for number in range(3)] + ["top"]
    )
    lines = [str(line) for line in listed(Plan([[create(path, 1000) for path in paths]]))]
    assert lines == [
        "+ top  1.0 kB",
        "+ big/deep/…  500 new, 500 kB",
        "+ small/0  1.0 kB",
        "+ small/1  1.0 kB",
        "+ small/2  1.0 kB",
    ]


@pytest.mark.parametrize("path", ["{}", "{}/a", "a/{}/b", "a/b/{}", "{0}/{0}/{0}"])
def test_a_folded_plan_fits_and_loses_nothing(path: str) -> None:
    actions = [create(path.format(number), 1) for number in range(1000)]
    lines = listed(Plan([actions]))
    assert len(lines) <= plans.LINES + 1
    tallies = [re.search(r"([\d,]+) new", line.remark) for line in lines]
    assert sum(int(tally[1].replace(",", "")) if tally else 1 for tally in tallies) == 1000
    assert len(listed(Plan([actions]), limit=None)) == 1000


def test_the_summary_of_a_plan() -> None:
    assert words.summarise(plan_result()) == (
        "plan: 3 to create, 2 to change, 3 to move (1,002 entries), 1 to delete (37 entries); "
        "2.5 MB to send, 5.0 MB need not be sent"
    )
    assert words.summarise(plan_result(Plan())) == "plan: nothing to do (1,234 entries unchanged)"


# The end of a run


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (
            run_result(DONE[1:3]),
            "1 created, 1 moved, nothing sent in 4.1 s → sftp://host/dest",
        ),
        (
            run_result([create("a")], problems=[PROBLEM]),
            "1 created, 1.2 MB sent in 4.1 s, 1 problem → sftp://host/dest",
        ),
        (run_result([], problems=[PROBLEM]), "nothing done, 1 problem → sftp://host/dest"),
        (
            Result("run", "/src", "sftp://host/dest", entries=1234),
            "nothing to do, no connection made (1,234 entries unchanged)",
        ),
        (
            Result("run", "/src", "sftp://host/dest", notes=[PROBLEM], entries=1),
            "nothing to do, no connection made, 1 note (-v shows them) (1 entry unchanged)",
        ),
        (Result("run", "/src", "sftp://host/dest", connected=True), "nothing to do"),
    ],
)
def test_the_summary_of_a_run(result: Result, line: str) -> None:
    assert words.summarise(result) == line


def test_cron_gets_one_line_and_problems_on_stderr() -> None:
    reporter, out, err = plain("run")
    live_through(reporter, run_result(problems=[PROBLEM]), 3)
    assert out.getvalue().startswith("reconcile: 3 created, 2 changed, 3 moved")
    assert out.getvalue().count("\n") == 1
    assert err.getvalue().splitlines() == [
        r"reconcile: note: the server can't do [/this]\x1b[31m",
        r"reconcile: problem: bad\nname: permission denied",
    ]


def test_a_plan_that_nobody_watches_is_plain_text() -> None:
    reporter, out, err = plain("plan")
    live_through(reporter, plan_result())
    assert "\x1b" not in out.getvalue() + err.getvalue()
    title, *lines, block, gone, summary = out.getvalue().splitlines()
    assert title == "/src → sftp://host/dest"
    assert lines[0] == "  (+ new  ~ changed  → moved  - deleted)"
    assert re.fullmatch(r"  → 2023/ → pics/2023/ +1,000 entries", lines[-1])
    assert block == "To delete there:"
    assert gone.index("37") == lines[-1].index("1,000")
    assert gone.split() == ["-", "old/", "37", "entries"]
    assert summary.startswith("reconcile: plan: 3 to create")


def test_a_plan_that_deletes_nothing_has_no_block_of_it() -> None:
    reporter, out, _ = plain("plan")
    reporter.finish(plan_result(Plan([[create("a")]])), 0)
    assert out.getvalue().splitlines()[1:] == [
        "  (+ new)",
        "  + a  1.2 MB",
        "reconcile: plan: 1 to create, 0 to change, 0 to move, 0 to delete; 1.2 MB to send",
    ]


def test_quiet_says_nothing_unless_something_is_wrong() -> None:
    for make in (plain, terminal):
        for command, result in (("run", run_result()), ("plan", plan_result())):
            reporter, out, err = make(command, quiet=True)
            live_through(reporter, result)
            assert out.getvalue() + err.getvalue() == ""
    reporter, out, err = plain("run", quiet=True)
    live_through(reporter, run_result(problems=[PROBLEM]), 3)
    assert out.getvalue() == ""
    assert "permission denied" in err.getvalue()
    assert "1 problem" in err.getvalue()


def test_a_warning_is_told_also_to_who_asked_for_quiet() -> None:
    for make in (plain, terminal):
        reporter, out, err = make("run", quiet=True)
        reporter.phase("apply")
        reporter.say("only said")
        reporter.warn("kept [/there]\x1b")
        reporter.warn("kept [/there]\x1b")
        told = seen(out.getvalue() + err.getvalue())
        assert told.count("note: kept [/there]\\x1b") == 1
        assert "only said" not in told

    def end(reporter: Recorder) -> None:
        reporter.warn("kept")
        reporter.finish(run_result(), 0)

    body = as_json("run", end)
    assert isinstance(body["notes"], list)
    assert [note["message"] for note in body["notes"]] == ["kept"]


def test_verbose_shows_every_action_and_note() -> None:
    reporter, out, _ = plain("run", verbose=True)
    live_through(reporter, run_result(notes=[Problem("pipe", Stage.SCAN, Reason.SPECIAL, "a FIFO")]))
    assert "  → b → a\n" in out.getvalue()
    assert "reconcile: note: pipe: a FIFO\n" in out.getvalue()
    assert "(-v shows them)" not in out.getvalue()


def test_problems_of_one_cause_are_one_line() -> None:
    def failed(path: str, reason: Reason, message: str) -> Problem:
        return Problem(path, Stage.APPLY, reason, message)

    full = "the remote disk is full"
    problems = [failed("first", Reason.NO_SPACE, f"write the file: {full}")]
    problems += [failed(f"f{number}", Reason.NO_SPACE, f"not sent: {full}") for number in range(488)]
    problems += [failed(f"g{number}", Reason.MISSING, f"'g{number}' is gone") for number in range(4)]
    problems += [failed(f"h{number}", Reason.DENIED, "no") for number in range(3)]
    assert words.fold_problems(problems, {"f7": Since("2026-11-20", 5)}) == [
        f"489 paths, such as first, f0, f1: write the file: {full} (failing since 2026-11-20, 5 runs)",
        "4 paths, such as g0, g1, g2: 'g0' is gone",
        "h0: no",
        "h1: no",
        "h2: no",
    ]


def test_many_problems_are_folded() -> None:
    causes = [chr(ord("a") + number) for number in range(26)]
    problems = [Problem(cause, Stage.SCAN, Reason.UNREADABLE, cause) for cause in causes]
    problems += [Problem(str(number), Stage.APPLY, Reason.CHANGED, "no") for number in range(1200)]
    lines = words.fold_problems(problems, {})
    assert len(lines) == 21
    assert lines[-1] == "… and 1,206 more: 1,200 changed, 6 unreadable (--json lists all)"


def test_a_problem_that_stays_says_since_when() -> None:
    failing = {PROBLEM.path: Since("2026-11-20", 5)}
    result = run_result(problems=[PROBLEM], failing=failing)
    for make in (plain, terminal):
        reporter, _, err = make("run")
        live_through(reporter, result)
        line = r"problem: bad\nname: permission denied (failing since 2026-11-20, 5 runs)"
        assert line in seen(err.getvalue())
    assert words.fold_problems([PROBLEM], {PROBLEM.path: Since("2026-11-20", 1)}) == [
        r"bad\nname: permission denied"
    ]
    body = as_json("run", lambda reporter: reporter.finish(result, 3))
    assert isinstance(body["problems"], list)
    assert [(problem["since"], problem["runs"]) for problem in body["problems"]] == [("2026-11-20", 5)]


def test_what_is_not_known_to_be_on_the_disk_is_told_to_who_asks() -> None:
    words = "1,312 files acknowledged, not yet known to be on the disk there"
    for verbose in (False, True):
        reporter, out, err = plain("run", verbose=verbose)
        live_through(reporter, run_result(unsynced=1312))
        assert (words in out.getvalue()) is verbose
        assert words not in err.getvalue()
    body = as_json("run", lambda reporter: reporter.finish(run_result(unsynced=1312), 0))
    assert body["unsynced"] == 1312


# A terminal


def seen(text: str) -> str:
    """Without colours and cursor movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("verbose", [False, True])
def test_names_are_never_markup_nor_control_codes(verbose: bool) -> None:
    for command, result in (("run", run_result(problems=[PROBLEM])), ("plan", plan_result())):
        reporter, out, err = terminal(command, verbose=verbose)
        live_through(reporter, result)
        assert "\x1b[31mx" not in out.getvalue()
        if command == "plan" or verbose:
            assert r"~ x [/x] [red]:smile:\x1b[31m\r\n\u202e\xff  1.2 MB" in seen(out.getvalue())
        if command == "run":
            assert r"problem: bad\nname: permission denied" in seen(err.getvalue())


def test_progress_counts_to_the_totals_of_the_plan() -> None:
    reporter, out, _ = terminal("run")
    live_through(reporter, run_result())
    assert "0/2.5 MB" in seen(out.getvalue())
    assert "2.5/2.5 MB 2/2 files" in seen(out.getvalue())
    assert seen(out.getvalue()).rstrip().endswith("→ sftp://host/dest")


def meter_of(sizes: Sequence[int]) -> tuple[Meter, list[Action], list[Action]]:
    """A meter, what is to be done, and what is done: empty yet but for a plan before."""
    actions, done = [create(f"f{number}", size) for number, size in enumerate(sizes)], [create("before", 7)]
    return Meter(Plan([actions]), done, 100.0), actions, done


def test_what_is_sent_once_more_is_not_counted_twice() -> None:
    meter, (first, second), done = meter_of([1000, 9000])
    meter.sent(1000, "f0")
    done.append(first)
    meter.sent(8000, "f1")
    assert meter.tell(101.0) == "9.0 kB of 10.0 kB, 1/2 files, 9.0 kB/s, 0.1 s left: f1"
    meter.rewind(110.0)
    assert (meter.shown, meter.total) == (1000, 10_000)
    assert meter.tell(110.0) == "1.0 kB of 10.0 kB, 1/2 files: f1"
    meter.sent(4500, "f1")
    assert meter.tell(111.0) == "5.5 kB of 10.0 kB, 1/2 files, 4.5 kB/s, 1.0 s left: f1"
    meter.sent(4500, "f1")
    done.append(second)
    assert meter.tell(112.0) == "10.0 kB of 10.0 kB, 2/2 files, 4.5 kB/s"


def test_what_settled_unseen_is_not_sent_once_more() -> None:
    meter, (first, _), done = meter_of([1000, 9000])
    meter.sent(1500, "f0")
    done.append(first)
    meter.rewind(110.0)
    assert meter.shown == 1000


def test_a_plan_that_sends_nothing_is_counted_in_steps() -> None:
    delete = Action(Op.DELETE, "old", old=FILE)
    done: list[Action] = []
    meter = Meter(Plan([[delete]]), done, 0.0)
    done.append(delete)
    assert meter.tell(1.0) == "1/1 steps"


def test_a_long_run_that_nobody_watches_says_now_and_then_how_it_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for quiet in (False, True):
        reporter, out, err = plain("run", quiet=quiet)
        reporter.planned(Plan([[create("film", 10**9)]]), Tally())
        for _ in range(90):
            now += 1.0
            reporter.sent(10**6, "film")
        assert out.getvalue() == ""
        told = [] if quiet else [f"{at} MB of 1.0 GB, 0/1 files, 1.0 MB/s" for at in ("30.0", "60.0", "90.0")]
        assert [line.partition(": ")[2].rpartition(", ")[0] for line in err.getvalue().splitlines()] == told


def test_an_attempt_to_connect_again_is_told_with_its_number() -> None:
    for make in (plain, terminal):
        reporter, out, err = make("run")
        reporter.retrying("the connection was lost (no answer)", 1, 5, 0)
        reporter.retrying("not connected (refused)", 2, 5, 1.5)
        told = seen(out.getvalue() + err.getvalue())
        assert "the connection was lost (no answer); connecting again, attempt 1 of 5" in told
        assert "not connected (refused); connecting again in 1.5 s, attempt 2 of 5" in told


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    reporter, out, _ = terminal("plan")
    reporter.finish(plan_result(), 0)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", out.getvalue())


def test_the_reporter_fits_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert type(make_reporter("run")) is PlainReporter
    monkeypatch.setattr("sys.stdout", Screen())
    monkeypatch.setenv("TERM", "xterm")
    assert type(make_reporter("run")) is TerminalReporter
    assert type(make_reporter("run", as_json=True)) is JsonReporter
    monkeypatch.setenv("TERM", "dumb")
    assert type(make_reporter("run")) is PlainReporter


# JSON


def as_json(command: str, end: Callable[[Recorder], None]) -> dict[str, object]:
    out = io.StringIO()
    end(JsonReporter(command, Outlet(out)))
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().isascii()
    body: dict[str, object] = json.loads(out.getvalue())
    return body


def test_the_document_of_a_plan() -> None:
    body = as_json("plan", lambda reporter: live_through(reporter, plan_result(problems=[PROBLEM]), 3))
    assert list(body) == [
        *("version", "source", "target", "status", "exit_code", "counts", "entries", "bytes_to_send"),
        *("bytes_avoided", "kept", "actions", "problems", "notes"),
    ]
    assert body["status"] == "problems"
    assert body["exit_code"] == 3
    assert body["counts"] == {"create": 2, "modify": 1, "move": 3, "delete": 1, "mkdir": 1, "setmeta": 1}
    assert body["entries"] == {"create": 2, "modify": 1, "move": 1002, "delete": 37, "mkdir": 1, "setmeta": 1}
    assert body["bytes_to_send"] == 2 * 1_234_567
    assert isinstance(body["actions"], list)
    moves = [(action["from"], action["path"]) for action in body["actions"] if action["op"] == "move"]
    assert moves == [("a", "b"), ("b", "a"), ("2023", "pics/2023")]
    assert body["actions"][0] == {
        "op": "mkdir",
        "path": "new",
        "from": None,
        "kind": "dir",
        "bytes": 0,
        "reason": "new",
    }
    assert body["problems"] == [
        {
            "path": "bad\nname",
            "stage": "apply",
            "reason": "denied",
            "message": "permission denied",
            "since": None,
            "runs": None,
        }
    ]
    assert isinstance(body["notes"], list)
    assert body["notes"][0]["stage"] == "connect"


def test_the_document_of_a_run() -> None:
    result = run_result(DONE[:3], traffic=Stats(7, 8, 9), phases={"scan": 0.12345})
    body = as_json("run", lambda reporter: reporter.finish(result, 0))
    assert body["status"] == "ok"
    assert body["counts"] == {"create": 0, "modify": 0, "move": 1, "delete": 0, "mkdir": 1, "setmeta": 0}
    assert (body["connected"], body["requests"], body["bytes_sent"], body["bytes_received"]) == (
        True,
        7,
        8,
        9,
    )
    assert (body["duration_s"], body["phases"]) == (4.12, {"scan": 0.123})


@given(st.binary(min_size=1).map(lambda raw: raw.replace(b"\0", b"x")))
def test_names_come_out_of_json_as_the_bytes_they_are(raw: bytes) -> None:
    result = plan_result(Plan([[create(os.fsdecode(raw))]]))
    name = json.loads(json.dumps(document(result, status="ok", exit_code=0)))["actions"][0]["path"]
    assert name.encode("utf-8", "surrogateescape") == raw


def break_off(reporter: Recorder) -> None:
    reporter.about("/src", "sftp://host/dest")
    reporter.phase("apply")
    reporter.planned(PLAN, tally := Tally())
    end(reporter, tally, Outcome(create("a")))
    end(reporter, tally, Outcome(create("b"), problem=PROBLEM))
    reporter.fail("unreachable", 6, "the connection broke")


def test_a_run_that_broke_off_tells_what_it_did() -> None:
    body = as_json("run", break_off)
    assert body["source"] == "/src"
    assert (body["status"], body["exit_code"], body["message"]) == ("unreachable", 6, "the connection broke")
    assert isinstance(body["counts"], dict)
    assert body["counts"]["create"] == 1
    assert body["connected"] is True
    assert body["requests"] is None
    for make in (plain, terminal):
        reporter, _, err = make("run")
        break_off(reporter)
        lines = seen(err.getvalue()).splitlines()
        assert lines[-1] == "reconcile: error: the connection broke"
        assert "1 created" in lines[-2]
        assert "permission denied" in lines[-3]


def test_an_interruption_says_what_state_things_are_in() -> None:
    def explain(code: Exit, phases: Sequence[str], **how: bool) -> str:
        result = run_result([], phases=dict.fromkeys(phases, 0.1))
        return words.explain_interruption(code, result, **how)

    assert explain(Exit.INTERRUPTED, ("scan", "connect", "survey")) == "interrupted; nothing was done"
    assert explain(Exit.HUNG_UP, ("scan", "connect", "apply")) == (
        "hung up; what was acknowledged is remembered, and the next run goes on from there "
        "(9 of 9 steps are left)"
    )
    assert "the next run finds out" in explain(Exit.TERMINATED, ("scan", "apply"), at_once=True)
    reading = ("load", "connect", "survey", "verify")
    assert explain(Exit.TERMINATED, reading, at_once=True) == "terminated; nothing was done"
    assert words.explain_interruption(Exit.TERMINATED, plan_result()) == "terminated; nothing was done"


def test_a_terminal_gets_its_cursor_back(tmp_path: Path) -> None:
    """By the handler of a signal, which may have come in the middle of drawing."""
    with (tmp_path / "screen").open("w") as stream:
        TerminalReporter("run", Outlet(stream), Outlet(stream)).abandon(130, "interrupted \u2026")
    said = (tmp_path / "screen").read_bytes().decode()
    assert said == "\r\x1b[K\x1b[?25hreconcile: error: interrupted …\n"


# Outputs that go away


def test_a_closed_pipe_ends_no_run() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        outlet = Outlet(stream)
        reporter = PlainReporter("run", outlet, outlet, verbose=True)
        live_through(reporter, run_result(problems=[PROBLEM]))
        assert outlet.broken


SCAN_ON_A_TERMINAL = """
import os, sys, threading
import reconcile.source.scan
from reconcile.core.filters import Filter
from reconcile.core.job import Options
from reconcile.report import make_reporter

reconcile.source.scan.SHARE_FROM = 3
reconcile.source.fork._cores = lambda: 2
forked = []
real = reconcile.source.scan.start_half
reconcile.source.scan.start_half = lambda *given: forked.append(real(*given)) or forked[-1]
reporter = make_reporter("run")
reporter.phase("scan")
found = reconcile.source.scan.scan(sys.argv[1], Filter(), Options(), None)
reporter.close()
print(type(reporter).__name__, threading.active_count(), len(forked), found.entry_count)
"""


def test_a_scan_is_shared_on_a_terminal_too(tmp_path: Path) -> None:
    """Threads don't survive a fork: what is shown meanwhile is drawn without one."""
    for number in range(8):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}" / "f").touch()
    mine, side = pty.openpty()
    command = [sys.executable, "-c", SCAN_ON_A_TERMINAL, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm"}
    with subprocess.Popen(command, stdout=side, env=environment) as process:
        os.close(side)
        seen_there = b""
        while chunk := _read_on(mine):
            seen_there += chunk
    os.close(mine)
    assert process.returncode == 0
    assert b"looking at the source" in seen_there
    assert b"TerminalReporter 1 1 16" in seen_there


def _read_on(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # EIO: nobody has the other side any more
        return b""
