"""A plan that was looked at is carried out as it was, or not at all, whatever happens meanwhile.

Of the core: ``reviewed``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconcile.cli import main
from reconcile.config import Flags, make_job
from reconcile.core.diff import diff, fill, infer, unread
from reconcile.core.errors import ReconcileError, Refused, UsageError
from reconcile.core.job import Job, Options, Result, Reviewed
from reconcile.core.model import NS, Action, Change, Entry, Kind, Op, Plan, Stamp
from reconcile.core.plan import make_plan as plan_from
from reconcile.core.reviewed import check_same, leave_others
from reconcile.pipeline import make_plan, run
from reconcile.report import Recorder
from reconcile.state.journal import begin_journal
from reconcile.state.saved import Saved, read_plan, save_plan
from tests.support.jobs import JobTo
from tests.support.quirky import Quirk
from tests.support.trees import File, Link, Tree, assert_same_tree, build_tree, read_tree
from tests.support.world import Edit, Steps, trees
from tests.support.world import World as InMemory

OLD = 1_600_000_000
FLAGS = {"mirror": True, "exclude": ("a", "b"), "max_delete": None}
BEFORE: Tree = {
    "changes": File("one", mtime=OLD),
    "mode": File("#!", mtime=OLD),
    "link": Link("changes"),
    "goes": File("gone", mtime=OLD),
    "gone": {"a": File("a", mtime=OLD), "b": File("b", mtime=OLD)},
    "old": {"x": File("x" * 50, mtime=OLD), "y": File("y" * 60, mtime=OLD)},
    "same": {"s": File("stays", mtime=OLD), "t": File("t", mtime=OLD)},
    "was-file": File("f", mtime=OLD),
}


class World:
    """SRC, DEST and the state, and what was planned for them."""

    def __init__(self, folder: Path) -> None:
        self.source, self.dest, self.folder = folder / "source", folder / "dest", folder
        self.job = self.make_job(self.source)
        build_tree(self.source, BEFORE)
        run(self.job, Recorder("run"))
        self.edit()
        self.saved = folder / "a.plan"
        planned = self.plan()
        assert len(list(planned.plan.actions)) == 9
        self.save(planned)

    def make_job(self, source: Path, state: str = "state") -> Job:
        flags = Flags(str(source), str(self.dest), state=str(self.folder / state), mirror=True, job="web")
        return make_job(flags)

    def edit(self) -> None:
        """Something of each kind."""
        (self.source / "changes").write_text("two, which is more")
        (self.source / "mode").chmod(0o755)
        (self.source / "link").unlink()
        (self.source / "link").symlink_to("mode")
        (self.source / "goes").unlink()
        shutil.rmtree(self.source / "gone")
        (self.source / "old").rename(self.source / "moved")
        (self.source / "was-file").unlink()
        (self.source / "was-file").mkdir()
        (self.source / "was-file/new").write_text("new")

    def plan(self) -> Result:
        return make_plan(replace(self.job, exact=True), Recorder("plan"))

    def save(self, planned: Result) -> None:
        reviewed = Reviewed(*planned.footing, list(planned.plan.actions))
        save_plan(str(self.saved), Saved((planned.source, planned.target), FLAGS, reviewed))

    def run(self, job: Job | None = None) -> Result:
        reviewed = read_plan(str(self.saved)).reviewed
        return run(replace(job or self.job, reviewed=reviewed, exact=True), Recorder("run"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


Step = Callable[[World], object]


def put(path: str, content: str) -> Step:
    return lambda world: (world.folder / path).write_text(content)


def put_unseen(path: str, content: str) -> Step:
    """Another content of the same size, with the time it had."""

    def step(world: World) -> None:
        file = world.folder / path
        info = file.stat()
        assert info.st_size == len(content)
        file.write_text(content)
        os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))

    return step


def drop(path: str) -> Step:
    def step(world: World) -> None:
        place = world.folder / path
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()

    return step


def chmod(path: str, mode: int) -> Step:
    return lambda world: os.chmod(world.folder / path, mode)


def move(path: str, to: str) -> Step:
    return lambda world: os.rename(world.folder / path, world.folder / to)


def touch(path: str) -> Step:
    return lambda world: os.utime(world.folder / path)


def replace_by(path: str, by: Step) -> Step:
    def step(world: World) -> None:
        drop(path)(world)
        by(world)

    return step


def link(path: str, to: str) -> Step:
    return replace_by(path, lambda world: os.symlink(to, world.folder / path))


def copied(path: str) -> Step:
    """Another inode with the same content, mode and time."""

    def step(world: World) -> None:
        copy = world.folder / "copy"
        shutil.copy2(world.folder / path, copy)
        copy.rename(world.folder / path)

    return step


def run_again(world: World) -> None:
    run(world.job, Recorder("run"))


def begun(world: World) -> None:
    """A run broke off just after it had written down what it intends."""
    planned = world.plan()
    begin_journal(world.job.state, *planned.footing, 0, planned.plan.levels).close()


def by_another_machine(world: World) -> None:
    """All of SRC is copied: no inode, change time or folder is the same, and of some the time is not."""
    shutil.copytree(world.source, world.folder / "checkout", symlinks=True)
    for path in (world.folder / "checkout").rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path)
    shutil.rmtree(world.source)
    (world.folder / "checkout").rename(world.source)


REFUSED: dict[str, tuple[Step, str]] = {
    "a changed file": (put_unseen("source/changes", "TWO, WHICH IS MORE"), "'changes' holds something else"),
    "its size": (put("source/changes", "3"), "'changes' holds something else"),
    "as it was before": (put("source/changes", "one"), "'changes' would not be changed"),
    "gone": (drop("source/changes"), "'changes' would be deleted by now, and not changed"),
    "a link": (link("source/changes", "x"), "'changes' is a symlink by now"),
    "a FIFO": (
        replace_by("source/changes", lambda world: os.mkfifo(world.source / "changes")),
        "'changes' would be deleted by now, and not changed",
    ),
    "a new file": (put_unseen("source/was-file/new", "NEW"), "'was-file/new' holds something else"),
    "a new file is gone": (drop("source/was-file/new"), "'was-file/new' would not be created"),
    "its mode": (chmod("source/was-file/new", 0o600), "'was-file/new' has mode 600 by now, and not 644"),
    "another mode": (chmod("source/mode", 0o700), "'mode' has mode 700 by now, and not 755"),
    "the mode before": (chmod("source/mode", 0o644), "'mode' would not be given another mode"),
    "a link leads elsewhere": (link("source/link", "goes"), "'link' is a link to elsewhere"),
    "a deleted file is back": (put("source/goes", "back"), "'goes' would be changed by now, and not deleted"),
    "a deleted folder is back": (lambda w: (w.source / "gone").mkdir(), "'gone' would not be deleted"),
    "a moved folder is back": (move("source/moved", "source/old"), "'moved' would not be moved here"),
    "moved elsewhere": (move("source/moved", "source/away"), "'moved' would not be moved here"),
    "new in what is moved": (put("source/moved/z", "z"), "'moved/z' would be created, which was not planned"),
    "changed in what is moved": (put("source/moved/x", "other"), "'moved"),
    "a new folder is a file": (
        replace_by("source/was-file", put("source/was-file", "f")),
        "'was-file' would not be deleted any more",
    ),
    "another run": (run_again, "a run was made since"),
    "a run was interrupted": (begun, "A run was interrupted"),
    "no state": (drop("state"), "there is no state here"),
    "changed there": (put("dest/changes", "theirs"), "'changes' is not as it was left there"),
    "gone there": (drop("dest/changes"), "'changes' is gone there"),
    "new there": (put("dest/moved", "theirs"), "'moved' is there, and was not"),
    "deleted, and changed there": (put("dest/goes", "theirs"), "'goes' is not as it was left there"),
    "changed in what is deleted": (put("dest/gone/a", "theirs"), "'gone/a' is not as it was left there"),
    "changed there in what is moved": (put("dest/old/x", "theirs"), "'old/x' is not as it was left there"),
    "what is moved is gone there": (drop("dest/old"), "'old' is gone there"),
    "a link leads elsewhere there": (link("dest/link", "/"), "'link' is not as it was left there"),
}
UNAFFECTED: dict[str, Step] = {
    "nothing": lambda _: None,
    "another inode": copied("source/changes"),
    "another time": touch("source/changes"),
    "another time of a new file": touch("source/was-file/new"),
    "another time in what is moved": touch("source/moved/x"),
    "another time of what stays": touch("source/same/s"),
    "another machine": by_another_machine,
    "changed elsewhere": put("source/same/s", "other"),
    "new elsewhere": put("source/same/n", "n"),
    "new in a new folder": put("source/was-file/later", "n"),
    "gone elsewhere": drop("source/same/t"),
    "changed there elsewhere": put("dest/same/s", "theirs"),
    "new there elsewhere": put("dest/theirs", "theirs"),
    "not ours in what is deleted there": put("dest/gone/theirs", "theirs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_as_it_was_is_refused_and_nothing_is_done(name: str, world: World) -> None:
    change, why = REFUSED[name]
    change(world)
    before = read_tree(world.dest)
    with pytest.raises(Refused) as refused:
        world.run()
    assert why in str(refused.value)
    assert "Nothing was done." in str(refused.value)
    assert read_tree(world.dest) == before
    if name != "a run was interrupted":
        with pytest.raises(Refused):  # the second time, too
            world.run()


@pytest.mark.parametrize("name", UNAFFECTED)
def test_what_is_no_difference_does_not_keep_it_from_being_done(name: str, world: World) -> None:
    UNAFFECTED[name](world)
    planned = what(read_plan(str(world.saved)).reviewed.actions)
    left = read_tree(world.dest / "same")
    result = world.run()
    assert not result.problems
    assert what(result.ended) == planned
    assert (world.dest / "changes").read_text() == "two, which is more"
    assert not (world.dest / "goes").exists()
    assert read_tree(world.dest / "same") == left  # which was not planned
    run(world.job, Recorder("run"))
    if "there" not in name:
        assert_same_tree(world.source, world.dest, ignore=[".reconcile"])


def what(actions: Iterable[Action]) -> set[tuple[Op, str]]:
    """All but times, which follow the content."""
    return {(a.op, a.path) for a in actions if a.op is not Op.SETMETA or a.path == "mode"}


def test_a_plan_is_carried_out_once(world: World) -> None:
    world.run()
    with pytest.raises(Refused, match="a run was made since"):
        world.run()


def test_a_first_run_is_planned_and_carried_out(tmp_path: Path, world: World) -> None:
    world.job, world.dest = replace(world.job, state=str(tmp_path / "fresh")), tmp_path / "elsewhere"
    flags = Flags(str(world.source), str(world.dest), state=str(tmp_path / "fresh"))
    world.job = make_job(flags)
    world.save(world.plan())
    assert not world.dest.exists()
    world.run()
    assert_same_tree(world.source, world.dest, ignore=[".reconcile"])
    assert run(world.job, Recorder("run")).plan.empty


def test_nothing_to_do_is_a_plan_too(world: World) -> None:
    run(world.job, Recorder("run"))
    world.save(world.plan())
    assert not world.run().connected
    (world.source / "changes").write_text("later")
    assert not world.run().ended


def test_a_file_that_changes_while_it_is_sent_is_not_sent_as_it_is_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Meddling(Recorder):
        def planned(self, *_: object) -> None:
            (world.source / "changes").write_text("changed after all was looked at")

    job = replace(world.job, reviewed=read_plan(str(world.saved)).reviewed, exact=True)
    result = run(job, Meddling("run"))
    assert [problem.path for problem in result.problems] == ["changes"]
    assert (world.dest / "changes").read_text() == "one"


def planned_of(world: InMemory, options: Options, *, of: Iterable[Action] | None = None) -> Plan:
    """A plan that knows all it would send; ``of``: with what is left of the changes beside a reviewed one."""
    scan = world.local.scan(())
    changes: Sequence[Change] = diff(world.snapshot, scan, world.filter, options)
    changes = infer(changes if of is None else leave_others(changes, of), options)
    changes = infer(fill(changes, world.local.read(unread(changes, all_of_it=True)), set()), options)
    return plan_from(world.snapshot, scan, changes, options)


def within(top: str, steps: Steps) -> Steps:
    """The same edits in a folder."""
    edits = [step for step in steps if isinstance(step, Edit)]
    return [Edit(e.what, f"{top}/{e.path}", f"{top}/{e.other}", e.content) for e in edits]


@given(trees(), trees(), trees(), st.booleans())
def test_whatever_happens_elsewhere_is_no_difference(
    first: Steps, second: Steps, third: Steps, mirror: bool
) -> None:
    world, options = InMemory(), Options(mirror=mirror)
    world.edit([*within("x", first), *within("y", first)])
    world.reconcile(options)
    world.edit(within("x", second))
    reviewed = list(planned_of(world, options).actions)
    world.edit(within("y", third))
    check_same(reviewed, planned_of(world, options, of=reviewed))


def test_a_plan_is_carried_out_on_a_server(job_to: JobTo, source: Path, served: Path) -> None:
    """That tells of links where they lead, as a whole path."""
    job = job_to(Quirk.READLINK_WHOLE)
    build_tree(source, BEFORE)
    run(job, Recorder("run"))
    (source / "old").rename(source / "moved")
    (source / "changes").write_text("two")
    (source / "link").unlink()
    (source / "link").symlink_to("mode")
    planned = make_plan(replace(job, exact=True), Recorder("plan"))
    reviewed = Reviewed(*planned.footing, list(planned.plan.actions))
    (served / "dest/old/x").write_text("theirs")
    with pytest.raises(Refused, match="'old/x' is not as it was left there"):
        run(replace(job, reviewed=reviewed, exact=True), Recorder("run"))
    shutil.copy2(source / "moved/x", served / "dest/old/x")
    result = run(replace(job, reviewed=reviewed, exact=True), Recorder("run"))
    assert what(result.ended) == what(reviewed.actions)
    assert_same_tree(source, served / "dest", ignore=[".reconcile"])


# The file


def test_a_plan_file_is_for_nobody_else_and_replaced_whole(world: World) -> None:
    assert stat.S_IMODE(world.saved.stat().st_mode) == 0o600
    world.saved.chmod(0o644)
    world.save(world.plan())
    assert stat.S_IMODE(world.saved.stat().st_mode) == 0o600
    assert [path.name for path in world.folder.glob("*.plan*")] == ["a.plan"]
    saved = read_plan(str(world.saved))
    assert saved.names == (str(world.source), str(world.job.target))
    assert saved.flags == FLAGS


GOLDEN = Path(__file__).parent / "golden" / "plan-v1"


def golden_plan() -> Saved:
    """Each sort of action, names that are no text, and all that an entry may have."""
    stamp = Stamp(5, 3, OLD * NS, OLD * NS, 0o100644)
    file = Entry(Kind.FILE, 0o644, 3, OLD * NS, bytes(range(16)), stamp=stamp)
    folder, symlink = Entry(Kind.DIR, 0o755), Entry(Kind.SYMLINK, 0o777, link="a\udcff")
    actions = [
        Action(Op.MOVE, "archive", new=folder, source="2023", moved=folder, entries=61, reason="moved"),
        Action(Op.MKDIR, "new", new=folder, reason="new"),
        Action(Op.CREATE, "new/\udcff", new=file, reason="new"),
        Action(Op.MODIFY, "link", new=symlink, old=file, keep=True, reason="was a file"),
        Action(Op.SETMETA, "run.sh", new=replace(file, mode=0o755), old=file, reason="mode"),
        Action(Op.DELETE, "gone", old=folder, members=(("a", file),), entries=2, reason="deleted"),
    ]
    names = ("/home/me/site", "sftp://me@example.org/srv/www")
    return Saved(names, FLAGS, Reviewed("8f14e45f-ceea-467f-a0e6-3b5d0b1f5d2a", 7, actions))


def test_the_golden_plan_is_read_and_written_as_ever(tmp_path: Path) -> None:
    """To make it for another format: give ``GOLDEN`` another name, and save ``golden_plan()`` there, once."""
    assert read_plan(str(GOLDEN)) == golden_plan()
    save_plan(str(tmp_path / "plan"), golden_plan())
    assert (tmp_path / "plan").read_bytes() == GOLDEN.read_bytes()


@pytest.mark.parametrize("damage", ["", "RECONPLN", "not a plan", "cut", "flipped", "longer", "newer"])
def test_what_is_no_plan_of_ours_is_wrong_usage(damage: str, world: World) -> None:
    data = world.saved.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    damaged = {
        "cut": data[:-1],
        "flipped": bytes(flipped),
        "longer": data + data[12:],
        "newer": data[:8] + (2).to_bytes(4, "big") + data[12:],
    }.get(damage, damage.encode())
    world.saved.write_bytes(damaged)
    with pytest.raises(UsageError, match="--plan"):
        read_plan(str(world.saved))


def test_every_byte_of_a_plan_file_counts(world: World) -> None:
    data = world.saved.read_bytes()
    for at in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[at] ^= 0x10
        world.saved.write_bytes(bytes(flipped))
        with pytest.raises(UsageError):
            read_plan(str(world.saved))


def test_what_can_not_be_written_or_read_is_told(world: World) -> None:
    with pytest.raises(ReconcileError, match="can't be saved"):
        save_plan(str(world.folder / "nowhere/a.plan"), read_plan(str(world.saved)))
    with pytest.raises(UsageError, match="can't be read"):
        read_plan(str(world.folder / "nothing"))


# The command line


Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """Exit code, stdout and stderr of a command line, in this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def call(*args: object) -> tuple[int, str, str]:
        code = main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        return int(code), out, err

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_last_line_of_a_plan_carries_it_out(cli: Cli, source: Path, dest: Path, state: Path) -> None:
    build_tree(source, {"a": "a", "left": "out"})
    plan = source / "a.plan"  # where it would be sent
    typed = ("--state", state, "--mirror", "--exclude", "left", "--wait", "1.5")
    code, out, err = cli("plan", source, dest, *typed, "--out", plan)
    assert (code, err) == (0, "")
    *_, last = out.splitlines()
    words = shlex.split(last.removeprefix("reconcile: to do it: reconcile "))
    assert words == ["run", "--plan", str(plan), "--state", str(state), "--wait", "1.5"]
    assert not dest.exists()

    build_tree(source, {"later": "not planned"})
    code, out, err = cli(*words, "-n")
    assert (code, err) == (0, "")
    assert "1 to create, 0 to change, 0 to move, 0 to delete" in out
    code, out, err = cli(*words)
    assert (code, err) == (0, "")
    assert out.startswith("reconcile: 1 created")
    assert {path for path in os.listdir(dest) if path != ".reconcile"} == {"a"}

    code, out, err = cli(*words)
    assert (code, out) == (4, "")
    assert "it is of a first run, and one was made since" in err
    for strange in (("--exclude", "a"), ("--links", "skip")):
        code, out, err = cli(*words, *strange)
        assert (code, f"{strange[0]} is not as it was" in err) == (2, True)
    assert cli(*words, "--exclude", "left")[0] == 4


