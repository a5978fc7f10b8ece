"""The keys we may show a server, each loaded when its turn comes, and the secrets that open them."""

from __future__ import annotations

import base64
import binascii
import getpass
import io
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from reconcile.errors import Unreachable, UsageError
from reconcile.model import Login
from reconcile.remotes.sftp.ssh import paramiko

T = TypeVar("T")

DEFAULT_FILES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
TRIES = 3  # at a prompt, as OpenSSH's NumberOfPasswordPrompts

_MAGIC = b"openssh-key-v1\0"  # OpenSSH, PROTOCOL.key
_NO_LONGER = "DSA keys are no longer supported, by OpenSSH neither. Make a new one: ssh-keygen -t ed25519"


class Secrets:
    """What a variable holds or the user types. Nothing of it is ever shown or logged."""

    def __init__(self, login: Login) -> None:
        self.waited = 0.0  # seconds spent at prompts, which are not the server's fault
        self._interactive = login.interactive
        self._given: str | None = None
        self._opened_key = False
        if login.password_env is not None:
            self._given = os.environ.get(login.password_env)
            if not self._given:
                raise UsageError(
                    f"--password-env {login.password_env}: that variable is not set, or empty. "
                    "Export it, or leave the option out."
                )

    def passphrases(self, path: str) -> Iterator[str]:
        """One after the other, until one opens the key. Call :meth:`opened` then."""
        if self._given is not None:
            yield self._given
        elif self._interactive:
            yield from self._ask(f"Passphrase of {path}: ")

    def opened(self) -> None:
        """The given secret is a passphrase, and so no server's business."""
        self._opened_key = True

    def passwords(self, account: str) -> Iterator[str]:
        """One after the other, until one is accepted."""
        if self._given is not None:
            if not self._opened_key:
                yield self._given
        elif self._interactive:
            yield from self._ask(f"Password of {account}: ")

    def _ask(self, prompt: str) -> Iterator[str]:
        for _ in range(TRIES):
            began = time.monotonic()
            try:
                answer = getpass.getpass(prompt)
            except EOFError:
                return
            finally:
                self.waited += time.monotonic() - began
            if not answer:
                return
            yield answer


@dataclass(frozen=True, slots=True)
class Offer:
    """A key to show, and what to call it in a message."""

    label: str
    key: paramiko.PKey


@dataclass(frozen=True, slots=True)
class _KeyFile:
    """What a private key file says without being opened."""

    path: str
    text: str
    kind: str
    public: bytes | None  # older formats don't say
    encrypted: bool


class _Unusable(Exception):
    """Why a key file can't be used."""


def offers(
    login: Login, configured: Sequence[str], secrets: Secrets, skipped: list[str]
) -> Generator[Offer, None, None]:
    """The keys in the order to try them. What can't be used and wasn't asked for is named in ``skipped``.

    With ``login.identity`` only that one; raises UsageError if it can't be used, and Unreachable if it is
    encrypted and nobody can open it.
    """
    if login.identity is not None:
        yield from _named(os.path.expanduser(login.identity), secrets)
        return
    seen: set[bytes] = set()
    with _agent() as keys:
        for key in keys:
            seen.add(key.asbytes())
            yield Offer(f"{key.comment or key.get_name()} (agent)", key)
    for path in dict.fromkeys(map(os.path.expanduser, (*configured, *DEFAULT_FILES))):
        if not os.path.exists(path):
            continue
        try:
            file = _inspect(path)
            if file.public in seen:
                continue
            yield Offer(path, _load(file, secrets))
        except _Unusable as error:
            skipped.append(f"{path}: {error}")


def _named(path: str, secrets: Secrets) -> Generator[Offer, None, None]:
    try:
        file = _inspect(path)
    except _Unusable as error:
        raise UsageError(f"can't use the key {path}: {error}") from None
    try:
        key: paramiko.PKey = _load(file, secrets)
    except _Unusable as error:
        reason = str(error)
    else:
        yield Offer(path, key)
        return
    with _agent() as keys:  # perhaps it has that key open already
        for key in keys:
            if key.asbytes() == file.public:
                yield Offer(f"{path} (agent)", key)
                return
    raise Unreachable(f"can't use the key {path}: {reason}")


