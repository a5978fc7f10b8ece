"""Until a client has come through: what it says is heard, what it asks is answered, all within a time.

What may live here: that loop.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from contextlib import ExitStack

from msgspec import Struct

from reconcile.core.errors import ReconcileError, TurnedAway, Untrusted
from reconcile.remotes.ssh.client.corner import Corner, reply
from reconcile.remotes.ssh.client.process import Process
from reconcile.remotes.ssh.client.prompts import NOTICE, Prompts, Unanswered
from reconcile.remotes.ssh.client.talk import Talk, explain
from reconcile.remotes.words import one_line

_LAST_WORDS = 2.0  # seconds, as somebody whom it started may hold its stderr for longer


class Errand(Struct, frozen=True):
    """What a client is sent for. ``where`` and ``user`` are for messages."""

    program: str
    where: str
    user: str
    seconds: float  # that it may take, but for those at prompts
    seconds_left: Callable[[], float]
    proxied: bool  # somebody else leads there, who may ask too
    say: Callable[[str], None]


def attend(process: Process, corner: Corner | None, prompts: Prompts, errand: Errand, *, raw: bool) -> None:
    """Return once we are let in, or with ``raw`` once whoever is at the other end says something.

    Raises what explains why that does not come about.
    """
    talk = process.talk
    came = False

    def look() -> bool:
        nonlocal came
        waiting.unregister(process.sock)  # whoever reads it will see what it is
        came = _has_come(process.sock)
        return came

    def answer() -> bool:
        assert corner is not None
        _answer(corner, process, prompts, errand, notices)
        return True

    with selectors.DefaultSelector() as waiting, ExitStack() as notices:
        waiting.register(process.stderr, selectors.EVENT_READ, process.hear)
        waiting.register(process.sock, selectors.EVENT_READ, look)
        if corner is not None:
            waiting.register(corner.listener, selectors.EVENT_READ, answer)
        while not (talk.let_in or (came and raw)):
            if (left := errand.seconds_left()) <= 0:
                raise explain(talk, errand.program, errand.where, errand.user, errand.seconds)
            if not all(key.data() for key, _ in waiting.select(left)):  # it has ended
                process.hear_all(_LAST_WORDS)
                if not talk.let_in:
                    raise _explain_end(talk, prompts, errand)
    prompts.settle()


def _has_come(sock: socket.socket) -> bool:
    """Whether something has come, and not the end."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def _answer(corner: Corner, process: Process, prompts: Prompts, errand: Errand, notices: ExitStack) -> None:
    call = corner.take_call()
    if call is None:
        return
    line, (asker, hop, kind, prompt) = call
    if errand.proxied and asker != str(process.pid):
        hop = hop or "the proxy"
    if kind == NOTICE:  # it stands until it is taken back
        notices.enter_context(line)
        errand.say(one_line(" ".join(prompt.split())))
        return
    try:
        reply(line, prompts.answer(hop, kind, prompt))
    except Unanswered as unanswered:
        line.close()
        raise _explain_prompt(unanswered, hop, prompts, errand) from None
    except BaseException:
        line.close()
        raise


def _explain_prompt(unanswered: Unanswered, hop: str, prompts: Prompts, errand: Errand) -> ReconcileError:
    asks = f"{hop}, on the way to {errand.where}," if hop else f"{errand.where},"
    if unanswered.trust:
        return Untrusted(f"{asks} is not known, and was not trusted: not connected. {unanswered.prompt}")
    if prompts.refused:
        return TurnedAway(f"{asks} does not let {errand.user!r} in: it does not accept the password.")
    return TurnedAway(
        f'{asks} asks "{unanswered.prompt}", which nobody could answer: that takes a terminal, or a login '
        "that asks for nothing, such as a key that an agent holds."
    )


def _explain_end(talk: Talk, prompts: Prompts, errand: Errand) -> ReconcileError:
    error = explain(talk, errand.program, errand.where, errand.user, None)
    if prompts.refused and isinstance(error, TurnedAway) and not isinstance(error, Untrusted):
        return type(error)(f"{error} It does not accept the password.")
    return error
