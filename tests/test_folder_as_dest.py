"""DEST as a folder of this machine: how it is written, and what it must not be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconcile.config import Flags, make_job
from reconcile.core.errors import UsageError
from reconcile.remotes import parse_target, scheme_of


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/mnt/usb", "/mnt/usb"),
        ("/mnt//usb/./x/", "/mnt/usb/x"),
        ("//mnt/usb", "/mnt/usb"),
        ("./backup", "{here}/backup"),
        ("backup/daily", "{here}/backup/daily"),
        ("../backup", "{above}/backup"),
        ("./a:b", "{here}/a:b"),
        ("/a/b:c", "/a/b:c"),
        ("~/backup", "{home}/backup"),
        ("file:///mnt/usb", "/mnt/usb"),
        ("FILE://localhost/mnt/us%62/%ff", "/mnt/usb/\udcff"),
        ("/a\udcff", "/a\udcff"),
        ("/", "/"),
    ],
)
def test_how_it_is_written(text: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    target = parse_target(text)
    assert target.scheme == "file"
    assert target.path == path.format(here=here, above=tmp_path, home=tmp_path / "home")
    assert parse_target(str(target)) == target


def test_a_path_goes_up_from_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    assert parse_target(f"{tmp_path}/link/../x").path == str(tmp_path / "a/x")
    assert parse_target(f"{tmp_path}/link/x").path == str(tmp_path / "link/x")


def test_a_new_name_may_have_been_meant_as_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    doubt = scheme_of(parse_target("host/x")).doubt
    assert "write host:backup/x" in (doubt("host/backup/x") or "")
    for sure in ("/host/x", "./host/x", "../x", "~/x", "there/x", "file:///host/x"):
        assert doubt(sure) is None


@pytest.mark.parametrize("option", ["port", "identity", "known_hosts", "password_env", "compress"])
def test_nobody_is_called(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "x")
    given: object = {"port": 22, "compress": True, "password_env": "PW"}.get(option, str(tmp_path))
    if option == "identity":
        (tmp_path / "key").touch()
        given = str(tmp_path / "key")
    flags = Flags(str(tmp_path / "src"), str(tmp_path / "dest"), **{option: given})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} means nothing"):
        make_job(flags)


def _job_of(src: object, dest: object, state: Path, **more: object) -> list[tuple[str, str]]:
    """What of ours is in SRC."""
    flags = Flags(str(src), str(dest), state=str(state), **more)  # type: ignore[arg-type]
    return [(own.path, own.what) for own in make_job(flags).options.own]


@pytest.mark.parametrize("where", ["itself", "below", "link to below", "link to itself", "deep below"])
def test_src_in_dest_is_refused(where: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    (dest / "a/b").mkdir(parents=True)
    (tmp_path / "one").symlink_to("dest/a")
    (tmp_path / "other").symlink_to("dest")
    src = {
        "itself": dest,
        "below": dest / "a",
        "link to below": tmp_path / "one",
        "link to itself": tmp_path / "other",
        "deep below": tmp_path / "other/a/b",
    }[where]
    with pytest.raises(UsageError, match="SRC is DEST, or lies in it"):
        _job_of(src, dest, tmp_path / "state")
    with pytest.raises(UsageError, match="SRC is DEST, or lies in it"):
        _job_of(src, tmp_path / "other", tmp_path / "state")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts something")
def test_src_in_dest_is_refused_through_a_mount(tmp_path: Path) -> None:
    for name in ("dest/a", "mount"):
        (tmp_path / name).mkdir(parents=True)
    if os.system(f"mount --bind {tmp_path}/dest {tmp_path}/mount 2>/dev/null"):  # noqa: S605
        pytest.skip("mounts nothing")
    try:
        with pytest.raises(UsageError, match="SRC is DEST, or lies in it"):
            _job_of(tmp_path / "mount/a", tmp_path / "dest", tmp_path / "state")
        assert _job_of(tmp_path / "mount", tmp_path / "dest/a/b", tmp_path / "state") == [("a/b", "is DEST")]
    finally:
        os.system(f"umount {tmp_path}/mount")  # noqa: S605


def test_dest_in_src_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "src/in").mkdir(parents=True)
    (tmp_path / "link").symlink_to("src/in")
    state = tmp_path / "state"
    assert _job_of(tmp_path / "src", tmp_path / "src/in/dest", state) == [("in/dest", "is DEST")]
    assert _job_of(tmp_path / "src", tmp_path / "link/dest", state) == [("in/dest", "is DEST")]
    assert _job_of(tmp_path / "src", tmp_path / "dest", state) == []
    assert _job_of(tmp_path / "src", tmp_path / "srcs", state) == []
    work = {"remote_workdir": str(tmp_path / "src/work")}
    assert _job_of(tmp_path / "src", tmp_path / "dest", state, **work) == [
        ("work", "is the folder of --remote-workdir")
    ]
