"""The pictures of what people see can be made, and fit."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from tests.screens import SCENES, make
from tests.support.screen import Screen


def test_a_plan_on_a_narrow_terminal() -> None:
    screen = make("plan", 80)
    lines = screen.lines
    assert re.fullmatch(r"  \(\+ new  ~ changed  → moved  - deleted\)", lines[1])
    assert lines[lines.index("To delete there:") + 1].split() == ["-", "old/1.txt", "1.0", "kB"]
    assert lines[-2] == "to do it: reconcile run site ./server --mirror"
    told = (" 5.0 MB", " mode 755", " 61 entries")
    assert len({line.index(each) for line in lines[:8] for each in told if each in line}) == 1
    picture = screen.picture("plan")
    ET.fromstring(picture)  # noqa: S314 - our own
    assert "@font-face" not in picture
    assert len(set(re.findall(r"fill: #[0-9a-f]{6}", picture))) > 3  # colours


def test_a_terminal_that_is_drawn_on_anew() -> None:
    screen = Screen(10)
    screen.feed("one\r\n\x1b[31mtwo\x1b[0m\r\nthree\r\x1b[2K\x1b[1A\x1b[2Kfour and five\r\n")
    assert screen.lines == ["one", "four and f", "ive", ""]


def test_every_command_that_tells_of_a_job_has_a_scene() -> None:
    assert {scene.typed[0] for scene in SCENES.values()} >= {"plan", "run", "verify", "history", "status"}
