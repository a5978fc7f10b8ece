"""Whether the key that a host shows is its own. Always checked, never guessed, written down on demand only.

What may live here: the judgement, what is said of it, and the lines of known_hosts that we write.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Callable

from reconcile.core.errors import Untrusted
from reconcile.home import NO_HOME
from reconcile.remotes.ssh.known_hosts import Known, Line, fingerprint

INTERCEPTED = "Somebody may be intercepting the connection, or the server was set up anew: not connected."


def check(
    known: Known,
    kind: str,
    key: bytes,
    *,
    accept_new: bool,
    say: Callable[[str], None],
    confirm: Callable[[str, str], bool] | None = None,
) -> None:
    """Let pass the key that is known, and a first one if ``accept_new``, which writes it down.

    ``confirm`` asks the user whether to do that; its second argument is as good as a yes.
    Raises Untrusted for any other.
    """
    if judge(known, kind, key):
        return
    if not (accept_new or _is_confirmed(known, kind, key, confirm)):
        raise Untrusted(_introduce(known, kind, fingerprint(key)))
    enrol(known, kind, key)
    say(f"the host key of {known.name} is new: {kind} {fingerprint(key)} was added to {known.file}")


def judge(known: Known, kind: str, key: bytes) -> bool:
    """Whether it is known; raises Untrusted where it can't be the host's."""
    if any(line.key == key for line in known.revoked):
        raise Untrusted(explain(known, kind, fingerprint(key)))
    if known.pins:
        if any(pin.fingerprint == fingerprint(key) for pin in known.pins):
            return True
        raise Untrusted(_accuse_by_pins(known, kind, fingerprint(key)))
    if vouchers(known, key):
        return True
    if known.trusted:
        raise Untrusted(_accuse(known, kind, fingerprint(key)))
    return False


def explain(known: Known, kind: str, shown: str) -> str:
    """Why a key whose fingerprint was ``shown`` is not that of the host, as far as is known."""
    if line := next((line for line in known.revoked if fingerprint(line.key) == shown), None):
        return (
            f"the host key of {known.name} is revoked ({line}). Whoever answers there can't be trusted: "
            "not connected. Ask the administrator of the server for its new key."
        )
    if known.pins:
        return _accuse_by_pins(known, kind, shown)
    return (_accuse if known.trusted else _introduce)(known, kind, shown)


def vouchers(known: Known, key: bytes) -> tuple[Line, ...]:
    """The lines that say so."""
    return tuple(line for line in known.trusted or known.portless if line.key == key)


def enrol(known: Known, kind: str, key: bytes) -> None:
    """Append a line, in one write, for others may be appending too. Raises Untrusted if it can't be kept."""
    line = _compose(known, kind, key)
    file = known.file
    assert file is not None  # or it could not be composed
    try:
        os.makedirs(os.path.dirname(os.path.abspath(file)), mode=0o700, exist_ok=True)
        fd = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Untrusted(_keeps_nothing(known, file))
            end = os.lseek(fd, 0, os.SEEK_END)
            if end:
                os.lseek(fd, end - 1, os.SEEK_SET)
                if os.read(fd, 1) != b"\n":
                    line = b"\n" + line
            os.write(fd, line)
        finally:
            os.close(fd)
    except OSError as error:
        raise Untrusted(_unwritable(known, file, error)) from None


def _compose(known: Known, kind: str, key: bytes) -> bytes:
    """A line for known_hosts. Raises Untrusted where there is no place for it, or it would say more."""
    if known.file is None:
        raise Untrusted(
            f"the new host key of {known.name} has no place to be written to: {_no_file()}. "
            "Name a file with --known-hosts."
        )
    if re.search(r"[\s,*?!|#@]", known.name):
        raise Untrusted(f"{known.name!r} is no host name that could be written to {known.file}")
    return f"{known.name} {kind} {base64.b64encode(key).decode()}\n".encode()


def _is_confirmed(known: Known, kind: str, key: bytes, confirm: Callable[[str, str], bool] | None) -> bool:
    if confirm is None or known.file is None:
        return False
    shown = fingerprint(key)
    return confirm(
        f"The host {known.name} is not known. It shows {kind} {shown}.\n"
        f"Connect, and add that key to {known.file}?",
        shown,
    )


def _accuse(known: Known, kind: str, shown: str) -> str:
    same_kind = [line for line in known.trusted if line.kind == kind]
    what = "HAS CHANGED" if same_kind else f"IS OF A TYPE ({kind}) THAT IS NOT THE KNOWN ONE"
    expected = "".join(f"\n  expected: {line}" for line in same_kind or known.trusted)
    return (
        f"THE HOST KEY OF {known.name} {what}. {INTERCEPTED}\n"
        f"  shown:    {kind} {shown}{expected}\n"
        "Ask the administrator of the server whether the shown key is right. Only if it is: "
        f"{known.way_out.replace('trust', 'trust --replace', 1)}\n"
        "(--accept-new-host-key does not help here: it never replaces a key.)"
    )


def _accuse_by_pins(known: Known, kind: str, shown: str) -> str:
    expected = "".join(f"\n  expected: {pin} (--host-key)" for pin in known.pins)
    return (
        f"THE HOST KEY OF {known.name} IS NOT THE ONE THAT --host-key NAMES. {INTERCEPTED}\n"
        f"  shown:    {kind} {shown}{expected}\n"
        "Ask the administrator of the server whether the shown key is right. Only if it is: name it with "
        "--host-key (a server may have a key of each type: the option can be given for each of them)."
    )


def _introduce(known: Known, kind: str, shown: str) -> str:
    looked = f"there is none in {' nor '.join(known.files)}" if known.files else _no_file()
    way_out = known.way_out if known.file else "name a file for it with --known-hosts"
    note = ""
    if known.authorities:
        line = known.authorities[0]
        note = (
            f"\n(The @cert-authority in {line.file}, line {line.number}, may vouch for it: the ssh transport "
            "honours that, which is OpenSSH's own client: --transport ssh.)"
        )
    return (
        f"the host {known.name} is not known: not connected.\n"
        f"  shown:    {kind} {shown}\n"
        f"  expected: a key that is written down, but {looked}\n"
        "Compare the fingerprint with what the administrator of the server says. If it is the same: "
        f"{way_out}\n"
        f"(In a script: --host-key {shown}; --accept-new-host-key takes whatever is shown first.)"
        f"{note}"
    )


def _no_file() -> str:
    return f"there is no file of known hosts, as {NO_HOME}, or the configuration names none"


def _keeps_nothing(known: Known, file: str) -> str:
    return (
        f"the new host key of {known.name} is not trusted, as {file} is no regular file: it would be as new "
        "the next time, whoever shows one. Name a file with --known-hosts, or the key itself with --host-key."
    )


def _unwritable(known: Known, file: str, error: OSError) -> str:
    return (
        f"the new host key of {known.name} can't be written to {file}: {error.strerror}. "
        "Name another file with --known-hosts, or the key itself with --host-key."
    )
