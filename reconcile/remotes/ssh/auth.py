"""Proving to the server who we are: keys first, then a password."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TypeAlias

from reconcile.core.errors import TurnedAway, Unreachable
from reconcile.remotes.ssh.keys import Offer, offers
from reconcile.remotes.ssh.library import paramiko
from reconcile.remotes.ssh.secret import TRIES, Answers, Secrets
from reconcile.remotes.ssh.settings import Settings
from reconcile.remotes.ssh.target import Login
from reconcile.remotes.ssh.transport import Auth, Transport
from reconcile.remotes.words import one_line

_Start: TypeAlias = Callable[[threading.Event], object]

PASSWORD, DIALOGUE = "password", "keyboard-interactive"  # their names, RFC 4252 and 4256
NOTHING = "without a proof"
_KEY = "key "  # how the label of one begins
_ENOUGH = re.compile("too many auth", re.IGNORECASE)  # as OpenSSH says after MaxAuthTries


def prove(
    transport: Transport,
    settings: Settings,
    login: Login,
    secrets: Secrets,
    seconds_left: Callable[[], float],
) -> None:
    """Authenticate, with as few questions as possible: nothing is tried that the server has ruled out.

    Raises TurnedAway if nothing we have lets us in, and UsageError for a key that can't be used. Keys that it
    refused before it hung up are left in ``secrets``: others may be taken on another connection.
    """
    attempts = _Attempts(transport, settings, secrets, seconds_left)
    with closing(offers(login, settings, secrets, attempts.skipped, seconds_left, attempts.wants)) as keys:
        for offer in keys:
            if attempts.by_key(offer):
                return
            if not attempts.auth.may("publickey"):
                break
    if not (attempts.by_password() or attempts.by_dialogue() or attempts.by_nothing()):
        why = attempts.explain()
        secrets.refused.clear()  # who asks again later may have been let in meanwhile
        raise TurnedAway(why)


class _Attempts:
    """What was tried on one connection, and how to try more."""

    def __init__(
        self, transport: Transport, settings: Settings, secrets: Secrets, seconds_left: Callable[[], float]
    ) -> None:
        self.auth = Auth(transport)
        self._transport = transport
        self.skipped: list[str] = []  # what can't be used, and why
        self._settings = settings
        self._user = settings.user
        self._account = f"{settings.user}@{settings.host}"
        self._secrets = secrets
        self._seconds_left = seconds_left
        self._tried: list[str] = []
        self._took_password = False  # and wants something else beside it
        self._unanswered: list[str] = []

    def by_key(self, offer: Offer) -> bool:
        """One of our keys."""
        start = partial(self.auth.auth_publickey, self._user, offer.key)
        return self._show(offer.label, offer.key.asbytes(), start)

    def wants(self, label: str, kind: str, public: bytes) -> bool:
        """Whether the server would take a key: else nobody needs to open it."""
        if not self.auth.may("publickey"):
            return False
        self._show(label, public, partial(self.auth.ask_about, self._user, kind, public))
        if self.auth.would_take:
            self._tried.remove(f"{_KEY}{label}")  # not yet
        return self.auth.would_take

    def _show(self, label: str, public: bytes, start: _Start) -> bool:
        """Whether a key lets us in. One that the server refuses is noted."""
        refused = self.auth.would_take = False
        try:
            if self.lets_in(f"{_KEY}{label}", start):
                return True
            refused = not (self.auth.partly or self.auth.unsigned or self.auth.would_take)
        except Unreachable:
            refused = self._had_enough  # or the line broke
            raise
        finally:
            if refused:
                self._secrets.refused[public] = label
        return False

    @property
    def _had_enough(self) -> bool:
        """Whether the server said so when it hung up."""
        return _ENOUGH.search(self._transport.farewell) is not None

    def lets_in(self, label: str, start: _Start) -> bool:
        """One attempt. Raises Unreachable if the server hangs up or falls silent."""
        if label not in self._tried or label.startswith(_KEY):
            self._tried.append(label)
        answered = threading.Event()
        auth = self.auth
        auth.unsigned = False
        try:
            start(answered)
        except (paramiko.SSHException, OSError, EOFError):
            auth.unsigned = True  # if we are still connected
        if auth.transport.is_active() and (auth.unsigned or auth.wait(answered, self._seconds_left)):
            if auth.unsigned:  # the server has heard nothing of it
                self._tried.remove(label)
                self.skipped.append(f"{label}: it did not sign, or was not confirmed in time.")
            return bool(auth.is_authenticated())
        if auth.transport.is_active():
            raise Unreachable(f"{self._settings}, did not answer the login as {self._user} in time.")
        if not label.startswith(_KEY):  # it would only be tried again on another connection
            self._secrets.refused.clear()
        keys = sum(each.startswith(_KEY) for each in self._tried)
        advice = (
            "Servers do that after too many refused keys: name the right one with --identity."
            if keys > 1
            else "It may not want this user, or this kind of login, or too many have failed of late."
        )
        said = one_line(self._transport.farewell)
        saying = f', saying "{said}"' if said else ""
        # After one attempt only it may be the line that broke.
        lasting = TurnedAway if len(self._tried) > 1 or self._had_enough else Unreachable
        raise lasting(
            f"{self._settings}, hung up while we logged in as {self._user}{saying} "
            f"(tried: {', '.join(self._tried)}). {advice}"
        )

    def by_password(self) -> bool:
        """The password, typed or given. Some servers list this way in and take it only by the other."""
        auth, secrets = self.auth, self._secrets
        if auth.allowed is None and secrets.interactive and not secrets.is_given and self.by_nothing():
            return True  # or we know now what it would ask for
        if not auth.may(PASSWORD):
            return False
        for word in secrets.passwords(self._account):
            if self.lets_in(PASSWORD, partial(auth.auth_password, self._user, word)):
                secrets.was_right()
                return True
            self._took_password = auth.partly
            if not auth.may(PASSWORD) or auth.partly:
                break
            if auth.may(DIALOGUE) and self._talk(word) is None:
                return True
        return False

    def by_dialogue(self) -> bool:
        """Whatever the server asks: for a password, mostly, or a second factor."""
        if not self.auth.may(DIALOGUE) or DIALOGUE in self._tried:
            return False
        secrets = self._secrets
        for _ in range(TRIES):
            word = None if self._took_password else secrets.given or secrets.typed(self._account)
            if word is None and not secrets.interactive and not self._took_password:
                return False
            talk = self._talk(word)
            if talk is None:
                return True
            secrets.keep(self._account, None)
            if secrets.renew():
                continue
            if secrets.is_given or not secrets.interactive or not talk.asked:
                return False
        return False

    def _talk(self, word: str | None) -> Answers | None:
        """One dialogue; None if it lets us in."""
        answers = Answers(self._secrets, self._account, word)
        if self.lets_in(DIALOGUE, partial(self.auth.auth_interactive, self._user, answers)):
            self._secrets.was_right()
            if answers.hidden is not None and not self._took_password:
                self._secrets.keep(self._account, answers.hidden)
            return None
        self._unanswered = answers.unanswered or self._unanswered
        return answers

    def by_nothing(self) -> bool:
        """No proof at all, where there is none to try: it tells what the server would take."""
        return not self._tried and self.lets_in(NOTHING, partial(self.auth.auth_none, self._user))

    def explain(self) -> str:
        """Why nothing has let us in, and what might."""
        refused = [f"{_KEY}{label}" for label in self._secrets.refused.values()]
        tried = [
            label for label in dict.fromkeys([*refused, *self._tried]) if label != NOTHING
        ] or self._tried
        allowed = ", ".join(self.auth.allowed or ()) or "nothing it would name"
        parts = [f"{self._settings}, does not let {self._user!r} in."]
        parts.append(f"Tried: {', '.join(tried)}; the server allows: {allowed}.")
        if self.skipped:
            parts.append(f"Not used: {'; '.join(self.skipped)}")
        if self._unanswered:
            asked = " and ".join(f'"{text}"' for text in self._unanswered)
            parts.append(
                f"The server also asked {asked}, which nobody could answer: that takes a terminal, or a "
                "login that needs no second factor, such as a key."
            )
        if self._secrets.looks_odd:
            parts.append("(The password that was given begins or ends with a blank.)")
        check = "the user and the password" if PASSWORD in tried or DIALOGUE in tried else "the user"
        parts.append(
            f"Check {check}, or give a key (--identity FILE), an agent with the key loaded, or "
            "what prints or holds the password (--password-command CMD, --password-env NAME)."
        )
        return " ".join(parts)
