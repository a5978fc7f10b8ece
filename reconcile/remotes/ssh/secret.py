"""What only the user can give: secrets, a yes, and files that can be read but once. One for each run.

What may live here: asking, and keeping what was right for the connections that follow.
"""

from __future__ import annotations

import getpass
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from reconcile.core.errors import UsageError
from reconcile.remotes.ssh.command import read_secret
from reconcile.remotes.ssh.known_hosts import read_whole
from reconcile.remotes.ssh.target import Login
from reconcile.remotes.words import one_line

# What is asked for is good for once.
_ONCE = re.compile(r"code|token|otp|one.time|factor|verif|\bpin\b", re.IGNORECASE)

TRIES = 3  # at a prompt, as OpenSSH's NumberOfPasswordPrompts


class Secrets:
    """What a variable holds, a command prints or the user types. Nothing of it is ever shown or logged.

    What was printed or typed is given again, unasked, until it turns out to be wrong.
    ``before_asking`` returns when the user may be asked, or a command run that may ask.
    """

    def __init__(self, login: Login, before_asking: Callable[[], None] = lambda: None) -> None:
        self.interactive = login.interactive
        self._before_asking = before_asking
        self._held = 0.0  # seconds until it returned
        self._held_since: float | None = None
        self._login = login
        self._variable: str | None = None  # what it holds
        self._opened_key = False  # that
        self.refused: dict[bytes, str] = {}  # keys, public, that the server does not take, and their labels
        self._printed: dict[str, str] = {}  # by option: what its command did
        self._was_right = False  # what is given as the password, on a connection before
        self._typed: dict[str, str] = {}  # by prompt; right, as far as is known
        self._contents: dict[str, bytes] = {}  # of pipes
        self._spent = 0.0
        self._asking_since: float | None = None
        if login.password_env is not None:
            # A secret that comes out of a file or a vault ends in a line break more often than not.
            self._variable = os.environ.get(login.password_env, "").rstrip("\r\n")
            if not self._variable:
                raise UsageError(
                    f"--password-env {login.password_env}: that variable is not set, or empty. "
                    "Export it, or leave the option out."
                )

    @property
    def waited(self) -> float:
        """Seconds spent at prompts so far, which are neither the server's fault nor ours."""
        since = self._asking_since
        return self._spent + (time.monotonic() - since if since is not None else 0.0)

    @property
    def paused(self) -> float:
        """The same, and those until the user could be asked: while the connection did not go on."""
        since = self._held_since
        return self.waited + self._held + (time.monotonic() - since if since is not None else 0.0)

    def read(self, path: str) -> bytes:
        """A file of the user's. A pipe (``<(…)`` in a shell) can be read only once: that is kept."""
        if (kept := self._contents.get(path)) is not None:
            return kept
        with open(path, "rb") as file:
            data = read_whole(file)
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                self._contents[path] = data
        return data

    def passphrases(self, path: str) -> Iterator[str]:
        """One after the other, until one opens the key. Call :meth:`opened` then."""
        if (command := self._login.passphrase_command) is not None:
            yield self._print("--passphrase-command", command)
        elif self._variable is not None:
            yield self._variable
        else:
            yield from self._ask(f"Passphrase of {path}: ", "It does not open the key.")

    @property
    def takes_trouble(self) -> bool:
        """Whether a passphrase has to be typed, or printed by a command.

        What a variable holds may be one or not: that is seen by trying, before it is sent as a password.
        """
        return self._login.passphrase_command is not None or (self._variable is None and self.interactive)

    def opened(self) -> None:
        """What was given opens a key: if it is what the variable holds, that is no server's business."""
        self._opened_key = self._login.passphrase_command is None

    @property
    def is_given(self) -> bool:
        """Whether there is a password that nobody has to type."""
        return self._login.password_command is not None or (
            self._variable is not None and not self._opened_key
        )

    @property
    def given(self) -> str | None:
        """That password. Raises TurnedAway if the command that is to print it does not."""
        if (command := self._login.password_command) is not None:
            return self._print("--password-command", command)
        return self._variable if self.is_given else None

    @property
    def looks_odd(self) -> bool:
        """Whether the password that was given begins or ends with a blank."""
        given = self._printed.get("--password-command", self._variable) or ""
        return given != given.strip()

    def was_right(self) -> None:
        """The password that was given let us in."""
        self._was_right = True

    def renew(self) -> bool:
        """Whether another may be given: what let us in before may have been good for once, or for a while."""
        may_differ, self._was_right = self._was_right and self._login.password_command is not None, False
        if may_differ:
            del self._printed["--password-command"]
        return may_differ

    def passwords(self, account: str) -> Iterator[str]:
        """One after the other, until one is accepted."""
        if self.given is not None:
            yield self.given
            if self.renew():
                yield self.given
        elif self._variable is None:
            yield from self._ask(_password_of(account), "The server does not accept it.")

    def typed(self, account: str) -> str | None:
        """The password as it was typed before, if it was."""
        return self._typed.get(_password_of(account))

    def keep(self, account: str, password: str | None) -> None:
        """What was typed and right, for the connections that follow; None: it was not right."""
        if password is None:
            self._typed.pop(_password_of(account), None)
        else:
            self._typed[_password_of(account)] = password

    def _ask(self, prompt: str, wrong: str) -> Iterator[str]:
        again = ""
        for _ in range(TRIES):
            answer = self._typed.get(prompt) or self.ask(f"{again}{prompt}")
            if not answer:
                return
            self._typed[prompt] = answer
            yield answer
            del self._typed[prompt]  # who comes back for another was not served by this one
            again = f"{wrong}\n"

    def ask(self, prompt: str, *, echo: bool = False) -> str | None:
        """What the user types, unseen but with ``echo``; None where nobody is there."""
        if not self.interactive:
            return None
        with self._pause():
            try:
                return _read_shown(prompt) if echo else getpass.getpass(prompt)
            except EOFError:
                return None

    def _print(self, option: str, command: str) -> str:
        """What a command prints, which is run once."""
        if option not in self._printed:
            with self._pause():
                patience = None if self.interactive else self._login.timeout
                self._printed[option] = read_secret(command, option, patience)
        return self._printed[option]

    @contextmanager
    def _pause(self) -> Iterator[None]:
        """It is the user's turn: neither the server's time nor ours passes."""
        self._held_since = began = time.monotonic()
        self._before_asking()
        self._asking_since = time.monotonic()
        self._held, self._held_since = self._held + self._asking_since - began, None
        try:
            yield
        finally:
            self._spent, self._asking_since = self.waited, None

    def confirm(self, question: str, also: str = "") -> bool:
        """Whether the user says yes, in full; ``also`` is as good an answer."""
        prompt = f"{question} (yes/no) "
        while (answer := self.ask(prompt, echo=True)) is not None:
            answer = answer.strip()
            if answer.lower() in ("yes", "no") or (also and answer == also):
                return answer.lower() != "no"
            prompt = "Please type 'yes' or 'no': "
        return False


