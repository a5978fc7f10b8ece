"""``verify``: whatever is not at DEST as it was left is found, and nothing is changed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconcile.serve.server import Server
from tests.support.command import Ran, Reconcile, ReconcileHere
from tests.support.faults import Fault
from tests.support.quirky import reach
from tests.support.sshd import Sshd
from tests.support.trees import File, Link, Tree, assert_same_tree, build_tree, read_tree

OLD = 1_600_000_000  # an mtime that no clock takes for now
TREE: Tree = {
    "file": File("content", mode=0o644, mtime=OLD),
    "link": Link("file"),
    "folder": {"a": File("a", mtime=OLD), "deeper": {"b": File("b", mtime=OLD)}},
    "empty": {},
}


@pytest.fixture
def job(source: Path, dest: Path, state: Path, tree: Callable[[Tree], Path]) -> Reconcile:
    """A job to a folder here whose first run is done."""
    tree(TREE)
    job = Reconcile(source, str(dest), state)
    job.run()
    return job


@pytest.fixture
def far(source: Path, dest: Path, state: Path, sshd: Sshd, tree: Callable[[Tree], Path]) -> Reconcile:
    """The same to a server."""
    tree(TREE)
    job = Reconcile(source, sshd.url(dest), state, sshd.endpoint.flags())
    job.run()
    return job


@pytest.fixture
def near(
    source: Path,
    dest: Path,
    state: Path,
    tmp_path: Path,
    tree: Callable[[Tree], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Reconcile]:
    """The same to our own server."""
    tree(TREE)
    with Server(tmp_path, user="user", password="pw") as server:
        target, login = reach(server, tmp_path / "known_hosts", f"/{dest.name}", monkeypatch)
        flags = ["--known-hosts", str(login.known_hosts), "--password-env", str(login.password_env)]
        job = ReconcileHere(source, str(target), state, [*flags, "--ssh-config", "none"])
        job.run()
        yield job


def found(ran: Ran) -> dict[str, str]:
    """Path to what is wrong there."""
    return {each["path"]: each["fault"] for each in ran.document["checked"]["findings"]}


def flip(file: Path) -> None:
    """Another content of the same size and time."""
    info = file.stat()
    file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))


def as_file(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)
    path.write_text("a file in its place")


def as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "in").touch()


def lead_elsewhere(link: Path) -> None:
    link.unlink()
    link.symlink_to("elsewhere")


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (flip, "content"),
    "gone": (lambda file: file.unlink(), "missing"),
    "gone folder": (shutil.rmtree, "missing"),
    "longer": (lambda file: file.write_text("longer content"), "changed"),
    "later": (lambda file: os.utime(file, (OLD, OLD + 7)), "changed"),
    "closed": (lambda file: file.chmod(0o600), "mode"),
    "closed folder": (lambda folder: folder.chmod(0o700), "mode"),
    "turned link": (lead_elsewhere, "link"),
    "link as file": (as_file, "kind"),
    "folder as file": (as_file, "kind"),
    "file as folder": (as_folder, "kind"),
    "file as link": (lead_elsewhere, "kind"),
}


def make_for(name: str) -> File | Link | Tree:
    if "link" in name.partition(" as ")[0]:
        return Link("longer")
    return (
        {"in": File("in", mtime=OLD)}
        if "folder" in name.partition(" as ")[0]
        else File("content", 0o644, OLD)
    )


@pytest.mark.parametrize("where", ["job", "near", "far"])
def test_what_is_wrong_is_found_and_left(
    where: str, request: pytest.FixtureRequest, source: Path, dest: Path
) -> None:
    job: Reconcile = request.getfixturevalue(where)
    build_tree(source, {name: make_for(name) for name in HARMS})
    job.run()
    assert found(job("verify")) == {}
    for name, (harm, _) in HARMS.items():
        harm(dest / name)
    (dest / "extra").write_text("somebody's")
    before = read_tree(dest)
    ran = job("verify", "--deep")
    assert ran.code == 3
    assert {path: fault for path, fault in found(ran).items() if "/" not in path} == {
        "extra": "foreign",
        **{name: fault for name, (_, fault) in HARMS.items()},
    }
    assert read_tree(dest) == before
    job.run("--refresh")
    assert found(job("verify")) == {"extra": "foreign"}


def test_content_that_shows_nothing_of_its_change(far: Reconcile, dest: Path, source: Path) -> None:
    job = far
    flip(dest / "file")
    assert job("verify").code == 0, "names, sizes and times are as they were"
    ran = job("verify", "--deep")
    assert (ran.code, found(ran)) == (3, {"file": "content"})
    checked = ran.document["checked"]
    assert (checked["files_read"], checked["files_left"]) == (3, 0)
    assert job.run("--refresh").counts == {}, "a listing does not show it"
    told = job("verify", "--deep", "--fix", json_out=False)
    assert (told.code, "nobody to ask" in told.err) == (4, True)
    assert "~ file" in told.out
    assert job("verify", "--deep").code == 3, "nothing was done"
    mended = job("verify", "--deep", "--fix", "--yes", json_out=False)
    assert mended.code == 0, mended.err
    assert_same_tree(source, dest)
    assert job("verify", "--deep").code == 0
    assert [path.read_text() for path in dest.rglob("trash/kept/**/file")] == ["bnoudou"]


def test_what_is_not_ours_is_told_and_counts_where_nothing_else_may_be(job: Reconcile, dest: Path) -> None:
    (dest / "others/deep").mkdir(parents=True)
    (dest / "others/deep/file").touch()
    ran = job("verify")
    assert (ran.code, found(ran)) == (0, {"others": "foreign"})
    assert ran.document["checked"]["findings"][0]["entries"] == 3
    assert "? others/  3 entries" in job("verify", json_out=False).out
    assert job("verify", "--strict").code == job("verify", "--mirror").code == 3
    assert job("verify", "--strict", "--fix", "--yes", json_out=False).code == 3, "it is not ours to touch"
    assert (dest / "others/deep/file").exists()


def test_what_is_gone_here_and_kept_there(job: Reconcile, dest: Path, source: Path) -> None:
    (source / "file").unlink()
    job.run()
    assert (dest / "file").exists()
    assert job("verify").code == 0
    (dest / "file").unlink()
    assert job("verify").code == 0, "somebody has tidied up"


def test_samples_come_round(job: Reconcile, dest: Path) -> None:
    for name in ("file", "folder/a", "folder/deeper/b"):
        flip(dest / name)
    nights = [found(job("verify", "--sample", "34%")) for _ in range(2)]
    assert nights == [
        {"file": "content", "folder/a": "content"},
        {"file": "content", "folder/deeper/b": "content"},
    ]
    one = job("verify", "--sample", "1%").document["checked"]
    assert (one["files_read"], one["files_left"]) == (1, 2)
    nothing_more = job("verify", "--budget", "0s").document["checked"]
    assert nothing_more["files_read"] == 1, "one in any case"
    assert job("verify", "--budget", "1h").document["checked"]["files_read"] == 3


def test_wrong_usage(source: Path, dest: Path, state: Path) -> None:
    job = Reconcile(source, str(dest), state)
    for flags in (
        ("--sample", "0%"),
        ("--sample", "101%"),
        ("--sample", "1"),
        ("--budget", "10"),
        ("--fix",),
    ):
        assert job("verify", *flags).code == 2


def test_before_the_first_run(source: Path, dest: Path, state: Path) -> None:
    dest.mkdir()
    ran = Reconcile(source, str(dest), state)("verify")
    assert ran.code == 4
    assert "no run of this job" in ran.document["message"]
    assert not state.exists()
    assert not list(dest.iterdir())


def test_it_says_how_to_mend(job: Reconcile, dest: Path) -> None:
    (dest / "file").chmod(0o600)
    (dest / "folder/a").unlink()
    ran = job("verify", json_out=False)
    assert ran.code == 3
    lines = ran.out.splitlines()
    assert lines[:3] == ["  (- missing  ~ not as it was left)", "  ~ file  mode 644 → 600", "  - folder/a"]
    assert lines[3].startswith("reconcile: verify: 1 missing, 1 with another mode; 7 entries looked at → ")
    assert lines[4].startswith("reconcile: to mend it: reconcile verify ")
    assert lines[4].endswith(" --fix")
    quiet = job("verify", "-q", json_out=False)
    assert quiet.out.splitlines()[:3] == lines[:3]
    (dest / "other").touch()
    job.run("--refresh")
    quiet = job("verify", "-q", json_out=False)
    assert (quiet.code, quiet.out) == (0, "")


def test_while_dest_can_only_be_read(job: Reconcile, dest: Path) -> None:
    bound = Reconcile(job.source, job.target, job.state, job.flags, bound=True)
    for folder in (dest, dest / "folder"):
        folder.chmod(0o555)
    ran = bound("verify", "--deep")
    assert ran.code == 3
    assert found(ran) == {"folder": "mode"}


def test_a_cut_while_it_reads(
    source: Path, dest: Path, state: Path, shim_sshd: Sshd, tree: Callable[[Tree], Path]
) -> None:
    tree(TREE)
    job = Reconcile(
        source, shim_sshd.url(dest), state, (*shim_sshd.endpoint.flags(), "--retry-max-wait", "0")
    )
    job.run()
    flip(dest / "file")
    shim_sshd.arm(Fault("cut", 2, kind="READ", when="after"))
    assert found(job("verify", "--deep")) == {"file": "content"}


def test_how_to_mend_stands_before_what_ends_the_flags(job: Reconcile, dest: Path) -> None:
    (dest / "folder/a").unlink()
    command, source, target = job.argv("verify")[3:6]
    argv = [*job.argv("verify")[:3], command, "--state", str(job.state), "--", source, target]
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()[-1]
    words = shlex.split(said.removeprefix("reconcile: to mend it: "))
    assert words[-4:] == ["--fix", "--", source, target]


def test_findings_that_can_not_be_written_are_no_success(job: Reconcile, dest: Path) -> None:
    for number in range(2):
        line = f"{shlex.join(job.argv('verify'))} >/dev/full"
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "stdout can't be written to" in done.stderr
        assert "nothing was changed" in done.stderr
        (dest / f"foreign{number}").touch()
