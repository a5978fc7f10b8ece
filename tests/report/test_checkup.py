"""A checkup as people and machines read it: ``checkup`` and ``units`` of the core, too."""

from __future__ import annotations

import pytest

from reconcile.core.checkup import Checkup, Fact, Part, Standing, in_order
from reconcile.core.units import show_moment
from reconcile.report.checkup import document, rows, summarise

NASTY = "x\x1b[31m\r\n\u202e"
FACTS = [
    Fact(Part.TRIED, "links", "can't be made", Standing.LACKS, "symlinks are not sent " * 5, value=False),
    Fact(Part.LINE, "round trip", "0.2 ms", value=0.0002),
    Fact(Part.SERVER, "software", NASTY),
    Fact(Part.SERVER, "extensions", "posix-rename, " * 40, value=["posix-rename"]),
]
CHECKUP = in_order("sftp://me@nas/srv", FACTS)


@pytest.mark.parametrize("width", [60, 80, 160])
def test_no_line_is_longer_than_the_screen(width: int) -> None:
    lines = [row.plain for row in rows(CHECKUP, width)]
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line and line[0] != " "] == [
        "Connection",
        "Server",
        "What it does",
    ]


def test_words_of_a_server_command_no_terminal() -> None:
    shown = "\n".join(row.plain for row in rows(CHECKUP, 80))
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert "\u202e" not in shown


def test_what_lacks_stands_out_and_says_what_that_means() -> None:
    lines = [row.plain.strip() for row in rows(CHECKUP, 160)]
    at = next(number for number, line in enumerate(lines) if line.startswith("✗"))
    assert lines[at].endswith("can't be made")
    assert lines[at + 1].startswith("→ symlinks are not sent")


def test_the_last_line_counts() -> None:
    other = Fact(Part.TRIED, "x", "x", Standing.OTHERWISE, "x")
    assert summarise(CHECKUP) == "doctor: 1 thing can't be had"
    assert summarise(Checkup("x")) == "doctor: a job gets all that it may ask for"
    assert summarise(Checkup("x", (other,) * 2)) == "doctor: 2 things are done in another way"
    missing = in_order("x", [Fact(Part.DEST, "folder", "is not there", Standing.OTHERWISE, "a run makes it")])
    assert summarise(missing) == "doctor: nothing was tried, for what is said of DEST above"
    both = "doctor: 1 thing can't be had, 1 is done in another way"
    assert summarise(Checkup("x", (*CHECKUP.facts, other))) == both


def test_a_machine_gets_values() -> None:
    body = document(CHECKUP, status="problems", exit_code=3)
    assert {fact["name"]: fact["value"] for fact in body["facts"]} == {
        "round trip": 0.0002,
        "software": NASTY,
        "extensions": ["posix-rename"],
        "links": False,
    }


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 µs"), (8e-6, "8 µs"), (2.1e-4, "0.21 ms"), (0.0034, "3.4 ms"), (0.034, "34 ms"), (1.26, "1.3 s")],
)
def test_moments(seconds: float, shown: str) -> None:
    assert show_moment(seconds) == shown
