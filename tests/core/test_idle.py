"""Patterns that can have no effect are told."""

from __future__ import annotations

import pytest

from reconcile.core.filters import make_filter
from reconcile.core.idle import idle_patterns


def told(*lines: str, top: tuple[str, ...] = ()) -> list[str]:
    return list(idle_patterns(make_filter(lines), ["/home/me/site", "/mnt/disk"], lambda name: name in top))


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (["./x"], "write '/x'"),
        (["a", "../other/"], "write '/other'"),
        (["a/./b"], "write '/a/b'"),
        (["~/x"], "write '/x'"),
        (["site/uploads/"], "write '/uploads'"),
        (["/site/uploads"], "write '/uploads'"),
        (["/home/me/site/uploads"], "write '/uploads'"),
        (["disk/uploads"], "write '/uploads'"),
        (["/home/me/site/"], "write the path below SRC"),
        (["!*.jpg"], "there is none"),
        (["# all", "", "!*.jpg", "*.tmp"], "there is none"),
        (["logs/", "!logs/keep.txt"], "exclude 'logs/*' instead"),
        (["logs/*", "!/logs/deep/keep.txt"], "exclude 'logs/deep/*' instead"),
    ],
)
def test_what_has_no_effect_is_told(lines: list[str], word: str) -> None:
    [message] = told(*lines)
    assert word in message


@pytest.mark.parametrize(
    "lines",
    [
        ["*.tmp", "!keep.tmp"],
        ["/x", "a/b", "logs/"],
        ["site", "site/"],  # at any depth
        ["logs/*", "!logs/keep.txt"],
        ["logs/**", "!logs/*/", "!logs/deep/keep.txt"],
        ["*", "!*/", "!a/b"],
        ["# ./x", "", "..."],
        ["logs/", "!l*/keep.txt"],
    ],
)
def test_others_are_not(lines: list[str]) -> None:
    assert told(*lines) == []


def test_a_folder_in_the_source_may_have_its_name() -> None:
    assert told("site/uploads/", "/home/x", top=("site", "home")) == []
