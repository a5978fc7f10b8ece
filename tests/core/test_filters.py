"""Filters: gitignore(5), held against git itself; ``brackets`` are a part of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reconcile.core.errors import UsageError
from reconcile.core.filters import make_filter


@pytest.mark.parametrize(
    ("lines", "path", "is_dir", "excluded"),
    [
        ([], "a", False, False),
        (["# a", "", "   "], "a", False, False),
        (["*.pyc"], "a/b/c.pyc", False, True),
        (["*.pyc"], "a/b/c.py", False, False),
        (["build/"], "build", False, False),
        (["build/"], "build", True, True),
        (["build/"], "build/x", False, True),
        (["build/"], "src/build/x", False, True),
        (["/build"], "src/build", False, False),
        (["a/b"], "x/a/b", False, False),
        (["*.log", "!keep.log"], "x/keep.log", False, False),
        (["!keep.log", "*.log"], "x/keep.log", False, True),
        (["x/", "!x/keep"], "x/keep", False, True),
        (["x/*", "!x/keep"], "x/keep", False, False),
        (["x/**", "!x/keep"], "x", True, False),
        (["x/**", "!x/keep"], "x/keep", False, False),
        (["*.txt", "!a"], "a/x.txt", False, True),
        (["*", "!*/", "!*.jpg"], "a/b/x.jpg", False, False),
        (["*", "!*/", "!*.jpg"], "a/b/x.raw", False, True),
        (["*", "!keep", "!keep/**"], "keep/x/y", False, False),
        (["*", "!keep"], "keep/x", False, True),
        (["x/**", "!x/a"], "x/a/b", False, True),
        (["x/**/"], "x/a", False, False),
        (["x/**/"], "x/a", True, True),
        (["**/a"], "a", False, True),
        (["a/**/b"], "a/b", False, True),
        (["a/**/b"], "a/x/y/b", False, True),
        (["\\#x"], "#x", False, True),
        (["\\!x"], "!x", False, True),
        (["a\\ "], "a ", False, True),
        (["a  "], "a", False, True),
        (["foo"], "foobar", False, False),
        (["foo/"], "foobar", True, False),
        (["[!a]x"], "bx", False, True),
        (["[z-a]"], "z", False, True),  # of a range that is none, where it begins
        (["[z-a]"], "b", False, False),
        (["[\\]a]x"], "]x", False, True),
        (["[]a]x"], "]x", False, True),
        (["[a-]x"], "-x", False, True),
        (["[a-c-z]"], "y", False, False),
        (["x[[:digit:]a]"], "x5", False, True),
        (["x[[:digit:]a]"], "xb", False, False),
        (["\\[abc"], "[abc", False, True),
        (["x[^a]"], "x/", True, False),
        (["a\t"], "a", False, False),
        (["a\t"], "a\t", False, True),
        (["a\nb"], "a\nb", False, True),
        (["/***"], "]", False, True),
        (["\\***"], "*x", False, True),
        (["a/***/b"], "a/x/y/b", False, True),
    ],
)
def test_says_what_git_says(lines: list[str], path: str, is_dir: bool, excluded: bool) -> None:
    assert make_filter(lines).excludes(path, is_dir) is excluded


def test_names_are_bytes() -> None:
    odd = make_filter(["a", "b\udcff*"])
    assert odd.excludes("x\ny/a", False)
    assert not odd.excludes("a\n", False)
    assert odd.excludes("b\udcff\udcfe", False)
    assert make_filter(["*"]).excludes("\n", False)


def test_a_deep_path_needs_no_recursion() -> None:
    path = "/".join(["d"] * 5000)
    assert not make_filter(["x"]).excludes(path, False)
    assert make_filter(["d/" * 10]).excludes(path, False)


@pytest.mark.parametrize(
    "line",
    [
        "!",
        "a\\",
        "[abc",
        "a[",
        "[]",
        "[!]",
        "!a[",
        "[\\",
        "[a\\",
        "[a-",
        "[[:digits:]]",
        "[[:alpha",
        "x[a/b]",
        "[//[a-c]",
        "a[//]b",
    ],
)
def test_what_is_no_pattern_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match="filter pattern"):
        make_filter([line])


def test_empty_and_lines() -> None:
    assert make_filter(["# nothing"]).empty
    assert not make_filter(["x"]).empty
    assert make_filter(["x", "!y"]).lines == ("x", "!y")


NAMES = ["a", "b", "ab", "a.b", "-", "]"]
PATHS = [
    "a",
    "ab",
    "a.b",
    "-",
    "]",
    *(f"b/{name}" for name in NAMES if name != "b"),
    *(f"b/b/{name}" for name in NAMES),
    "d/a/b/c",
    "d/b",
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    for path in PATHS:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


BRACKETS = ["[a-c]", "[]-]", "[!a]", "[^]b]", "[d-b-]", "[\\]a-]", "[--0]", "[[:alpha:]]", "[![:punct:]-]"]
# Not here: `**` that is part of a name: it should be as good as `*`, but git takes `a**/b` for `ab` as well.
LINE = (
    st.lists(
        st.sampled_from(
            ["a", "b", "d", ".", "-", "*", "**", "?", "/", "/**/", "\\", "!", "[", "]", *BRACKETS]
        ),
        max_size=5,
    )
    .map("".join)
    .filter(lambda line: not re.search(r"[^/!]\*\*|\*\*[^/]", line))
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINE, min_size=1, max_size=4))
@example(lines=["[//[a-c]"])
def test_agrees_with_git(repository: Path, lines: list[str]) -> None:
    kept = []
    for line in lines:
        try:
            make_filter([line])
        except UsageError:
            continue
        kept.append(line)
    (repository / ".gitignore").write_text("".join(f"{line}\n" for line in kept))
    listed = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin", "-z"],
        cwd=repository,
        input="\0".join(PATHS),
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
        check=False,
    )
    assert listed.returncode in (0, 1), listed.stderr
    chosen = make_filter(kept)
    assert [path for path in PATHS if chosen.excludes(path, False)] == listed.stdout.split("\0")[:-1], kept