class Answers:
    """Answers what a server asks in a dialogue of its own (keyboard-interactive, RFC 4256).

    ``word`` answers the first hidden question, unless that asks for what no word can be; the others
    are the user's. Without a user they are kept in ``unanswered``.
    """

    def __init__(self, secrets: Secrets, account: str, word: str | None) -> None:
        self.hidden: str | None = None  # the first answer that was typed unseen
        self.asked = 0  # questions
        self.unanswered: list[str] = []
        self._secrets = secrets
        self._account = account  # so that it is clear who asks
        self._word = word

    def __call__(self, title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        """One round of questions, each with whether what is typed may be seen."""
        answers: list[str] = []
        above = [one_line(text.strip()) for text in (title, instructions) if text.strip()]
        for text, echo in prompts:
            self.asked += 1
            once = _ONCE.search(text) is not None
            if self._word is not None and not echo and not once:
                answers.append(self._word)
                self._word = None
                continue
            shown = one_line(text.strip()) or "The server asks:"
            prompt = f"({self._account}) {shown} "
            answer = self._secrets.ask("\n".join([*above, prompt]), echo=echo)
            above = []
            if answer is None:
                self.unanswered.append(shown)
            elif not (echo or once):
                self.hidden = self.hidden or answer
            answers.append(answer or "")
        return answers


def _password_of(account: str) -> str:
    return f"Password of {account}: "


def _read_shown(prompt: str) -> str:
    """A line from the terminal. Not by ``input``: stdout, where its prompt goes, may be for a document."""
    sys.stderr.write(prompt)
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")
