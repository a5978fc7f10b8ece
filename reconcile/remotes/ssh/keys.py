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
from reconcile.remotes.ssh.known_hosts import parse_key
from reconcile.remotes.ssh.library import paramiko
from reconcile.remotes.ssh.secret import Secrets
from reconcile.remotes.ssh.settings import DEFAULT_FILES, Settings
from reconcile.remotes.ssh.target import Login
from reconcile.remotes.words import one_line

T = TypeVar("T")

_MAGIC = b"openssh-key-v1\0"  # OpenSSH, PROTOCOL.key
_OLDER = {"RSA PRIVATE KEY": "ssh-rsa", "EC PRIVATE KEY": "ecdsa"}  # PEM, which keeps no public key
_CIPHERS = ("none", "aes256-ctr", "aes256-cbc", "aes256-gcm@openssh.com")
_NO_CERTIFICATES = "a certificate, which only OpenSSH's own client shows: --transport ssh."
_NO_LONGER = "DSA keys are no longer supported, by OpenSSH neither. Make a new one: ssh-keygen -t ed25519"


class Offer(Struct, frozen=True):
    """A key to show, and what to call it in a message."""

    label: str
    key: paramiko.PKey


class _KeyFile(Struct, frozen=True):
    """What a key file says without being opened."""

    path: str
    kind: str
    public: bytes | None  # None: neither it nor the one beside it says
    text: str = ""
    encrypted: bool = False
    cipher: str = ""  # if it says
    why_not: str = ""  # what keeps it from being used without an agent


class _Unusable(Exception):
    """Why a key file can't be used."""


def offers(
    login: Login,
    settings: Settings,
    secrets: Secrets,
    skipped: list[str],
    seconds_left: Callable[[], float],
    is_wanted: Callable[[str, str, bytes], bool],
) -> Generator[Offer, None, None]:
    """The keys in the order to try them, as OpenSSH has it: the agent's that a file names, its others, files.

    Those that this server has refused in this run are left out. Where opening one takes
    somebody's trouble it is opened only if ``is_wanted``, which is given its label, type and content.

    What can't be used and wasn't asked for is named in ``skipped``. With ``login.identity`` only that one;
    raises UsageError if it can't be used, and TurnedAway if it is encrypted and nobody can open it.
    """
    named = login.identity is not None
    if login.identity is not None:
        files = [_named(login.identity, secrets)]
    else:
        files = _find(settings, secrets, skipped)
    for file in files:
        _look_for_certificate(file.path, skipped)
    if named and not files[0].encrypted and not files[0].why_not:  # no agent is needed
        yield Offer(files[0].path, _load_named(files[0], secrets))
        return
    shown: set[bytes] = set()
    with agent_keys(settings.identity_agent, seconds_left, skipped) as keys:
        for key in _sort(keys, files, skipped, only=named or settings.identities_only):
            shown.add(key.asbytes())
            if key.asbytes() not in secrets.refused:
                yield Offer(_label(key, files), key)
        for file in files:
            if file.public in shown or file.public in secrets.refused:
                continue
            dear = secrets.takes_trouble and file.encrypted and not file.why_not
            if dear and file.public is not None and not is_wanted(file.path, file.kind, file.public):
                continue
            if named:
                yield Offer(file.path, _load_named(file, secrets))
                continue
            try:
                loaded = _load(file, secrets)
            except _Unusable as error:
                skipped.append(f"{file.path}: {error}")
                continue
            if loaded.asbytes() not in shown | secrets.refused.keys():
                yield Offer(file.path, loaded)


def _find(settings: Settings, secrets: Secrets, skipped: list[str]) -> list[_KeyFile]:
    """The key files that the configuration names, or else those that are where everybody has them."""
    found: list[_KeyFile] = []
    for path in dict.fromkeys(
        filter(None, map(in_home, DEFAULT_FILES if settings.identities is None else settings.identities))
    ):
        try:
            found.append(_inspect(path, secrets))
        except FileNotFoundError:
            continue
        except _Unusable as error:
            skipped.append(f"{path}: {error}")
    return found


