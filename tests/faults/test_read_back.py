"""A run is killed while it reads back what a full DEST holds: the next one goes on from what was read.

``make test`` takes one READ, ``make torture`` each tenth.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from reconcile.remotes.tree.readback import SPANS
from reconcile.state.readback import NAME
from tests.faults.conftest import TORTURE
from tests.faults.failures import Failures
from tests.faults.runner import Runner
from tests.support.faults import Fault
from tests.support.sshd import start_sshd
from tests.support.trees import File, assert_same_tree, build_tree

KILLED = -9
OLD, OTHER = 1_600_000_000, 1_500_000_000
FILES, DIFFERENT = 200, 7
POINTS: Sequence[int] = range(1, FILES, 10) if TORTURE else (150,)
UNDER_WAY = 2 * SPANS  # files that may have been asked for, and not been told of yet


@pytest.mark.parametrize("state", ["here", "remote"] if TORTURE else ["here"])
def test_killed_while_it_reads_back(tmp_path: Path, tally: Counter[str], state: str) -> None:
    source, dest, before, home = (tmp_path / name for name in ("source", "dest", "before", "state"))
    build_tree(source, {f"f{n}": File(f"{n}" * (1000 + n), mtime=OLD) for n in range(FILES)})
    build_tree(before, {f"f{n}": File(f"{n}" * (1000 + n), mtime=OTHER) for n in range(FILES)})
    build_tree(before, {f"f{n}": File("x" * len(f"{n}" * (1000 + n)), mtime=OTHER) for n in range(DIFFERENT)})
    failures = Failures(tally)
    (tmp_path / "sshd").mkdir()
    with pytest.MonkeyPatch.context() as patch, start_sshd(tmp_path / "sshd", with_shim=True) as sshd:
        patch.setenv("XDG_STATE_HOME", str(home))
        with Runner(tmp_path) as ours:
            where = str(home) if state == "here" else state
            job = [str(source), sshd.url(dest), *sshd.endpoint.flags(), "--state", where, "--adopt-existing"]
            job += ["--wait", "20", "--json"]

            def attempt() -> None:
                shutil.rmtree(home, ignore_errors=True)
                shutil.rmtree(dest, ignore_errors=True)
                shutil.copytree(before, dest)
                sshd.arm(Fault("kill", at, kind="READ", pid_file=str(ours.pid_file)))
                assert ours.run("run", *job).code == KILLED
                assert not sshd.armed
                (kept,) = home.rglob(NAME) if at > UNDER_WAY else [None]
                assert kept is None or kept.stat().st_mode & 0o777 == 0o600
                sshd.requests()
                ran = ours.run("run", *job)
                assert ran.code == 0, ran.out + ran.err
                again = sshd.requests().requests["READ"]
                assert again <= FILES - max(0, at - UNDER_WAY), f"{again} of {FILES} were read once more"
                assert ran.counts == {"modify": DIFFERENT, "setmeta": FILES - DIFFERENT}
                assert_same_tree(source, dest, ignore={".reconcile"})
                assert not [*home.rglob(NAME)], "it is of no use any more"
                assert ours.run("run", *job).counts == {}
                tally["kill points while content was read back"] += 1

            for at in POINTS:
                failures.attempt(f"READ {at}", attempt)
    failures.demand_none()