def test_the_plan_of_a_job_is_carried_out_by_its_name(
    cli: Cli, tmp_path: Path, source: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tree(source, {"a": "a"})
    job = f'source = "{source}"\ntarget = "{dest}"\nmirror = true\n'
    (tmp_path / "reconcile.toml").write_text(f"[jobs.web]\n{job}[jobs.other]\n{job}")
    monkeypatch.chdir(tmp_path)
    assert cli("plan", "--out", "x.plan")[0] == 2  # of which one?
    assert cli("plan", "web", "--out", "x.plan")[0] == 0
    assert read_plan("x.plan").names == ("web",)
    code, out, _ = cli("run", "--plan", "x.plan")
    assert (code, out.startswith("reconcile: 1 created")) == (0, True)
    assert (tmp_path / "snapshots" / "web").is_dir()


def test_another_runner_carries_out_what_a_first_one_has_planned(
    cli: Cli, tmp_path: Path, source: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another folder, with other inodes and times, and nothing but the plan and what is kept at DEST."""
    build_tree(source, BEFORE)
    typed = ("--job", "web", "--state", "remote")
    plan = tmp_path / "x.plan"

    def as_machine(name: str) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / name))
        (tmp_path / name).mkdir(exist_ok=True)

    as_machine("one")
    assert cli("run", source, dest, *typed)[0] == 0
    (source / "changes").write_text("two")
    (source / "old").rename(source / "moved")
    code, out, _ = cli("plan", source, dest, *typed, "--exclude", "x.tmp", "--out", plan)
    assert (code, out.splitlines()[-1].split()[-6:]) == (0, ["--plan", str(plan), *typed])

    as_machine("other")
    checkout = tmp_path / "checkout"
    shutil.copytree(source, checkout, symlinks=True)
    code, out, err = cli("run", checkout, dest, *typed, "--exclude", "x.tmp", "--plan", plan)
    assert (code, out.startswith("reconcile: 1 changed, 1 moved (3 entries)")) == (0, True), err
    assert_same_tree(checkout, dest, ignore=[".reconcile"], mtimes=False)
    as_machine("one")
    code, _, err = cli("run", "--plan", plan, *typed)
    assert (code, "a run was made since" in err) == (4, True)


def test_a_plan_that_somebody_else_wrote_runs_no_commands(cli: Cli, source: Path, dest: Path) -> None:
    build_tree(source, {"a": "a"})
    proof, plan = source.parent / "proof", str(source.parent / "x.plan")
    strange = dict.fromkeys(("before", "on_success", "password_command", "ssh_command"), f"touch {proof}")
    for flags in (strange, {"nothing": 1, "source": "/etc", "state": "/etc/x", "target": "/etc/y"}):
        save_plan(plan, Saved((str(source), str(dest)), flags, Reviewed("", 0, [])))
        state = str(source.parent / "state")
        assert cli("run", "--plan", plan, "--state", state)[0] == 0
        assert not proof.exists()
        shutil.rmtree(state)
        shutil.rmtree(dest)


def test_a_plan_holds_no_secrets(cli: Cli, source: Path, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tree(source, {"a": "hunter2"})
    monkeypatch.setenv("SITE_PASSWORD", "hunter2")
    state = str(source.parent / "state")
    cli("plan", source, dest, "--state", state, "--out", source.parent / "x.plan")
    held = (source.parent / "x.plan").read_bytes()
    assert b"hunter2" not in held
    flags = read_plan(str(source.parent / "x.plan")).flags
    assert not {name for name in flags if "password" in name or "passphrase" in name or "identity" in name}
