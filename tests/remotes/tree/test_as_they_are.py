"""Servers as they are: what each kind of them does otherwise is found out, told once, remembered with the
server's version, and asked again of another. What it can't hold is told, and all else arrives.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.core.errors import ConnectionLost, Unreachable
from reconcile.core.job import Job, Options, Result
from reconcile.core.model import Reason
from reconcile.pipeline import run
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.ssh.connect import connect
from reconcile.remotes.ssh.target import of_job
from reconcile.serve.files import Files
from reconcile.state.memo import Memo
from tests.remotes.conformance import Heard
from tests.remotes.tree.test_keeps_less import SERVERS, keeping
from tests.support.quirky import ENOUGH, NAME_BYTES, Quirk, reach, start_quirky
from tests.support.trees import File, Tree, assert_same_tree, build_tree, read_tree

TIME = 1_234_567_891  # seconds; odd, and no full minute
LONG = "n" * (NAME_BYTES + 1)
SIGNS = ("a:b", "why?", "back\\slash", "d/in:it")

KINDS: dict[str, tuple[tuple[Quirk, ...], tuple[str, ...]]] = {  # the server, and what it can't hold
    "as usual": ((), ()),
    "renames over what is there": ((Quirk.RENAME_REPLACES,), ()),
    "renames to where nothing is": ((Quirk.ANNOUNCES_NOTHING,), ()),
    "opens not for both": ((Quirk.UPDATE_DENIED,), ()),
    "small packets": ((Quirk.SMALL_PACKETS,), ()),
    "small packets, says it is OpenSSH": ((Quirk.SMALL_PACKETS, Quirk.CLAIMS_OPENSSH), ()),
    "few handles": ((Quirk.FEW_HANDLES,), ()),
    "sixteen handles": ((Quirk.SIXTEEN_HANDLES,), ()),
    "one session": ((Quirk.ONE_SESSION,), ()),
    "two connections": ((Quirk.TWO_CONNECTIONS,), ()),
    "ignores case": ((Quirk.CASELESS,), ()),
    "composes names": ((Quirk.COMPOSES,), ()),
    "short names": ((Quirk.SHORT_NAMES,), (LONG,)),
    "no signs": ((Quirk.FORBIDS_SIGNS,), SIGNS),
    "slow to look": ((Quirk.SLOW_STATS,), ()),
    "hangs up": ((Quirk.HANGS_UP,), ()),
}


class Host:
    """One that may have another version the next time it is started, and is the same host for all that."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, patch
        self.served, self.source = folder / "served", folder / "source"
        for each in (self.served, self.source):
            each.mkdir()
        self.port = 0

    @contextmanager
    def started(self, version: str, *quirks: Quirk, interface: type[Files] = Files) -> Iterator[Job]:
        with start_quirky(
            self.served,
            *quirks,
            banner=version,
            port=self.port,
            host_key=self.folder / "host_key",
            interface=interface,
        ) as server:
            self.port = server.port
            target, login = reach(server, self.folder / "known_hosts", "/dest", self._patch)
            options = Options(mirror=True, retry_max_wait=0.1)
            yield Job(str(self.source), target, str(self.folder / "state"), options, login)

    def remembered(self) -> dict[str, object]:
        """But for how many handles there are, which shows only where too many are asked for."""
        value = Memo(str(self.folder / "state"), keeps=False).recall()
        assert isinstance(value, dict)
        value["quirks"].pop("handles", None)
        return value


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_server(kind: str, host: Host) -> None:
    quirks, lost = KINDS[kind]
    heard: list[str] = []

    def push(job: Job, tree: Tree) -> Result:
        build_tree(host.source, tree)
        reporter = Heard()
        result = run(job, reporter)
        assert {problem.path for problem in result.problems} <= {*lost}
        assert {problem.reason for problem in result.problems} <= {Reason.BAD_NAME}
        assert_same_tree(host.source, host.served / "dest", ignore=lost)
        assert not {*reporter.said} & {*heard}, "told once more"
        heard.extend(each for each in reporter.said if " of " not in each)  # but for lines that broke
        return result

    files: Tree = {f"f{n}": File(f"file {n}", mode=0o640, mtime=TIME + n) for n in range(40)}
    odd: Tree = {
        "a:b": "1",
        "why?": "2",
        "back\\slash": "3",
        LONG: "4",
        "caf\u00e9": "5",
        "d": {"in:it": "6"},
    }
    with host.started("Host_1", *quirks) as job:
        push(job, {"d": files, "big": os.urandom(300_000), "old": "old"})
        assert len(push(job, odd).problems) == len(lost)
        known = host.remembered()
        assert bool(lost) is run(job, Heard()).connected
        (host.source / "d").rename(host.source / "moved")
        lost = tuple(path.replace("d/", "moved/", 1) if path.startswith("d/") else path for path in lost)
        (host.source / "old").unlink()
        second = push(job, {"moved": {"f3": "changed"}, "big": "small", "new": {"g": "g"}})
        assert host.remembered() == known
    with host.started("Host_2", *quirks) as job:
        heard.clear()
        third = push(job, {"after": "the update"})
        assert host.remembered() == {**known, "version": host.remembered()["version"]}
        assert host.remembered()["version"] != known["version"]
        fourth = push(job, {"after": "all that"})
    assert fourth.traffic.requests < third.traffic.requests, "asked again though nothing is new"
    assert second.traffic.requests > 0


