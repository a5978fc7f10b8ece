"""The journal: everything comes back, of every format, and what a newer version wrote is refused by name."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconcile.core.errors import Refused
from reconcile.core.model import Action, Entry, Op, Outcome, Problem, Reason, Stage
from reconcile.state.journal import FORMAT, MAGIC, begin_journal, read_journal
from reconcile.state.unfinished import NAME, discard_journal
from tests.golden.make_interrupted import LEFT, PARKS
from tests.state.test_rows import ENTRIES, NAMES

PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
SOME = st.none() | ENTRIES
EFFECTS = st.dictionaries(PATHS, SOME, max_size=3)
ACTIONS = st.builds(
    Action,
    st.sampled_from(Op),
    PATHS,
    SOME,
    SOME,
    st.none() | PATHS,
    SOME,
    st.none() | PATHS,
    st.lists(st.tuples(PATHS, ENTRIES), max_size=2).map(tuple),
    keep=st.booleans(),
    whole=st.booleans(),
    careful=st.booleans(),
    carried=EFFECTS,
    entries=st.integers(0, 2**40),
    reason=st.text(max_size=4),
)
PROBLEMS = st.builds(Problem, PATHS, st.sampled_from(Stage), st.sampled_from(Reason), st.text(max_size=5))


ENDS = st.lists(st.none() | st.tuples(EFFECTS, st.none() | PROBLEMS), max_size=6)


@settings(max_examples=60)
@given(st.lists(st.lists(ACTIONS, min_size=1, max_size=3), max_size=3), ENDS, st.booleans())
def test_everything_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    levels: Sequence[Sequence[Action]],
    ends: Sequence[tuple[dict[str, Entry | None], Problem | None] | None],
    backwards: bool,
) -> None:
    folder = str(tmp_path_factory.mktemp("state"))
    pairs = zip(chain.from_iterable(levels), ends, strict=False)
    outcomes = [Outcome(action, *end) for action, end in pairs if end is not None]
    if backwards:
        outcomes.reverse()
    with closing(begin_journal(folder, "lineage", 7, -3, levels, ["mark"])) as journal:
        for outcome in outcomes:
            journal.record(outcome)
    leftover = read_journal(folder)
    assert leftover is not None
    assert (leftover.lineage, leftover.serial, leftover.trusted_ns) == ("lineage", 7, -3)
    assert [list(level) for level in leftover.levels] == [list(level) for level in levels]
    assert list(leftover.outcomes) == outcomes
    assert leftover.marks == ("mark",)
    discard_journal(folder)
    assert read_journal(folder) is None


def test_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    begin_journal(str(tmp_path), "lineage", 1, 0, []).close()
    path = tmp_path / NAME
    path.write_bytes(MAGIC + (FORMAT + 1).to_bytes(4, "big") + path.read_bytes()[12:])
    with pytest.raises(Refused, match=rf"newer reconcile \(format {FORMAT + 1}; .*that version once more"):
        read_journal(str(tmp_path))


@pytest.mark.parametrize("archive", LEFT, ids=lambda path: path.name.partition(".")[0])
def test_every_version_ever_written_can_be_read(tmp_path: Path, archive: Path) -> None:
    """What becomes of the runs that left these is tested with the faults."""
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    [state] = os.listdir(tmp_path / "state")
    leftover = read_journal(str(tmp_path / "state" / state))
    assert leftover is not None
    assert len(leftover.actions) == 54
    assert {action.op for action in leftover.actions} >= {Op.CREATE, Op.MODIFY, Op.MOVE, Op.DELETE, Op.MKDIR}
    assert any(outcome.problem is not None for outcome in leftover.outcomes) == ("drifted" in archive.name)
    aside = {action.path: action.source for action in leftover.actions if action.parks}
    assert len(aside) == PARKS
    assert {action.source: action.home for action in leftover.actions if action.home is not None} == aside


def test_there_is_one_of_each_version() -> None:
    assert {path.name.split("-")[1] for path in LEFT} == {f"v{version}" for version in range(1, FORMAT + 1)}
