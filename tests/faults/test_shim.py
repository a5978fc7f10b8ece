"""The shim's faults by themselves: a plain client of ours against a server that goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.faults import Fault
from tests.support.sshd import Sshd

CLIENT = """
import sys
import paramiko
host, port, user, key, folder = sys.argv[1:]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(host, int(port), user, key_filename=key, look_for_keys=False, allow_agent=False)
sftp = client.open_sftp()
sftp.get_channel().settimeout(1)
for number in range(1, 6):
    try:
        sftp.mkdir(f"{folder}/{number}")
        print("made", number, flush=True)
    except OSError as error:
        print(type(error).__name__, number, error, flush=True)
        if not isinstance(error, (FileNotFoundError, PermissionError)) and "as the test" not in str(error):
            sys.exit(1)
    except Exception as error:
        print(type(error).__name__, number, error, flush=True)
        sys.exit(1)
"""


@pytest.fixture
def client(own_sshd: Sshd, tmp_path: Path) -> Client:
    return Client(own_sshd, tmp_path)


class Client:
    """Makes the directories 1 to 5, one after the other."""

    def __init__(self, sshd: Sshd, folder: Path) -> None:
        self.sshd = sshd
        self.folder = folder
        self.pid_file = str(folder / "pid")

    def __call__(self) -> tuple[int, str]:
        at = self.sshd.endpoint
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                CLIENT,
                at.host,
                str(at.port),
                at.user,
                str(at.identity),
                str(self.folder),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        Path(self.pid_file).write_text(str(process.pid))
        out = process.communicate(timeout=60)[0]
        self.sshd.end_sessions()
        return process.returncode, out

    @property
    def made(self) -> list[int]:
        return [number for number in range(1, 6) if (self.folder / str(number)).is_dir()]

    def assert_well_again(self) -> None:
        """The fault was committed once; the next session meets none."""
        assert not self.sshd.armed
        for number in self.made:
            (self.folder / str(number)).rmdir()
        code, out = self()
        assert (code, out.count("made"), self.made) == (0, 5, [1, 2, 3, 4, 5])


@pytest.mark.parametrize(("when", "made"), [("before", [1, 2]), ("after", [1, 2, 3])])
@pytest.mark.parametrize("do", ["kill", "cut", "close"])
def test_ending(client: Client, do: str, when: str, made: list[int]) -> None:
    client.sshd.arm(Fault(do, 3, when=when, pid_file=client.pid_file))  # type: ignore[arg-type]
    code, out = client()
    assert code == (-signal.SIGKILL if do == "kill" else 1)
    assert out.count("made") == 2
    assert client.made == made
    client.assert_well_again()


def test_the_reply_is_dropped(client: Client) -> None:
    client.sshd.arm(Fault("drop", 2))
    code, out = client()
    assert code == 1
    assert "TimeoutError 2" in out
    assert client.made == [1, 2]
    client.assert_well_again()


def test_never(client: Client) -> None:
    client.sshd.arm(Fault("never", 2))
    assert "TimeoutError 2" in client()[1]
    assert client.made == [1]
    client.assert_well_again()


@pytest.mark.parametrize(
    ("status", "error"), [(2, "FileNotFoundError"), (3, "PermissionError"), (4, "OSError")]
)
def test_an_answer(client: Client, status: int, error: str) -> None:
    client.sshd.arm(Fault("answer", 2, status=status))
    code, out = client()
    assert code == 0
    assert f"{error} 2" in out
    assert client.made == [1, 3, 4, 5]
    client.assert_well_again()


@pytest.mark.parametrize("do", ["garbage", "overlong"])
def test_bytes_that_are_no_answer(client: Client, do: str) -> None:
    client.sshd.arm(Fault(do, 2))  # type: ignore[arg-type]
    code, out = client()
    assert code == 1
    assert out.count("made") == 1
    client.assert_well_again()


def test_requests_are_picked_by_kind_and_path(client: Client) -> None:
    client.sshd.arm(Fault("answer", 1, kind="OPEN"))
    client()
    assert client.made == [1, 2, 3, 4, 5]
    assert client.sshd.armed
    for number in client.made:
        (client.folder / str(number)).rmdir()
    client.sshd.arm(Fault("answer", 1, kind="MKDIR", path="/4"))
    client()
    assert client.made == [1, 2, 3, 5]
    client.assert_well_again()


def test_each_session_takes_the_next_fault(client: Client) -> None:
    client.sshd.arm(Fault("answer", 1), Fault("answer", 2))
    client()
    assert client.made == [2, 3, 4, 5]
    client()
    assert client.made == [1, 2, 3, 4, 5]
    assert not client.sshd.armed


def test_queued_requests_of_a_killed_client_still_run(own_sshd: Sshd, tmp_path: Path) -> None:
    commands = "\n".join(f"-mkdir {tmp_path}/{number}" for number in range(100))
    (tmp_path / "big").write_bytes(os.urandom(2_000_000))
    at = own_sshd.endpoint
    process = subprocess.Popen(
        [
            "sftp",
            *at.ssh_options(),
            "-B",
            "1000",
            "-R",
            "500",
            "-P",
            str(at.port),
            "-b",
            "-",
            f"{at.user}@{at.host}",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (tmp_path / "pid").write_text(str(process.pid))
    own_sshd.arm(Fault("kill", 20, kind="WRITE", delay=0.002, pid_file=str(tmp_path / "pid")))
    process.communicate(f"put {tmp_path}/big {tmp_path}/there\n{commands}\n".encode(), timeout=60)
    assert process.returncode == -signal.SIGKILL
    # It was killed at the 20th, and all these were asked for before.
    assert own_sshd.requests().requests["WRITE"] > 100


def test_a_slow_server(client: Client) -> None:
    client.sshd.arm(Fault("slow", 2, delay=0.01))
    code, _ = client()
    assert code == 0
    assert client.made == [1, 2, 3, 4, 5]
    client.assert_well_again()
