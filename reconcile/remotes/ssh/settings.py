"""What the configuration of SSH and DEST together say of a connection: whom to call, as whom, by what way.

What may live here: the noun. What it is read from is in ``config``.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

DEFAULT_FILES = tuple(  # where everybody has keys: ssh_config(5), IdentityFile
    f"~/.ssh/id_{kind}" for kind in ("ed25519", "ecdsa", "rsa", "ed25519_sk", "ecdsa_sk")
)
NONE = "none"  # how a config says that something is not to be used


class Setting(Struct, frozen=True):
    """One thing that the configuration says, as it is spelled there."""

    keyword: str  # as in ssh_config(5): AddressFamily
    value: str
    where: str = ""  # what says so, for a message: ~/.ssh/config, line 3

    def __str__(self) -> str:
        return f"{self.keyword} {self.value}"


class Strict(Enum):
    """What is done about a host whose key is not known: StrictHostKeyChecking."""

    ASK = "ask"
    YES = "yes"  # it is turned down, without a question
    ACCEPT_NEW = "accept-new"  # it is written down


class Settings(Struct, frozen=True):
    """Of one host, what is to be used. None stands for OpenSSH's defaults.

    Paths are whole: ``~`` and tokens (%h, %d …) are expanded.
    """

    host: str  # to call: what HostName says, or what was typed
    port: int
    user: str
    name: str = ""  # as it was typed, and as the config knows it; OpenSSH's client is to be given this
    identities: tuple[str, ...] | None = None  # IdentityFile, of keys that may be an agent's; (): none
    certificates: tuple[str, ...] = ()  # CertificateFile
    identities_only: bool = False  # of an agent's keys only those that a file names
    identity_agent: str | None = None  # a socket, or ``NONE``; None: the one that SSH_AUTH_SOCK names
    user_known_hosts: tuple[str, ...] | None = None  # UserKnownHostsFile; (): none at all
    global_known_hosts: tuple[str, ...] | None = None  # GlobalKnownHostsFile; (): none at all
    hash_known_hosts: bool = False  # whether a name is hashed that is written there
    host_key_alias: str | None = None  # the name to look for in known_hosts, without a port
    strict_host_key: Strict = Strict.ASK
    connect_timeout: float | None = None  # seconds, in the place of ours if --timeout was not given
    proxy_jump: str | None = None  # [user@]host[:port], or several of them with commas
    proxy_command: str | None = None  # with its tokens: they are expanded by who runs it
    others: tuple[Setting, ...] = ()  # what else makes a difference, and only OpenSSH's client follows
    sources: tuple[Setting, ...] = ()  # all that was said and makes a difference, and by what

    def __str__(self) -> str:
        return f"{self.host}, port {self.port}"

    @property
    def proxy(self) -> str | None:
        """What stands between us and the host, as the config says it. None: nothing."""
        if self.proxy_jump is not None:
            return f"ProxyJump {self.proxy_jump}"
        return None if self.proxy_command is None else f"ProxyCommand {self.proxy_command}"

    @property
    def reservation(self) -> str:
        """To be added where connecting failed: perhaps that is why."""
        said = [setting.keyword for setting in self.others] + ["CertificateFile"] * bool(self.certificates)
        words = ", ".join(dict.fromkeys(said))
        if not words:
            return ""
        return f" The SSH configuration also says {words} for this host, which is not followed here."
