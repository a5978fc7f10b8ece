"""The README tells all commands and options, and shows what is really printed."""

import re

import click
import pytest

from reconcile.cli import commands
from reconcile.core.errors import Exit
from reconcile.core.model import Op
from tests.readme import README, insert, make_blocks, names

TEXT = README.read_text()


def test_output_is_what_is_printed() -> None:
    """If this fails, look at the difference, then run ``python -m tests.readme``."""
    blocks = make_blocks()
    assert sorted(names(TEXT)) == sorted(blocks)
    assert insert(TEXT, blocks) == TEXT


@pytest.mark.parametrize("name", commands.commands)
def test_every_command_and_option_is_there(name: str) -> None:
    assert f"reconcile {name}" in TEXT
    for parameter in commands.commands[name].params:
        if isinstance(parameter, click.Option):
            for option in parameter.opts:
                assert re.search(rf"`[^`]*{re.escape(option)}\b", TEXT), f"{name} {option}"


def test_every_exit_code_is_there() -> None:
    for code in Exit:
        assert f"| {code.value} |" in TEXT


def test_every_counted_action_is_there() -> None:
    for op in Op:
        assert f'"{op.value}": ' in TEXT
