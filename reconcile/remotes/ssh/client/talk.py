"""What OpenSSH's client says while it works (``ssh -v``, on stderr), and what that means when it gives up.

What may live here: reading its lines; nothing of it decides whom we trust. A server may put words into
them, so that they are cleaned, and believed no further than a message goes.
"""

from __future__ import annotations

import re
from collections import deque

from reconcile.core.errors import ReconcileError, TurnedAway, Unreachable, Untrusted, UsageError
from reconcile.remotes.words import one_line

_KEPT = 20  # lines at each end of the login
_LONGEST = 4096  # bytes of a line
_TOLD = 3  # lines in a message
_CHATTER = re.compile(
    r"Authenticated to |Transferred: sent |Bytes per second: |Killed by signal|no such identity: "
    r"|Connection to .* closed|Shared connection to |mux_client_|Control socket"
)
_WARNING = re.compile(r"(?:\*\* )?warning:? ", re.IGNORECASE)
# Said by whom the connection was taken from under, of which another has told why.
_ECHO = re.compile(
    r"Connection (?:closed|reset) by (?:UNKNOWN|remote host)|kex_exchange_identification: |banner exchange: "
    r"|ssh_exchange_identification: |client_loop: send disconnect|Host key verification failed"
    r"|stdio forwarding|please try again|@@@"
)
_CONFIG = re.compile(
    r"[Bb]ad configuration option|terminating, \d+ bad|unknown option -- |(?:illegal|invalid) option"
    r"|usage: ssh|^(?:command-line|/(?!bin/|usr/)\S+): line \d+: |Bad owner or permissions on .*config"
    r"|Can't open user config file"
)
_UNKNOWN_HOST = re.compile(r"Could not resolve hostname (\S+): (.*)")
_WANTED = "What --ssh-command names has to take the options of OpenSSH's ssh, -v too."
_CERTIFIED = "-cert-v01@openssh.com"  # at the end of a type of key
_SHAKY = ("Temporary failure", "Try again")
_UNTRUSTED = re.compile(
    r"host key is known for|REMOTE HOST IDENTIFICATION HAS CHANGED|REVOKED HOST KEY"
    r"|Host key verification failed|host key for \S+ (?:was|is) revoked|differs from the key for the IP"
)


class Talk:
    """What it has said so far."""

    def __init__(self) -> None:
        self.let_in = False  # the server has accepted us
        self.partly = False  # it accepted one proof, and wants another
        self.program = ""  # what it is, and its version
        self.server_version = ""
        self.host_key = ""  # type and fingerprint that the server shows
        self.agreed: dict[str, str] = {}
        self.tried: list[str] = []
        self.allowed = ""  # ways in that the server has named
        self.doing = ""  # what it was about last
        self.lines: deque[str] = deque(maxlen=_KEPT)  # before we were let in, but for what it thinks aloud
        self.warnings: deque[str] = deque(maxlen=_KEPT)  # to be shown, in any case
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """More of it; empty at the end."""
        *whole, self._rest = (self._rest + (data or b"\n")).split(b"\n")
        self._rest = self._rest[:_LONGEST]
        for line in whole:
            self._take(one_line(line[:_LONGEST].decode(errors="replace").strip()))

    def _take(self, line: str) -> None:
        thought = re.match(r"debug\d: (.*)", line)
        if thought is not None:
            self._note(thought[1])
        elif line.startswith("Authenticated to "):
            self.let_in = True
        elif line.startswith("OpenSSH_"):
            self.program = line
        elif not line or _CHATTER.match(line):
            return
        elif self.let_in:
            self.warnings.append(line)
        else:
            self.lines.append(line)
            if _WARNING.match(line):
                self.warnings.append(line)

    def _note(self, thought: str) -> None:
        self.doing = thought
        head, _, rest = thought.partition(": ")
        match head:
            case "Server host key" | "Server host certificate":
                kind, shown, *_ = [*rest.replace(",", " ").split(), "", ""]
                self.host_key = f"{kind.replace(_CERTIFIED, '')} {shown}"
            case "Offering public key":
                self.tried.append(f"key {rest}")
            case "Next authentication method":
                if rest != "publickey":
                    self.tried.append(rest)
            case "Authentications that can continue":
                self.allowed = rest.replace(",", ", ")
            case "kex":
                self._note_agreement(rest)
        if version := re.match(r"Remote protocol version (\S+), remote software version (.*)", thought):
            self.server_version = f"SSH-{version[1]}-{version[2]}"
        elif "partial success" in thought:
            self.partly = True
        elif thought.startswith("Authentication succeeded"):  # before 5.9
            self.let_in = True

    def _note_agreement(self, what: str) -> None:
        name, _, value = what.partition(": ")
        if name in ("algorithm", "host key algorithm"):
            self.agreed["key exchange" if name == "algorithm" else "host key"] = value
        elif name == "client->server cipher":
            self.agreed["cipher"], _, rest = value.partition(" MAC: ")
            self.agreed["MAC"], _, self.agreed["compression"] = rest.partition(" compression: ")

    @property
    def last_words(self) -> str:
        """The last lines that tell something; empty if there are none."""
        telling = [line for line in self.lines if not _ECHO.search(line)]
        return " · ".join((telling or [*self.lines])[-_TOLD:])


