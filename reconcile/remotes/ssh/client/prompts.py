"""What OpenSSH's client asks of its user, and who answers that.

What may live here: which secret a prompt is for. A secret that was given is the server's that DEST names,
or a key's of ours; whatever else is asked is shown to the user, if there is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from reconcile.remotes.ssh.secret import Answers, Secrets
from reconcile.remotes.words import one_line

_PASSPHRASE = re.compile(r"Enter passphrase for (?:key )?'?(.*?)'?: ")
_PASSWORD = re.compile(r"(\S+@\S+)'s password: ")
_DIALOGUE = re.compile(r"\((\S+@\S+?)\) (.*)", re.DOTALL)
_TRUST = "continue connecting"
_SHOWN = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_CUT = 100  # characters of a file's name that ssh shows

NOTICE, CONFIRM = "none", "confirm"  # what SSH_ASKPASS_PROMPT says of a prompt: ssh(1)


class Unanswered(Exception):
    """Nobody can answer that, and without it there is no way in."""

    def __init__(self, prompt: str, *, trust: bool = False) -> None:
        super().__init__(prompt)
        self.prompt = prompt
        self.trust = trust  # it was whether to trust a host


class Prompts:
    """Answers what is asked on the way to one server, whose user is ``account``.

    ``spelled``: all that ssh calls that. ``keys``: files that hold ours. ``partly`` tells whether the
    server has accepted something already.
    """

    def __init__(
        self,
        secrets: Secrets,
        account: str,
        spelled: Sequence[str],
        keys: Sequence[str],
        partly: Callable[[], bool],
    ) -> None:
        self.refused = False  # a password was asked for again
        self._secrets = secrets
        self._account = account
        self._spelled = set(spelled)
        self._keys = keys
        self._partly = partly
        self._passphrases: dict[str, Iterator[str]] = {}
        self._passwords: Iterator[str] | None = None
        self._dialogue: Answers | None = None
        self._asked: set[str] = set()  # in it
        self._given = False  # a password was
        self._word: str | None = None  # the same, to be said in the dialogue
        self._others: set[str] = set()  # accounts elsewhere that were asked about

    def answer(self, hop: str, kind: str, prompt: str) -> str | None:
        """What to tell ssh; None: it has to do without. ``hop``: the host on the way that asks.

        Raises Unanswered.
        """
        secrets = self._secrets
        if _TRUST in prompt:
            return self._trust(prompt)
        if kind == CONFIRM:
            return "yes" if secrets.confirm(_shown(prompt)) else None
        if not hop and (match := _PASSPHRASE.fullmatch(prompt)):
            return self._passphrase(match[1])
        if match := _PASSWORD.fullmatch(prompt):
            ours = not hop and match[1] in self._spelled
            return (
                self._password(prompt) if ours else self._ask(prompt, f"{match[1]} ({hop or 'on the way'})")
            )
        if not hop and (match := _DIALOGUE.fullmatch(prompt)) and match[1] in self._spelled:
            return self._talk(match[2])
        return self._ask(prompt)

    def settle(self) -> None:
        """We are let in: what was typed was right."""
        if self._given or self._word is not None:
            self._secrets.was_right()
        if self._dialogue is not None and self._dialogue.hidden is not None and not self._given:
            self._secrets.keep(self._account, self._dialogue.hidden)

    def _trust(self, prompt: str) -> str:
        shown = _SHOWN.search(prompt)
        question = prompt.rpartition("\n")[0] or prompt
        if self._secrets.confirm(
            f"{_shown(question)}\nConnect, and add that key?", shown[0] if shown else ""
        ):
            return "yes"
        raise Unanswered(" ".join(_shown(prompt).split()), trust=True)

    def _passphrase(self, path: str) -> str | None:
        file = next((key for key in self._keys if key[:_CUT] == path), path)
        if file not in self._passphrases:
            self._passphrases[file] = iter(self._secrets.passphrases(file))
        return next(self._passphrases[file], None)

    def _password(self, prompt: str) -> str:
        self.refused = self._passwords is not None
        if self._passwords is None:
            if self._partly() and self._passphrases:
                self._secrets.opened()
            self._passwords = iter(self._secrets.passwords(self._account))
        word = next(self._passwords, None)
        if word is None:
            raise Unanswered(_shown(prompt))
        self._given = True
        return word

    def _talk(self, text: str) -> str:
        if self._dialogue is None:
            self._word = None if self._given else self._secrets.given or self._secrets.typed(self._account)
            self._dialogue = Answers(self._secrets, self._account, self._word)
        elif text in self._asked:  # what was said was wrong
            self.refused = True
            self._secrets.keep(self._account, None)
            self._word = self._secrets.given if self._secrets.renew() else None
            self._dialogue = Answers(self._secrets, self._account, self._word)
            self._asked.clear()
        self._asked.add(text)
        (answer,) = self._dialogue("", "", [(text, False)])
        if self._dialogue.unanswered:
            raise Unanswered(_shown(text))
        return answer

    def _ask(self, prompt: str, account: str = "") -> str:
        """What a host on the way asks, or a token: never answered by what was given for the server."""
        secrets = self._secrets
        if account in self._others:
            secrets.keep(account, None)
        word = (secrets.typed(account) if account else None) or secrets.ask(f"{_shown(prompt)} ")
        if word is None:
            raise Unanswered(_shown(prompt))
        if account:
            self._others.add(account)
            secrets.keep(account, word)
        return word


def _shown(prompt: str) -> str:
    """A prompt, fit for a terminal."""
    return "\n".join(one_line(line.strip()) for line in prompt.strip().splitlines())
