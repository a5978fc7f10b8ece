"""The conformance suite on real servers: all but OpenSSH as it comes, for which see ``sftp``.

What a server lacks is said here, and why some tests are nothing for it: in ``spared``.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import paramiko
import pytest

from reconcile.core.job import Job, Options
from reconcile.remotes import Remote
from reconcile.remotes import open_remote as really_open
from tests.remotes.conformance import Bench, Conformance, Heard, OpenRemote, ThirdHand
from tests.remotes.stores import LeaseConformance
from tests.remotes.trees import TreeConformance
from tests.support.servers import Missing, RealServer, start_server
from tests.support.trees import Dir, File, Node, Tree

_numbers = itertools.count()


class ServersBench(Bench):
    """What is not kept there is not told; and what links hold, also where it is told where they lead."""

    def read_back(self) -> dict[str, Node]:
        base = os.fsencode(self.remote.base)
        return {
            path: Node(
                node.kind,
                node.mode if self.has("modes") else None,
                _relative(node.content, base, path) if node.kind == "symlink" else node.content,
                node.mtime if self.has("times") else None,
            )
            for path, node in super().read_back().items()
        }

    def knows(self, path: str, size: int, mtime: int) -> None:
        if self.has("times"):
            super().knows(path, size, mtime)
            return
        [(_, seen)] = self.remote.look([path])
        assert seen is not None
        assert seen.size == size
        assert self.remote.is_left(seen.tag, self.held[path])


def _relative(content: bytes | None, base: bytes, path: str) -> bytes | None:
    if content is None or not content.startswith(base):
        return content
    return os.path.relpath(content, os.path.join(base, os.path.dirname(os.fsencode(path))))


@pytest.fixture(scope="class")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    try:
        with start_server(request.cls.name, tmp_path_factory.mktemp("server")) as server:
            yield server
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def dest(server: RealServer) -> Path:
    return server.folder / f"dest-{next(_numbers)}"


@pytest.fixture
def open_remote(server: RealServer) -> OpenRemote:
    def open_remote(dest: Path, options: Options, heard: Heard) -> Remote:
        target = server.endpoint.target(server.at(dest))
        return really_open(Job("/", target, "/", options, server.endpoint.login()), heard)

    return open_remote


WHERE_IT_LEADS = "it tells where links lead, not what they hold"
NO_MORE = "it says no more than that it failed, of what is below a file"
NOTES = "it is told that it keeps neither modes nor times"
ASCII = "it takes names of ASCII only"
NOT_EXCLUSIVE = "of two who make a folder at once both are told that it is theirs"
STILL_OPEN = "what a connection that still stands was writing can't be removed"
NO_MODES = "no mode can be set"
NO_PROOF = "by no time a file that moved is known to be ours"
LATE = "for a while it shows the time of writing"


class OnServer(Conformance, LeaseConformance):
    """``name``: one of ``SERVERS``."""

    name: ClassVar[str]
    spared: ClassVar[Mapping[str, str]] = {}  # test → why it can't hold there
    bench_type = ServersBench

    @pytest.fixture(autouse=True)
    def leave_out(self, request: pytest.FixtureRequest) -> None:
        why = self.spared.get(request.node.originalname)
        if why is not None:
            pytest.skip(why)


class OnTree(OnServer, TreeConformance):
    """Whose folder the tests can get at."""


class TestOpensshUmask(OnTree):
    name = "openssh -u 0027"


class TestOpensshOneSession(OnTree):
    name = "openssh, MaxSessions 1"


class TestOpensshBound(OnTree):
    name = "openssh, bound by permissions"


class TestOpensshChroot(OnTree):
    name = "openssh, chroot"


class TestOpensshWithoutPosixRename(OnTree):
    name = "openssh -P posix-rename"


class TestOpensshWithoutStatvfs(OnTree):
    name = "openssh -P statvfs"


class TestOpensshWithoutHardlink(OnTree):
    name = "openssh -P hardlink"


class TestOpensshWithoutFsync(OnTree):
    name = "openssh -P fsync"


class TestOpensshWithoutLsetstat(OnTree):
    name = "openssh -P lsetstat"


class TestOpensshWithoutLimits(OnTree):
    name = "openssh -P limits"


class TestOpensshWithoutCopyData(OnTree):
    name = "openssh -P copy-data"


class TestOpensshWithoutSetstat(OnTree):
    name = "openssh -P setstat"
    lacks = frozenset({"modes", "times"})
    spared: ClassVar = {
        "test_a_store_alone_is_no_other_job": NOTES,
        "test_special_bits_of_directories_stay": NO_MODES,
        "test_a_move_done_before_is_done_and_one_without_source_is_missing": NO_PROOF,
    }


class TestGesftpserver(OnTree):
    name = "gesftpserver"
    spared: ClassVar = {
        "test_observe": NO_MORE,
    }


class TestDropbear(OnTree):
    name = "dropbear"


class TestProftpd(OnTree):
    name = "proftpd"
    spared: ClassVar = {
        "test_observe": WHERE_IT_LEADS,
        "test_walk": WHERE_IT_LEADS,
        "test_drift_is_kept_aside": WHERE_IT_LEADS,
    }


class TestProftpdJailed(OnTree):
    name = "proftpd, jailed"
    spared: ClassVar = {
        "test_observe": WHERE_IT_LEADS,
        "test_walk": WHERE_IT_LEADS,
        "test_drift_is_kept_aside": WHERE_IT_LEADS,
    }


class TestProftpdKeepsNothing(OnTree):
    name = "proftpd, keeps nothing"
    lacks = frozenset({"modes", "times"})
    spared: ClassVar = {
        "test_observe": WHERE_IT_LEADS,
        "test_walk": WHERE_IT_LEADS,
        "test_drift_is_kept_aside": WHERE_IT_LEADS,
        "test_a_store_alone_is_no_other_job": NOTES,
        "test_special_bits_of_directories_stay": NO_MODES,
        "test_a_move_done_before_is_done_and_one_without_source_is_missing": NO_PROOF,
        "test_preparing_makes_what_is_ours_for_us_alone": NO_MODES,
        "test_what_is_stored_is_for_us_alone": NO_MODES,
        "test_leftovers_of_an_earlier_run_are_cleared_but_not_what_may_be_the_only_copy": NO_MODES,
    }


class TestAsyncssh(OnTree):
    name = "asyncssh"
    spared: ClassVar = {
        "test_observe": WHERE_IT_LEADS,
        "test_walk": WHERE_IT_LEADS,
        "test_drift_is_left_alone": WHERE_IT_LEADS,
        "test_drift_is_kept_aside": WHERE_IT_LEADS,
        "test_nothing_is_written_through_a_planted_link": WHERE_IT_LEADS,
    }


class TestConch(OnTree):
    name = "conch"
    lacks = frozenset({"links"})
    spared: ClassVar = {
        "test_a_tree_arrives": ASCII,
        "test_walk": ASCII,
        "test_observe": NO_MORE,
    }


class TestSftpserver(OnTree):
    name = "sftpserver"
    lacks = frozenset({"links", "bytes"})


class TestSsh2(OnTree):
    name = "ssh2"
    lacks = frozenset({"bytes"})


class OverSftp:
    """A third hand where only the server sees what happens to its folder."""

    def __init__(self, sftp: paramiko.SFTPClient, dest: str) -> None:
        self._sftp, self._dest = sftp, dest

    def build(self, tree: Tree) -> None:
        self._build(self._dest, tree)

    def _build(self, path: str, tree: Tree) -> None:
        with suppress(OSError):
            self._sftp.mkdir(path)
        for name, thing in tree.items():
            below = f"{path}/{os.fsdecode(name)}"
            if isinstance(thing, Dir):
                self._build(below, thing.children)
            elif isinstance(thing, Mapping):
                self._build(below, thing)
            else:
                file = thing if isinstance(thing, File) else File(thing)  # type: ignore[arg-type]
                content = file.content.encode() if isinstance(file.content, str) else file.content
                with self._sftp.open(below, "wb") as out:
                    out.write(content)
                if file.mtime is not None:
                    self._sftp.utime(below, (file.mtime, file.mtime))

    def remove(self, path: str) -> None:
        self._remove(f"{self._dest}/{path}".rstrip("/"))

    def _remove(self, path: str) -> None:
        if not stat.S_ISDIR(self._sftp.lstat(path).st_mode or 0):
            self._sftp.remove(path)
            return
        for name in self._sftp.listdir(path):
            self._remove(f"{path}/{name}")
        self._sftp.rmdir(path)

    def rename(self, old: str, new: str) -> None:
        self._sftp.rename(f"{self._dest}/{old}", f"{self._dest}/{new}")


class OnRclone(OnServer):
    """It remembers what its folder held, and does not see what is done beside it."""

    lacks = frozenset({"links", "modes"})

    @pytest.fixture
    def there(self, server: RealServer, dest: Path) -> Iterator[ThirdHand]:
        at = server.endpoint
        client = paramiko.SSHClient()
        client.load_host_keys(str(at.known_hosts))
        client.connect(
            at.host, at.port, at.user, key_filename=str(at.identity), allow_agent=False, look_for_keys=False
        )
        with client, client.open_sftp() as sftp:
            yield OverSftp(sftp, server.at(dest))


class TestRclone(OnRclone):
    name = "rclone"
    spared: ClassVar = {
        "test_of_those_who_claim_a_name_one_has_it": NOT_EXCLUSIVE,
        "test_a_store_alone_is_no_other_job": NOTES,
        "test_a_stop_before_all_is_staged_changes_nothing": STILL_OPEN,
    }


class TestRcloneCache(OnRclone):
    name = "rclone, cache"
    spared: ClassVar = {
        "test_of_those_who_claim_a_name_one_has_it": NOT_EXCLUSIVE,
        "test_a_store_alone_is_no_other_job": NOTES,
        "test_nothing_is_seen_before_all_is_staged": LATE,
    }
