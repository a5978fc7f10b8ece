"""The README tells all commands and options, and shows what is really printed.

And what it names of the code is there, as is what the architecture names.
"""

import re

import click
import pytest

from reconcile.commands import NAMES, find_command
from reconcile.core.errors import Exit
from reconcile.core.model import Op
from tests.readme import README, insert, make_blocks, names

TEXT = README.read_text()
ROOT = README.parent


def test_output_is_what_is_printed() -> None:
    """If this fails, look at the difference, then run ``python -m tests.readme``."""
    blocks = make_blocks()
    assert sorted(names(TEXT)) == sorted(blocks)
    assert insert(TEXT, blocks) == TEXT


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_option_is_there(name: str) -> None:
    assert f"reconcile {name}" in TEXT
    for parameter in find_command(name).params:
        if isinstance(parameter, click.Option):
            for option in parameter.opts:
                assert re.search(rf"`[^`]*{re.escape(option)}\b", TEXT), f"{name} {option}"


@pytest.mark.parametrize("name", NAMES)
def test_no_option_means_two_things(name: str) -> None:
    spelled = [
        name for option in find_command(name).params for name in (*option.opts, *option.secondary_opts)
    ]
    assert sorted(spelled) == sorted(set(spelled))


def test_every_exit_code_is_there() -> None:
    for code in Exit:
        assert f"| {code.value} |" in TEXT


def test_every_counted_action_is_there() -> None:
    for op in Op:
        assert f'"{op.value}": ' in TEXT


def test_what_the_layout_names_is_there() -> None:
    layout = TEXT.partition("    reconcile/\n")[2].partition("\n\n")[0]
    for line in layout.splitlines():
        indent = len(line) - len(line.lstrip())
        listed, *_ = re.split(r" {2,}", line.strip())
        for name in listed.split(", "):
            homes = [ROOT, ROOT / "reconcile", ROOT / "reconcile/core", ROOT / "reconcile/remotes"]
            within = homes[:1] if indent == 4 else homes[1:2] if indent == 6 else homes[2:]
            assert any((home / each).exists() for home in within for each in (name, f"{name}.py")), name


def test_every_module_of_the_core_is_in_the_layout() -> None:
    layout = TEXT.partition("      core/")[2].partition("      source/")[0]
    for path in (ROOT / "reconcile/core").glob("[a-z]*.py"):
        assert re.search(rf"\b{path.stem}\b", layout), path.stem


def test_what_the_architecture_names_is_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"`([\w/]+(?:\.py)?)`", text))
    paths = {name for name in named if "/" in name or name.endswith(".py")}
    assert len(paths) > 20
    missing = {
        path for path in paths if not (ROOT / path).exists() and not (ROOT / "reconcile" / path).exists()
    }
    assert not missing