def explain(talk: Talk, program: str, where: str, user: str, seconds: float | None) -> ReconcileError:
    """Why it gave up before we were let in; ``seconds``: it did not, but those were over."""
    said, text = talk.last_words, "\n".join(talk.lines)
    if seconds is not None:
        return _explain_silence(talk, program, where, seconds)
    if config := next((line for line in talk.lines if _CONFIG.search(line)), None):
        return UsageError(
            f"{program} does not understand how it is told to connect: {config}. Correct the SSH "
            "configuration, or what --ssh-command names."
        )
    if _UNTRUSTED.search(text):
        return Untrusted(_explain_untrusted(talk, where))
    if unknown := _UNKNOWN_HOST.search(text):
        kind = Unreachable if any(word in unknown[2] for word in _SHAKY) else TurnedAway
        return kind(f"can't find the host {unknown[1]!r}: {unknown[2]}. Check its spelling, or the network.")
    if "Permission denied" in said or "Too many authentication failures" in text:
        if not talk.server_version:  # so far we have not come
            return TurnedAway(f"{where}, was not reached, as a host on the way does not let us in: {said}")
        return TurnedAway(_explain_refusal(talk, where, user))
    if "Unable to negotiate" in text:
        return TurnedAway(f"{where}, and ssh have no way of talking in common: {said}.")
    if not said:
        if talk.doing:
            return Unreachable(f"{where}, was not reached: {program} ended. It was at: {talk.doing}")
        return TurnedAway(f"{where}, was not reached: {program} ended without a word. {_WANTED}")
    return Unreachable(f"{where}, was not reached: {program} says: {said}")


def _explain_silence(talk: Talk, program: str, where: str, seconds: float) -> ReconcileError:
    if talk.last_words:
        hint = f"It said: {talk.last_words}"
    elif talk.doing:
        hint = f"It was at: {talk.doing}"
    else:
        return Unreachable(
            f"{where}, was not reached: {program} has said nothing in {seconds:g} s. {_WANTED}"
        )
    return Unreachable(f"{where}, did not let us in within {seconds:g} s. {hint}")


def _explain_untrusted(talk: Talk, where: str) -> str:
    lines = [line for line in talk.lines if not line.startswith("@") and not _ECHO.search(line)]
    shown = f"\n  shown by {where}: {talk.host_key}" if talk.host_key else ""
    return (
        f"{where}, was not reached: a host on the way could not prove to be the one that is known. "
        f"ssh says: {' '.join(lines) or talk.last_words}{shown}\n"
        "Ask its administrator whether the key that is shown is right. Only if it is: put it into "
        "known_hosts, in the place of one that is there."
    )


def _explain_refusal(talk: Talk, where: str, user: str) -> str:
    parts = [f"{where}, does not let {user!r} in."]
    if talk.tried:
        parts.append(f"Tried: {', '.join(talk.tried)}; the server allows: {talk.allowed or 'nothing'}.")
    parts.append(f"ssh says: {talk.last_words}")
    return " ".join(parts)
