"""Proving to the server who we are: keys first, then a password."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TypeAlias

from reconcile.errors import Unreachable
from reconcile.model import Login
from reconcile.remotes.sftp.endpoint import Endpoint
from reconcile.remotes.sftp.keys import Secrets, offers
from reconcile.remotes.sftp.ssh import paramiko
from reconcile.remotes.sftp.transport import Auth, Transport

_Start: TypeAlias = Callable[[threading.Event], object]


def prove(
    transport: Transport,
    endpoint: Endpoint,
    login: Login,
    secrets: Secrets,
    seconds_left: Callable[[], float],
) -> None:
    """Authenticate, with as few questions as possible: nothing is tried that the server has ruled out.

    Raises Unreachable if nothing we have lets us in, and UsageError for a key that can't be used.
    """
    auth = Auth(transport)
    user = endpoint.user
    tried: list[str] = []
    skipped: list[str] = []

    def lets_in(label: str, start: _Start) -> bool:
        tried.append(label)
        transport.auth_timeout = seconds_left()
        _try(auth, start, endpoint, tried)
        return bool(auth.is_authenticated())

    with closing(offers(login, endpoint.identities, secrets, skipped)) as keys:
        for offer in keys:
            if lets_in(f"key {offer.label}", partial(auth.auth_publickey, user, offer.key)):
                return
            if not auth.may("publickey"):
                break
    if auth.may("password") or auth.may("keyboard-interactive"):
        for word in secrets.passwords(f"{user}@{endpoint.host}"):
            if auth.may("password") and lets_in("password", partial(auth.auth_password, user, word)):
                return
            # Some servers ask for the password only this way.
            if not auth.may("password") and auth.may("keyboard-interactive"):
                start = partial(auth.auth_interactive, user, _answer_with(word))
                if lets_in("keyboard-interactive", start):
                    return
    if not tried and lets_in("without a proof", partial(auth.auth_none, user)):
        return
    allowed = ", ".join(auth.allowed or ()) or "nothing it would name"
    unused = f" Not used: {'; '.join(skipped)}" if skipped else ""
    check = "the user and the password" if "password" in tried else "the user"
    raise Unreachable(
        f"{endpoint}, does not let {user!r} in. Tried: {', '.join(tried)}; the server allows: {allowed}."
        f"{unused} Check {check}, or give a key (--identity FILE), an agent with the key loaded, or "
        "the name of a variable that holds the password (--password-env NAME)."
    )


def _try(auth: Auth, start: _Start, endpoint: Endpoint, tried: list[str]) -> None:
    """One attempt, refused or not. Raises Unreachable if the server hangs up or falls silent."""
    answered = threading.Event()
    try:
        start(answered)
        auth.wait_for_response(answered)
    except (paramiko.SSHException, OSError, EOFError) as error:
        if not auth.transport.is_active():
            raise Unreachable(
                f"{endpoint}, hung up while we logged in as {endpoint.user} (tried: {', '.join(tried)}). "
                "Servers do that after too many refused keys: name the right one with --identity."
            ) from None
        if "timeout" in str(error).lower():
            raise Unreachable(f"{endpoint}, did not answer the login as {endpoint.user} in time.") from None


def _answer_with(password: str) -> Callable[[str, str, list[tuple[str, bool]]], list[str]]:
    """Answer a hidden prompt with the password, once: asked again, it was wrong."""
    answers = [password]

    def answer(_title: str, _instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        return [answers.pop() if answers and not echo else "" for _, echo in prompts]

    return answer
