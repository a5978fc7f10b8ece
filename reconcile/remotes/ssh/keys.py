"""The keys we may show a server, each loaded when its turn comes, and the secrets that open them."""

from __future__ import annotations

import base64
import binascii
import io
import os
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)
from msgspec import Struct

from reconcile.core.errors import TurnedAway, UsageError
from reconcile.home import in_home
from reconcile.remotes.ssh.agent import agent_keys
from reconcile.remotes.ssh.library import paramiko
from reconcile.remotes.ssh.secret import Secrets
from reconcile.remotes.ssh.target import Login
from reconcile.remotes.words import one_line

T = TypeVar("T")

DEFAULT_FILES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")

_MAGIC = b"openssh-key-v1\0"  # OpenSSH, PROTOCOL.key
_CIPHERS = ("none", "aes256-ctr", "aes256-cbc", "aes256-gcm@openssh.com")
_NO_CERTIFICATES = "certificates are not supported yet."
_NO_LONGER = "DSA keys are no longer supported, by OpenSSH neither. Make a new one: ssh-keygen -t ed25519"


class Offer(Struct, frozen=True):
    """A key to show, and what to call it in a message."""

    label: str
    key: paramiko.PKey


class _KeyFile(Struct, frozen=True):
    """What a private key file says without being opened."""

    path: str
    text: str
    kind: str
    public: bytes | None  # older formats don't say
    encrypted: bool
    cipher: str = ""  # if it says


class _Unusable(Exception):
    """Why a key file can't be used."""


def offers(
    login: Login,
    configured: Sequence[str],
    secrets: Secrets,
    skipped: list[str],
    seconds_left: Callable[[], float],
) -> Generator[Offer, None, None]:
    """The keys in the order to try them. What can't be used and wasn't asked for is named in ``skipped``.

    With ``login.identity`` only that one; raises UsageError if it can't be used, and TurnedAway if it is
    encrypted and nobody can open it.
    """
    if login.identity is not None:
        yield from _named(login.identity, secrets, skipped, seconds_left)
        return
    seen: set[bytes] = set()
    with agent_keys(seconds_left, skipped) as keys:
        for key in keys:
            label = f"{one_line(key.comment) or key.get_name()} (agent)"
            if "-cert-" in key.get_name():
                skipped.append(f"{label}: {_NO_CERTIFICATES}")
                continue
            seen.add(key.asbytes())
            yield Offer(label, key)
    for path in dict.fromkeys(filter(None, map(in_home, (*configured, *DEFAULT_FILES)))):
        if not os.path.exists(path):
            continue
        try:
            file = _inspect(path, secrets)
            _look_for_certificate(path, skipped)
            if file.public in seen:
                continue
            yield Offer(path, _load(file, secrets))
        except _Unusable as error:
            skipped.append(f"{path}: {error}")


def _named(
    path: str, secrets: Secrets, skipped: list[str], seconds_left: Callable[[], float]
) -> Generator[Offer, None, None]:
    try:
        file = _inspect(path, secrets)
    except _Unusable as error:
        raise UsageError(f"can't use the key {path}: {error}") from None
    _look_for_certificate(path, skipped)
    try:
        key: paramiko.PKey = _load(file, secrets)
    except _Unusable as error:
        reason = str(error)
    else:
        yield Offer(path, key)
        return
    with agent_keys(seconds_left, skipped) as keys:  # perhaps it has that key open already
        for key in keys:
            if key.asbytes() == file.public and "-cert-" not in key.get_name():
                yield Offer(f"{path} (agent)", key)
                return
    raise TurnedAway(f"can't use the key {path}: {reason}")


def _look_for_certificate(path: str, skipped: list[str]) -> None:
    if os.path.exists(f"{path}-cert.pub"):
        skipped.append(f"{path}-cert.pub: {_NO_CERTIFICATES}")


def _inspect(path: str, secrets: Secrets) -> _KeyFile:
    try:
        text = secrets.read(path).decode("ascii")
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
    if cipher not in _CIPHERS:
        raise _Unusable(
            f"it is encrypted with {one_line(cipher)}, which can't be opened here. Encrypt a copy of it anew "
            f"(ssh-keygen -p -Z aes256-ctr -f {path}), or load it into an agent (ssh-add)."
        )
    return _KeyFile(path, text, kind, public, cipher != "none", cipher)


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
    text = file.text
    if passphrase is not None and file.cipher.endswith("-gcm@openssh.com"):  # which paramiko can't open
        opened = load_ssh_private_key(text.encode(), passphrase.encode())
        text = opened.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
        passphrase = None
    return kind.from_private_key(io.StringIO(text), passphrase)
