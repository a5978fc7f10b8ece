"""What programs call: ``import reconcile``, as the README has it."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import reconcile
from reconcile.core.errors import Exit
from reconcile.core.model import Op
from reconcile.state.history import read_runs
from tests.readme import README
from tests.support.trees import Tree, build_tree

Build = Callable[[Tree], Path]


def test_the_example_of_the_readme(
    tree: Build, dest: Path, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tree({"a": "a", "b.tmp": "b", "d": {"c": "c"}})
    monkeypatch.setenv("RECONCILE_STATE", str(state))
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    text = example.replace("~/photos", str(source)).replace("me@nas.example.org:photos", str(dest))
    assert text.count(str(dest)) == 1
    exec(compile(text, "README.md", "exec"), {})  # noqa: S102 - ours
    out = capsys.readouterr().out.splitlines()
    assert sorted(out[:3]) == ["create a 1", "create d/c 1", "mkdir d 0"]
    assert re.fullmatch(r"3 done, \d+ bytes sent", "\n".join(out[3:]))
    assert (dest / "d" / "c").read_text() == "c"
    assert not (dest / "b.tmp").exists()
    (run,) = state.rglob("history")
    assert [each.exit_code for each in read_runs(str(run.parent))] == [Exit.OK]


def test_a_job_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tree(tmp_path, {"src": {"a": "a", "b": "b"}})
    (tmp_path / "reconcile.toml").write_text(
        '[jobs.one]\nsource = "src"\ntarget = "./to"\nexclude = ["b"]\nping = "http://127.0.0.1:9/"\n'
        'before = "exit 1"\nquiet = true\n'
    )
    (tmp_path / "reconcile.toml").chmod(0o644)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    job = reconcile.job("one")
    assert isinstance(job, reconcile.Job)
    assert [(action.op, action.path) for action in reconcile.plan(job).done] == [(Op.CREATE, "a")]
    assert not (tmp_path / "to").exists()
    assert len(reconcile.run(job).done) == 1
    assert reconcile.run(reconcile.job("one", config=tmp_path / "reconcile.toml")).connected is False
    with pytest.raises(reconcile.UsageError, match="there is no job 'two'"):
        reconcile.job("two")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mirro": True}, "mirro is no option of a job"),
        ({"ping": "http://example.org"}, "ping is no option of a job"),
        ({"mirror": "yes"}, "mirror takes True or False, not str"),
        ({"exclude": [1]}, "exclude takes a list of strings"),
        ({"max_delete": ["1"]}, "max_delete takes"),
        ({"max_delete": "many"}, "--max-delete takes a number"),
        ({"links": "some"}, "'some' is not one of"),
        ({"retries": "some"}, "'some' is not a valid int"),
        ({"identity": "~/.ssh/id"}, "--identity means nothing where DEST is file://"),
    ],
)
def test_options_that_are_none(options: dict[str, object], said: str, source: Path, dest: Path) -> None:
    with pytest.raises(reconcile.UsageError, match=re.escape(said)):
        reconcile.job(source, str(dest), **options)


def test_options_are_those_of_run(source: Path, dest: Path, state: Path) -> None:
    job = reconcile.job(
        source,
        str(dest),
        state=state,
        mirror=True,
        exclude="*.o",
        include=("a.o",),
        default_excludes=False,
        retries=7,
        wait=1.5,
        only=["docs"],
        max_delete=None,
    )
    assert (job.options.mirror, job.options.retries, job.options.wait) == (True, 7, 1.5)
    assert job.options.filters == ("*.o", "!a.o")
    assert job.options.only == ("docs",)
    assert Path(job.state).parent == state


def test_what_ends_a_run_is_raised_and_known(
    source: Path, dest: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "reconcile")
    (source / "a").touch()
    job = reconcile.job(source, str(dest), state=state, rehash=True)
    assert reconcile.run(job).problems == []
    (source / "a").unlink()
    source.rmdir()
    with pytest.raises(reconcile.Refused) as refused:
        reconcile.run(job)
    assert refused.value.exit_code == Exit.REFUSED
    assert [run.status for run in read_runs(job.state)] == ["ok", "refused"]


def test_importing_it_is_quick() -> None:
    """Nouns and errors at most: whoever wants a version wants nothing else."""
    code = "import sys, reconcile; print(*(name for name in sys.modules if name.startswith('reconcile')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"reconcile", "reconcile.core", "reconcile.core.errors"}
