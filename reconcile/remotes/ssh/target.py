"""Where a server is, and how to be let in there: as it was typed."""

from __future__ import annotations

from msgspec import Struct

from reconcile.core.job import Job

CLIENT = "ssh"  # OpenSSH's, where --ssh-command names no other


class SshTarget(Struct, frozen=True):
    """A folder on a server. ``path`` is absolute, or below the login folder if it starts with ``~/``."""

    host: str
    path: str
    user: str | None = None
    port: int | None = None
    scheme: str = "sftp"

    @property
    def name(self) -> str:
        """The server."""
        return self.host

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        path = f"/{self.path}" if self.path.startswith("~") else self.path
        return f"{self.scheme}://{user}{host}{port}{path}"


class Login(Struct, frozen=True):
    """How to reach and prove ourselves to the server. No secret is ever held here."""

    identity: str | None = None  # key file; if given, only this key is offered
    known_hosts: str | None = None  # default ~/.ssh/known_hosts
    host_keys: tuple[str, ...] = ()  # fingerprints, or lines of known_hosts: then only these are taken
    ssh_config: str | None = None  # a file in the place of the user's and the machine's; "none": neither
    accept_new_host_key: bool = False
    password_env: str | None = None  # name of the variable that holds the password
    password_command: str | None = None  # what prints it
    passphrase_command: str | None = None  # what prints that of the key; then a variable holds none
    compress: bool = False
    channels: int | None = None  # at a time, at most
    timeout: float = 30.0  # seconds to connect
    interactive: bool = False  # may prompt on a terminal
    transport: str = "auto"  # by what way, see ``lines``: that which the settings need
    ssh_command: str | None = None  # OpenSSH's client, with what it is always given; default ssh


def of_job(job: Job) -> tuple[SshTarget, Login]:
    """Where a job's server is, and how to be let in there."""
    login = job.login or Login()
    assert isinstance(job.target, SshTarget)
    assert isinstance(login, Login)
    return job.target, login
