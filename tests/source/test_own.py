"""What of ours lies in SRC is never sent, and secrets of others are told."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.core.filters import make_filter
from reconcile.core.job import Options, Own
from reconcile.remotes.sftp.scheme import own_files
from reconcile.remotes.ssh.target import Login
from reconcile.source.files import is_private_key
from reconcile.source.own import find_own, identify_own, line_for
from reconcile.source.scan import scan
from tests.support.command import Ran, Reconcile
from tests.support.sshd import Sshd
from tests.support.trees import Tree, read_tree

MakeTree = Callable[[Tree], Path]
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----\n"


def names(dest: Path) -> set[str]:
    return {path for path in read_tree(dest) if path.split("/")[0] != ".reconcile"}


def notes(ran: Ran) -> dict[str, str]:
    return {note["path"]: note["message"] for note in ran.document["notes"] if note["path"]}


def said(ran: Ran) -> str:
    return " ".join(note["message"] for note in ran.document["notes"] if not note["path"])


@pytest.mark.parametrize(
    "name", ["state", "my [s]*", "a b ", "!x", "#x", "deep/er/state", "a\nb", "a\t", "\\ b\t"]
)
def test_the_line_for_a_path_matches_it_alone(name: str) -> None:
    chosen = make_filter([line_for(Own(name, ""))])
    assert chosen.excludes(f"{name}/x/snapshot", False)
    assert chosen.excludes(name, False)
    assert not chosen.excludes(f"x/{name}", False)
    assert not chosen.excludes(name.replace("*", "y") + "z", False)


def test_where_our_own_is(tmp_path: Path) -> None:
    source, elsewhere = tmp_path / "src", tmp_path / "elsewhere"
    for folder in (source / "keys", elsewhere):
        folder.mkdir(parents=True)
    (source / "link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(source / "keys")

    def paths(identity: str | None, known_hosts: str | None = None) -> list[str]:
        login = Login(identity=identity, known_hosts=known_hosts)
        found = find_own(str(source), str(tmp_path / "state"), "", own_files(login))
        return [own.path for own in found]

    of_a_key = ["keys/id", "keys/id-cert.pub", "keys/id.pub"]
    for identity in ("src/keys/id", "src/keys/id.pub", "src/../src/keys/id-cert.pub", "elsewhere/back/id"):
        assert paths(str(tmp_path / identity)) == of_a_key
    assert paths(str(elsewhere / "id"), str(elsewhere / "hosts")) == []
    assert paths(None, str(source / "hosts")) == ["hosts"]
    (source / "hosts").symlink_to(elsewhere / "hosts")
    assert paths(None, str(source / "hosts")) == ["hosts"]


def test_all_state_in_a_source_that_is_the_state_folder(tmp_path: Path) -> None:
    job, other, not_one = (
        tmp_path / name for name in ("a-to-b-" + "0" * 16, "x-to-y-" + "f" * 16, "z-" + "1" * 16)
    )
    for folder in (other, not_one):
        folder.mkdir()
    (other / "lock").touch()
    (not_one / "file").touch()
    found = find_own(str(tmp_path), str(tmp_path), str(job))
    assert [own.path for own in found] == [job.name, other.name]


def test_our_key_hosts_and_state_stay_here(
    sshd: Sshd, tree: MakeTree, source: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree({"index.html": "x", ".reconcileignore": "!key\n!/state\n*.tmp\n"})
    for name, path in (("key", sshd.endpoint.identity), ("hosts", sshd.endpoint.known_hosts)):
        shutil.copy(path, source / name)
    (source / "key.pub").write_text("ssh-ed25519 AAAA")
    monkeypatch.chdir(source)
    flags = ["--identity", "key", "--known-hosts", "hosts", "--mirror", "--include", "key"]
    job = Reconcile(source, sshd.url(dest), Path("state"), flags)
    for command in ("plan", "run", "run"):
        ran = job(command)
        assert ran.code == 0, ran.out
        told = notes(ran)
        assert {"key", "key.pub", "hosts"} <= told.keys() <= {"key", "key.pub", "hosts", "state"}
        assert "--identity" in told["key"]
    assert names(dest) == {".reconcileignore", "index.html"}
    assert not ran.document["connected"]


@pytest.mark.parametrize("links", ["keep", "follow"])
def test_our_own_stays_here_by_whatever_name_it_is_in_the_source(
    sshd: Sshd, tree: MakeTree, tmp_path: Path, source: Path, dest: Path, links: str
) -> None:
    home, state = tmp_path / "me", tmp_path / "me" / "state"
    (home / "keys").mkdir(parents=True)
    for name, path in (("key", sshd.endpoint.identity), ("hosts", sshd.endpoint.known_hosts)):
        shutil.copy(path, home / "keys" / name)
    tree({"a": "x", "deep": {}})
    (home / "keys" / "other").write_text("y")
    (source / "conf").symlink_to(home)
    (source / "deep" / "k").symlink_to(home / "keys" / "key")
    os.link(home / "keys" / "key", source / "hard")
    keys = home / "keys"
    flags = ["--identity", str(keys / "key"), "--known-hosts", str(keys / "hosts"), "--links", links]
    job = Reconcile(source, sshd.url(dest), state, flags)
    for command in ("plan", "run", "run"):
        ran = job(command, "--mirror")
        assert ran.code == 0, ran.out
        assert "it is never sent" in notes(ran)["hard"]
    followed = {"conf/keys", "conf/keys/other", "conf/state"} if links == "follow" else {"deep/k"}
    assert names(dest) == {"a", "conf", "deep", *followed}
    assert not ran.counts
    assert not ran.document["connected"]


def test_a_key_that_was_sent_before_is_told(
    sshd: Sshd, tree: MakeTree, source: Path, dest: Path, state: Path
) -> None:
    tree({"a": "x"})
    shutil.copy(sshd.endpoint.identity, source / "key")
    Reconcile(source, sshd.url(dest), state, sshd.endpoint.flags()).run()
    hosts = ["--known-hosts", str(sshd.endpoint.known_hosts)]
    careful = Reconcile(
        source, sshd.url(dest), state, [*hosts, "--identity", str(source / "key"), "--mirror"]
    )
    for _ in range(2):
        assert "'key' was sent by an earlier run" in said(careful.run())
    assert "key" in names(dest)  # not ours to delete unasked


def test_the_state_folder_may_be_the_source(sshd: Sshd, tree: MakeTree, source: Path, dest: Path) -> None:
    tree({"f": "x"})
    job = Reconcile(source, sshd.url(dest), source, sshd.endpoint.flags())
    other = Reconcile(source, sshd.url(dest.with_name("other")), source, sshd.endpoint.flags())
    for _ in range(2):
        assert len(notes(job.run())) >= 1
        other.run()
    assert not job.run().document["connected"]
    assert names(dest) == names(dest.with_name("other")) == {"f"}


def test_secrets_are_told_when_they_are_first_sent(
    sshd: Sshd, tree: MakeTree, source: Path, dest: Path, state: Path
) -> None:
    large = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n" + KEY + "x" * (1 << 20)
    tree(
        {
            "app": {".env": "A=1", ".env.local": "B=2", "env": ""},
            "k": KEY,
            "d": {"both.pem": large},
            "later": "",
        }
    )
    job = Reconcile(source, sshd.url(dest), state, sshd.endpoint.flags())
    assert "'app/.env' is new to DEST" in said(job.plan())
    first = said(job.run())
    for name in ("app/.env", "app/.env.local", "k", "d/both.pem"):
        assert repr(name) in first
    assert first.count("private key") == 1, "one line for all of them"
    assert "'app/env'" not in first
    assert "'later'" not in first
    assert said(job.run()) == ""
    (source / "later").write_text(KEY)
    (source / "app" / ".env").write_text("A=2")
    again = said(job.run())
    assert "'later' is a private key" in again
    assert ".env" not in again


@pytest.mark.parametrize(
    ("content", "is_key"),
    [
        (KEY, True),
        ("Bag Attributes\n" + KEY.replace("OPENSSH ", ""), True),
        (KEY.replace("OPENSSH ", "ENCRYPTED "), True),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ", True),
        ("PuTTY-User-Key-File-3: ssh-ed25519", True),
        ('{"private_key": "-----BEGIN PRIVATE KEY-----\\nMIIE"}', True),
        ("tls: |\n    -----BEGIN EC PRIVATE KEY-----\n", True),
        ("\ufeff-----BEGIN RSA PRIVATE KEY-----\r\n", True),
        ("look for -----BEGIN PRIVATE KEY----- in it", False),
        ("-----BEGIN PUBLIC KEY-----\nPRIVATE KEY", False),
        ("", False),
    ],
)
def test_a_private_key_is_known_by_its_content(content: str, is_key: bool) -> None:
    assert is_private_key(content.encode()) is is_key


def test_a_real_private_key_is_known(tmp_path: Path) -> None:
    for form in ("RFC4716", "PEM", "PKCS8"):
        path = tmp_path / form
        subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-m", form, "-N", "", "-f", str(path)], check=True)
        assert is_private_key(path.read_bytes())
        assert not is_private_key(Path(f"{path}.pub").read_bytes())


def test_a_work_folder_in_dest_is_not_shared_with_a_folder_of_the_source(
    sshd: Sshd, tree: MakeTree, source: Path, dest: Path, state: Path
) -> None:
    tree({"f": "x", "a": {"work": {"w": "1"}, "g": "y"}})
    flags = ["--mirror", "--remote-workdir", f"{dest}/a/work", *sshd.endpoint.flags()]
    job = Reconcile(source, sshd.url(dest), state, flags)
    for command in ("plan", "run"):
        ran = job(command)
        assert ran.code == 4
        assert "a/work" in ran.document["message"]
    assert not dest.exists()
    job.run("--exclude", "/a/work")
    os.rename(source / "a" / "work", source / "w")
    (source / "a" / "work").write_text("a file")
    assert "a/work" in notes(job.run())
    assert not any(path.startswith("a/work/w") for path in names(dest))
    (source / "a" / "work").unlink()
    os.rename(source / "a", source / "b")
    for _ in range(2):
        job.run()
        assert {"f", "b", "b/g", "w", "w/w"} <= names(dest)
        assert "b/work" not in names(dest)
        (source / "f").write_text("once more")


def test_a_work_folder_in_dest_by_another_name_is_not_shared_either(
    sshd: Sshd, tree: MakeTree, source: Path, dest: Path, state: Path
) -> None:
    tree({"f": "x", "work": {"w": "1"}})
    dest.mkdir()
    (dest.parent / "link").symlink_to(dest)
    flags = ["--remote-workdir", f"{dest}/work", *sshd.endpoint.flags()]
    ran = Reconcile(source, sshd.url(dest.parent / "link"), state, flags)("run")
    assert ran.code == 4
    assert "'work'" in ran.document["message"]
    assert not list(dest.iterdir())


def test_a_shared_inode_number_alone_is_no_proof(tmp_path: Path) -> None:
    """As on file systems that give the same to all."""
    (tmp_path / "src").mkdir()
    for name in ("key", "src/twin", "src/page"):
        (tmp_path / name).write_text("x" * len(name))
    os.link(tmp_path / "key", tmp_path / "src" / "hard")
    [(device, inode, size, mtime)] = identify_own("", [Own(str(tmp_path / "key"), "is the key")])
    page = (tmp_path / "src" / "page").stat()
    ours = {(device, inode, size, mtime): "is the key", (device, page.st_ino, size, mtime): "is no page"}
    found = scan(str(tmp_path / "src"), make_filter([]), Options(), own=ours)
    assert found.own == {"hard": "is the key"}
    assert found.dirs[""].entries().keys() == {"page", "twin"}