@contextmanager
def _agent() -> Iterator[Sequence[paramiko.AgentKey]]:
    """The keys in the agent, which must stay connected while one of them is offered."""
    if sys.platform != "win32" and not os.path.exists(os.environ.get("SSH_AUTH_SOCK", "")):
        yield ()
        return
    try:
        agent = paramiko.Agent()
    except Exception:  # noqa: BLE001 - an agent that is gone or talks nonsense is no agent
        yield ()
        return
    try:
        yield agent.get_keys()
    finally:
        agent.close()


def _inspect(path: str) -> _KeyFile:
    try:
        with open(path, encoding="ascii") as file:
            text = file.read()
    except OSError as error:
        raise _Unusable(f"{error.strerror}.") from None
    except UnicodeDecodeError:
        raise _Unusable("it is no private key file.") from None
    start = text.find("-----BEGIN ")
    label = text[start:].partition("\n")[0].strip(" -\r").removeprefix("BEGIN ") if start >= 0 else ""
    if label == "OPENSSH PRIVATE KEY":
        return _inspect_openssh(path, text)
    if label == "RSA PRIVATE KEY":
        return _KeyFile(path, text, "ssh-rsa", None, "ENCRYPTED" in text)
    if label == "EC PRIVATE KEY":
        return _KeyFile(path, text, "ecdsa", None, "ENCRYPTED" in text)
    if label == "DSA PRIVATE KEY":
        raise _Unusable(f"{_NO_LONGER}.")
    if label.endswith("PRIVATE KEY"):
        raise _Unusable(f"its format is not OpenSSH's. Convert a copy of it: ssh-keygen -p -f {path}.")
    if text.startswith("PuTTY-User-Key-File"):
        raise _Unusable(f"it is PuTTY's format. Convert it: puttygen {path} -O private-openssh -o NEW_FILE.")
    if text.startswith(("ssh-", "ecdsa-", "sk-")):
        raise _Unusable("it is a public key; name the private one, the file without .pub.")
    raise _Unusable("it is no private key file.")


def _inspect_openssh(path: str, text: str) -> _KeyFile:
    body = text.partition("-----BEGIN OPENSSH PRIVATE KEY-----")[2].partition("-----END")[0]
    try:
        _, _, data = base64.b64decode(body).partition(_MAGIC)
        message = paramiko.Message(data)
        cipher = message.get_text()
        message.get_binary()  # how the passphrase is stretched
        message.get_binary()  # and with what
        message.get_int()  # number of keys: always one
        public = message.get_binary()
        kind = paramiko.Message(public).get_text()
    except (binascii.Error, ValueError):
        raise _Unusable("it is damaged.") from None
    if not kind:
        raise _Unusable("it is damaged.")
    if kind.startswith("sk-"):
        raise _Unusable("it lives on a security key, which only an agent can use: ssh-add it.")
    if kind == "ssh-dss":
        raise _Unusable(f"{_NO_LONGER}.")
    return _KeyFile(path, text, kind, public, encrypted=cipher != "none")


def _load(file: _KeyFile, secrets: Secrets) -> paramiko.PKey:
    if not file.encrypted:
        return _try(lambda: _parse(file, None), "it is damaged.")
    tried = False
    for passphrase in secrets.passphrases(file.path):
        tried = True
        try:
            key = _try(lambda passphrase=passphrase: _parse(file, passphrase), "")  # type: ignore[misc]
        except _Unusable:
            continue
        secrets.opened()
        return key
    raise _Unusable(
        "the passphrase is wrong."
        if tried
        else "it is encrypted, and there is no terminal to ask for its passphrase. Load it into an agent "
        "(ssh-add), or put the passphrase into a variable and name that with --password-env."
    )


def _try(parse: Callable[[], T], message: str) -> T:
    try:
        return parse()
    except Exception:  # noqa: BLE001 - a wrong passphrase gives garbage, and parsing garbage raises anything
        raise _Unusable(message) from None


def _parse(file: _KeyFile, passphrase: str | None) -> paramiko.PKey:
    kind: type[paramiko.PKey] = paramiko.RSAKey
    if file.kind == "ssh-ed25519":
        kind = paramiko.Ed25519Key
    elif file.kind.startswith("ecdsa"):
        kind = paramiko.ECDSAKey
    return kind.from_private_key(io.StringIO(file.text), passphrase)
