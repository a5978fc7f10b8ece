"""What a server may not do to us: eat our memory, hold us for ever, or speak in our name."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from reconcile.core.errors import ProtocolError, Unreachable
from reconcile.core.job import Job, Options
from reconcile.pipeline import run
from reconcile.remotes import open_remote
from reconcile.remotes.sftp import wire
from reconcile.remotes.ssh.target import Login, SshTarget, of_job
from reconcile.remotes.tree import listing
from reconcile.remotes.tree.remote import TreeRemote
from tests.remotes.conformance import Heard
from tests.support.command import Reconcile
from tests.support.doors import answering
from tests.support.quirky import PASSWORD_VARIABLE, Quirk, reach, start_quirky
from tests.support.trees import assert_same_tree

JobTo = Callable[[Quirk], Job]


@pytest.fixture
def job_to(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobTo]:
    """``job_to(quirk)``: a job whose server has it; it shows ``remote``, and DEST is ``remote/dest``."""
    (tmp_path / "remote" / "dest").mkdir(parents=True)
    servers = []

    def job_to(quirk: Quirk) -> Job:
        server = start_quirky(tmp_path / "remote", quirk)
        servers.append(server)
        target, login = reach(server.__enter__(), tmp_path / "known_hosts", "/dest", monkeypatch)
        return Job(str(source), target, str(tmp_path / "state"), Options(retries=0), login)

    yield job_to
    for server in servers:
        server.__exit__(None, None, None)


def test_a_listing_without_end_is_given_up(job_to: JobTo, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nothing is made of what was listed."""
    monkeypatch.setattr(listing, "MOST_NAMES", 10_000)
    with closing(open_remote(job_to(Quirk.READDIR_ENDLESS), Heard())) as remote:
        with pytest.raises(Unreachable, match=r"does not list '/dest': it lists more than .* names"):
            list(remote.walk(""))
        assert remote.stats.requests < 1000


def test_a_server_without_limits_is_sent_no_more_at_a_time_than_others(
    job_to: JobTo, source: Path, tmp_path: Path
) -> None:
    (source / "large").write_bytes(os.urandom(3 << 20))
    job = job_to(Quirk.LIMITS_HUGE)
    with closing(open_remote(job, Heard())) as remote:
        assert isinstance(remote, TreeRemote)
        assert remote._site.block <= wire.MAX_PACKET
    assert run(job, Heard()).ended
    assert_same_tree(source, tmp_path / "remote" / "dest")


def test_text_before_sftp_is_shown_and_explained(job_to: JobTo) -> None:
    job = job_to(Quirk.SPEAKS_FIRST)
    with pytest.raises(ProtocolError) as caught:
        open_remote(job, Heard())
    message = str(caught.value)
    assert message.startswith(f'127.0.0.1, port {of_job(job)[0].port}: the server said "')
    assert "Welcome to web42" in message
    assert "~/.bashrc" in message
    assert message.isprintable()


def test_words_of_a_server_stay_in_one_line_of_ours(job_to: JobTo, source: Path, tmp_path: Path) -> None:
    (source / "folder").mkdir()
    job = job_to(Quirk.FORGES_LINES)
    flags = ["--known-hosts", str(tmp_path / "known_hosts"), "--password-env", PASSWORD_VARIABLE]
    ran = Reconcile(source, str(job.target), tmp_path / "state", flags)("run", json_out=False)
    assert ran.code == 3
    assert "THE HOST KEY HAS CHANGED" in ran.err
    assert not any(line.startswith("reconcile: error: THE HOST") for line in ran.err.splitlines())
    assert ran.err.replace("\n", "").isprintable()


def test_an_ssh_packet_that_can_not_be_is_not_waited_for() -> None:
    """Before any key was checked: anybody could fill our memory."""
    held: list[socket.socket] = []

    def announce(sock: socket.socket) -> None:
        held.append(sock)
        with suppress(OSError):
            sock.sendall(b"SSH-2.0-evil\r\n\x7f\xff\xff\xf4\x04\x14" + bytes(100))

    with answering(announce) as port:
        job = Job("/src", SshTarget("127.0.0.1", "/", "me", port), "/state", Options(), Login(timeout=60))
        with pytest.raises(Unreachable, match="broke off while keys were exchanged: a packet of 2147483"):
            open_remote(job, Heard())
    for sock in held:
        sock.close()
