"""From a target to a connection: what the configuration says, and by what way that is to be had.

What may live here: the choice between paramiko and OpenSSH's own client. Paramiko takes less of this
machine, and asks for nothing to be installed; the client follows whatever may be configured.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from reconcile.core.errors import UsageError
from reconcile.home import in_home, is_moved
from reconcile.remotes.ssh.common import NothingInCommon, known_to_client
from reconcile.remotes.ssh.config import find_settings
from reconcile.remotes.ssh.connect import PATIENCE
from reconcile.remotes.ssh.known_hosts import look_up
from reconcile.remotes.ssh.lines import PARAMIKO, SSH, Connection
from reconcile.remotes.ssh.settings import DEFAULT_FILES, Settings
from reconcile.remotes.ssh.target import CLIENT, Login, SshTarget

if TYPE_CHECKING:
    from reconcile.remotes.ssh.secret import Secrets

_HELD = "sk-"  # how the type of a key begins that a token holds


def reach(
    target: SshTarget,
    login: Login,
    say: Callable[[str], None],
    patience: float = PATIENCE,
    secrets: Secrets | None = None,
) -> Connection:
    """Connect to ``target``, check its host key, authenticate and open SFTP.

    ``say`` is told what the user should know once. All of it takes ``login.timeout``
    seconds at most, not counting those spent at prompts; afterwards ``patience`` is
    how long it may take no data before it counts as broken. ``secrets`` are those of the
    run, which has connected before. Raises Unreachable, and UsageError for options that
    can't work.
    """
    if secrets is None:
        from reconcile.remotes.ssh.secret import Secrets

        secrets = Secrets(login)
    settings = find_settings(target, login, say)
    name, why = choose(settings, login, secrets.read)
    if name == PARAMIKO:
        from reconcile.remotes.ssh.connect import connect

        try:
            return connect(target, login, say, patience, secrets, settings, why)
        except NothingInCommon as error:
            why = _better_by_client(error, login)
    if login.ssh_config is None and is_moved():
        raise UsageError(
            f"OpenSSH's client is needed here ({why}), and reads no configuration of a home folder that only "
            "HOME names. Not connected. Give it that file: --ssh-config FILE ('none' to use none at all)."
        )
    from reconcile.remotes.ssh.client.connection import connect as connect_by_client

    return connect_by_client(target, settings, login, say, secrets, why)


def _better_by_client(error: NothingInCommon, login: Login) -> str:
    """Why OpenSSH's client is worth trying after paramiko had nothing in common with the server.

    Raises the error, with the way out if there is one.
    """
    from reconcile.remotes.ssh.client.arguments import program_of

    known = known_to_client(program_of(login), error.mismatch) if error.mismatch is not None else []
    if not known or error.mismatch is None:
        raise error
    if login.transport == PARAMIKO:
        raise NothingInCommon(
            f"{error} OpenSSH's client here has {', '.join(known)}: leave --transport out, or give 'ssh'."
        ) from None
    return f"paramiko has none of the {error.mismatch.what} that the server offers"


def choose(settings: Settings, login: Login, read: Callable[[str], bytes]) -> tuple[str, str]:
    """By what way, and why. ``read`` reads a file of the user's."""
    if login.transport in (PARAMIKO, SSH):
        return login.transport, "--transport"
    if login.ssh_command is not None:
        return SSH, "--ssh-command"
    if settings.proxy is not None:
        return SSH, settings.proxy
    if shutil.which(CLIENT) is not None:
        if settings.certificates:
            return SSH, f"CertificateFile {settings.certificates[0]}"
        if certificate := _certificate_beside(settings, login):
            return SSH, f"{certificate} is a certificate"
        if settings.others:
            return SSH, str(settings.others[0])
        if token := _token_key(settings, login):
            return SSH, f"{token} is the key of a token"
        known = look_up(settings, login, read)
        if known.authorities and not (known.trusted or known.pins):
            line = known.authorities[0]
            return SSH, f"@cert-authority in {line.file}, line {line.number}"
    return PARAMIKO, "nothing that is configured needs another"


def _certificate_beside(settings: Settings, login: Login) -> str | None:
    """One that lies beside a key of ours, where OpenSSH finds it."""
    named = DEFAULT_FILES if settings.identities is None else settings.identities
    keys = map(in_home, (login.identity,) if login.identity is not None else named)
    return next((each for key in keys if key and os.path.isfile(each := f"{key}-cert.pub")), None)


def _token_key(settings: Settings, login: Login) -> str | None:
    """A key that was named, and that only a token has: FIDO's."""
    named = (login.identity,) if login.identity is not None else settings.identities or ()
    return next((path for path in named if _is_token_key(path)), None)


def _is_token_key(path: str) -> bool:
    try:
        if not os.path.isfile(f"{path}.pub"):
            return False
        with open(f"{path}.pub", encoding="ascii", errors="replace") as file:
            return file.read(len(_HELD)) == _HELD
    except OSError:
        return False