def _sort(
    keys: Sequence[paramiko.AgentKey], files: Sequence[_KeyFile], skipped: list[str], *, only: bool
) -> list[paramiko.AgentKey]:
    """The agent's keys, those first that ``files`` name, in their order; with ``only`` no others."""
    order = {file.public: place for place, file in reversed(list(enumerate(files)))}
    usable: list[paramiko.AgentKey] = []
    for key in keys:
        if only and key.asbytes() not in order:
            continue
        if "-cert-" in key.get_name():
            skipped.append(f"{_label(key, ())}: {_NO_CERTIFICATES}")
        else:
            usable.append(key)
    return sorted(usable, key=lambda key: order.get(key.asbytes(), len(order)))


def _label(key: paramiko.AgentKey, files: Sequence[_KeyFile]) -> str:
    named = (file.path for file in files if file.public == key.asbytes())
    return f"{next(named, '') or one_line(key.comment) or key.get_name()} (agent)"


def _named(path: str, secrets: Secrets) -> _KeyFile:
    try:
        return _inspect(path, secrets)
    except FileNotFoundError as error:
        raise UsageError(f"can't use the key {path}: {error.strerror}.") from None
    except _Unusable as error:
        raise UsageError(f"can't use the key {path}: {error}") from None


def _load_named(file: _KeyFile, secrets: Secrets) -> paramiko.PKey:
    try:
        return _load(file, secrets)
    except _Unusable as error:
        error_type = UsageError if file.why_not else TurnedAway
        raise error_type(f"can't use the key {file.path}: {error}") from None


def _look_for_certificate(path: str, skipped: list[str]) -> None:
    if os.path.exists(f"{path}-cert.pub"):
        skipped.append(f"{path}-cert.pub: {_NO_CERTIFICATES}")


def _inspect(path: str, secrets: Secrets) -> _KeyFile:
    """Raises _Unusable, and FileNotFoundError if the public key beside it is missing too."""
    try:
        text = secrets.read(path).decode("ascii")
    except FileNotFoundError:
        if (public := _public_beside(path)) is None:
            raise
        return _KeyFile(path, *public, why_not=f"there is but {path}.pub, and no agent has that key.")
    except OSError as error:
        raise _Unusable(f"{error.strerror}.") from None
    except UnicodeDecodeError:
        raise _Unusable("it is no private key file.") from None
    start = text.find("-----BEGIN ")
    label = text[start:].partition("\n")[0].strip(" -\r").removeprefix("BEGIN ") if start >= 0 else ""
    if label == "OPENSSH PRIVATE KEY":
        return _inspect_openssh(path, text)
    if label in _OLDER:
        beside = _public_beside(path)
        return _KeyFile(path, _OLDER[label], beside and beside[1], text, "ENCRYPTED" in text)
    if label == "DSA PRIVATE KEY":
        raise _Unusable(f"{_NO_LONGER}.")
    if label.endswith("PRIVATE KEY"):
        raise _Unusable(f"its format is not OpenSSH's. Convert a copy of it: ssh-keygen -p -f {path}.")
    if text.startswith("PuTTY-User-Key-File"):
        raise _Unusable(f"it is PuTTY's format. Convert it: puttygen {path} -O private-openssh -o NEW_FILE.")
    why_not = "it is a public key, and no agent has its private one; name that, the file without .pub."
    if (key := parse_key(text.split())) is not None:
        return _KeyFile(path, *key, why_not=why_not)
    if text.startswith(("ssh-", "ecdsa-", "sk-")):
        raise _Unusable(why_not)
    raise _Unusable("it is no private key file.")


def _public_beside(path: str) -> tuple[str, bytes] | None:
    """Type and content of the public key that lies beside a private one, if it can be read."""
    try:
        with open(f"{path}.pub", encoding="ascii") as file:
            return parse_key(file.read().split())
    except (OSError, UnicodeDecodeError):
        return None


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
    why_not = ""
    if kind.startswith("sk-"):
        why_not = "it lives on a security key, which only an agent can use: ssh-add it."
    if kind == "ssh-dss":
        raise _Unusable(f"{_NO_LONGER}.")
    if cipher not in _CIPHERS:
        why_not = (
            f"it is encrypted with {one_line(cipher)}, which can't be opened here. Encrypt a copy of it anew "
            f"(ssh-keygen -p -Z aes256-ctr -f {path}), or load it into an agent (ssh-add)."
        )
    return _KeyFile(path, kind, public, text, cipher != "none", cipher, why_not)


def _load(file: _KeyFile, secrets: Secrets) -> paramiko.PKey:
    if file.why_not:
        raise _Unusable(file.why_not)
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
        "(ssh-add), or say what prints the passphrase (--passphrase-command)."
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
