"""From settings to an open SFTP channel by OpenSSH's own client: start it, answer it, hear that we are in.

What may live here: that story, and more channels of the same connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from reconcile.core.errors import Unreachable
from reconcile.remotes.ssh.client.call import Call
from reconcile.remotes.ssh.client.pipe import Pipe, wait_for_any
from reconcile.remotes.ssh.client.process import Process
from reconcile.remotes.ssh.lines import SSH, Channel, no_channel, no_subsystem
from reconcile.remotes.ssh.secret import Secrets
from reconcile.remotes.ssh.settings import Settings
from reconcile.remotes.ssh.target import Login, SshTarget

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

_NO_SUBSYSTEM = "subsystem request failed"
_NO_CHANNEL = "open failed"
_OWN_END = 255  # ssh's exit status where it is not the other end's: ssh(1)


class Connection:
    """See ``lines.Connection``. Made by `connect`."""

    transport_name = SSH

    def __init__(self, call: Call, process: Process, why: str) -> None:
        self.settings = call.settings
        self.where = str(call.settings)
        self.why = why
        self._call = call
        self._take(process)
        self._more: list[tuple[Process, Pipe]] = []

    def _take(self, process: Process) -> None:
        self._process = process
        self.channel = Pipe(process.sock, self._at_end)
        process.listen()
        self._talk = process.talk
        self._call.tell(self._talk)

    @property
    def server_version(self) -> str:
        """What the server says it is."""
        return self._talk.server_version

    @property
    def agreed(self) -> Mapping[str, str]:
        """What the two ends agreed on."""
        return self._talk.agreed

    def _at_end(self, heard: bool) -> None:
        """Nothing more comes. Raises Unreachable or ConnectionError, if it is known what that means."""
        status = self._process.ended()
        said = [*self._talk.warnings]
        self._talk.warnings.clear()
        text = "\n".join(said)
        if not heard and _NO_CHANNEL in text:
            raise no_channel(self.where, said[-1])
        if not heard and (_NO_SUBSYSTEM in text or status not in (_OWN_END, None)):
            raise no_subsystem(self.where)
        if said:
            raise ConnectionError(said[-1])

    @property
    def has_only_lost_its_channel(self) -> bool:
        """Whether the first channel has ended by itself."""
        status = self._process.ended(0.0) if self.channel.recv_ready() else None
        return status not in (_OWN_END, None)

    def renew_channel(self) -> Pipe:
        """Another in the place of the first, by another connection."""
        self._process.end()
        self._take(self._call.make())
        return self.channel

    def ask_for_more(self, count: int, greet: Callable[[Channel], T]) -> list[Future[T | None]]:
        """Up to ``count`` more, over the connection that there is."""
        from concurrent.futures import ThreadPoolExecutor

        def ask(process: Process, pipe: Pipe) -> T | None:
            try:
                return greet(pipe)
            except Unreachable:
                process.end()
                return None

        started = [self._call.make_another() for _ in range(count)]
        fresh = [(process, Pipe(process.sock, lambda _: None)) for process in started if process is not None]
        for process, _ in fresh:
            process.listen()
        self._more += fresh
        pool = ThreadPoolExecutor(count)
        asked = [pool.submit(ask, *each) for each in fresh]
        pool.shutdown(wait=False)
        return asked

    def wait(self, seconds: float) -> None:
        """Until something may have come on one of several channels, or for so long."""
        pipes = [self.channel, *(pipe for _, pipe in self._more)]
        wait_for_any([pipe for pipe in pipes if pipe.fileno() >= 0], seconds)

    def close(self) -> None:
        """Hang up. May be called twice."""
        processes = [*(process for process, _ in self._more), self._process]
        for process in processes:
            process.sock.close()
        for process in processes:
            process.end()
        self._call.tell(self._talk)
        self._call.close()


def connect(
    target: SshTarget,
    settings: Settings,
    login: Login,
    say: Callable[[str], None],
    secrets: Secrets,
    why: str,
) -> Connection:
    """Connect to ``target`` by OpenSSH's client, which checks the host key and authenticates.

    All of it takes ``login.timeout`` seconds at most, not counting those spent at prompts. Raises
    Unreachable, and UsageError for options that can't work.
    """
    call = Call(target, settings, login, say, secrets, why)
    try:
        return Connection(call, call.make(), why)
    except BaseException:
        call.close()
        raise