def test_what_an_update_brings_is_used(host: Host) -> None:
    """A server that renamed over what is there, and does not any more."""
    build_tree(host.source, {"f": "f"})
    with host.started("Host_1", Quirk.RENAME_REPLACES) as job:
        assert run(job, Heard()).problems == []
    before = host.remembered()["quirks"]
    build_tree(host.source, {"g": "g"})
    with host.started("Host_2") as job:
        assert run(job, Heard()).problems == []
    after = host.remembered()["quirks"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert (before["refuses"], after["refuses"]) == (False, True)


@pytest.mark.parametrize("how", SERVERS)
def test_what_is_kept_of_modes_and_times_is_asked_again_of_another_version(how: str, host: Host) -> None:
    first, second, third = Heard(), Heard(), Heard()
    build_tree(host.source, {"f": File("f", mode=0o640, mtime=TIME)})
    with host.started("Host_1", interface=keeping(SERVERS[how])) as job:
        assert run(job, first).problems == []
        known = host.remembered()
        build_tree(host.source, {"g": File("g", mode=0o604, mtime=TIME + 1)})
        assert run(job, second).problems == []
        assert host.remembered() == known
    assert len(first.said) in (1, 2)
    assert not {*first.said} & {*second.said}
    build_tree(host.source, {"h": "h"})
    with host.started("Host_2") as job:
        assert run(job, third).problems == []
        quirks = host.remembered()["quirks"]
        assert isinstance(quirks, dict)
        assert quirks["keeps_modes"] is quirks["keeps_times"] is True
        assert not {"time_step", "time_shift"} & quirks.keys()
        assert not {*first.said} & {*third.said}
        build_tree(host.source, {"i": File("i", mode=0o604, mtime=TIME + 1)})
        assert run(job, third).problems == []
    there = read_tree(host.served / "dest")["i"]
    assert (there.mode, there.mtime) == (0o604, TIME + 1)


def test_where_nothing_can_be_renamed_nothing_is_sent_in_vain(host: Host) -> None:
    build_tree(host.source, {f"f{n}": os.urandom(10_000) for n in range(30)})
    with host.started("Host_1", Quirk.RENAME_UNKNOWN, Quirk.ANNOUNCES_NOTHING) as job:
        first, second = run(job, Heard()), run(job, Heard())
    for result in (first, second):
        assert len(result.problems) == 30
        assert any("rename nothing" in problem.message for problem in result.problems)
        assert result.traffic.bytes_sent < 300_000
    assert sorted(path.name for path in (host.served / "dest").iterdir()) == [".reconcile"]


def test_what_is_larger_than_a_host_takes_at_a_time_ends_with_what_is_known(host: Host) -> None:
    build_tree(host.source, {"small": "small", "huge": os.urandom(2 * ENOUGH)})
    with host.started("Host_1", Quirk.HANGS_UP) as job:
        job = replace(job, options=replace(job.options, retries=2))
        with pytest.raises((ConnectionLost, Unreachable)):
            run(job, Heard())
        (host.source / "huge").unlink()
        assert run(job, Heard()).problems == []
    assert (host.served / "dest/small").read_text() == "small"
    assert not (host.served / "dest/huge").exists()


@pytest.mark.parametrize("idle", [False, True])
def test_a_host_that_hung_up_while_nothing_was_said_is_called_again(host: Host, *, idle: bool) -> None:
    """Some do after half a minute: a large folder may take longer to look at."""
    build_tree(host.source, {"f": "f"})
    gone = threading.Event()

    class Slow(Heard):
        """Whoever is shown the plan takes the time to read it."""

        def planned(self, _plan: object, _tally: object, /) -> None:
            if not idle:
                for transport in list(server._sessions):
                    transport.close()
            while any(transport.is_active() for transport in list(server._sessions)):
                gone.wait(0.05)
            gone.set()

    quirks = [Quirk.HANGS_UP_IDLE] * idle
    with start_quirky(host.served, *quirks, host_key=host.folder / "host_key") as server:
        target, login = reach(server, host.folder / "known_hosts", "/dest", host._patch)
        options = Options(retry_max_wait=0.1)
        job = Job(str(host.source), target, str(host.folder / "state"), options, login)
        assert run(job, Slow()).problems == []
    assert gone.is_set()
    assert (host.served / "dest/f").read_text() == "f"


def test_a_host_that_lets_in_two_is_called_until_it_has_room(host: Host) -> None:
    build_tree(host.source, {"f": "f"})
    with host.started("Host_1", Quirk.TWO_CONNECTIONS) as job, ExitStack() as others:
        held = [others.enter_context(closing(connect(*of_job(job), pytest.fail))) for _ in range(2)]
        for each in held:
            assert Session(each.channel).handshake()
        with pytest.raises(Unreachable):
            run(replace(job, options=replace(job.options, retries=0)), Heard())

        class Patient(Heard):
            """One of the others goes once we have been turned away."""

            def retrying(self, lost: str, attempt: int, most: int, _wait_s: float, /) -> None:
                super().retrying(lost, attempt, most, _wait_s)
                held[0].close()

        assert run(replace(job, options=replace(job.options, retries=20)), Patient()).problems == []
    assert (host.served / "dest/f").read_text() == "f"
