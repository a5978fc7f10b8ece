"""Whether the key that a host shows is its own: always checked, never guessed.

What may live here: the judgement, and what is said of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from reconcile.core.errors import Untrusted
from reconcile.remotes.ssh.enrol import enrol, no_file
from reconcile.remotes.ssh.known_hosts import Known, Line, by_fingerprint, find_key, fingerprint
from reconcile.remotes.words import one_line

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
    shown = fingerprint(key)
    if (why := why_not(known, kind, shown)) is None:
        return
    if not is_new(known, shown) or not (accept_new or _is_confirmed(known, kind, shown, confirm)):
        raise Untrusted(why)
    enrol(known, kind, key)
    say(f"the host key of {known.name} is new: {kind} {shown} was added to {known.file}")


def why_not(known: Known, kind: str, shown: str) -> str | None:
    """What speaks against the key with the fingerprint ``shown``. None: it is known to be the host's."""
    if (line := by_fingerprint(known.revoked, shown)) is not None:
        return (
            f"the host key of {known.name} is revoked ({line}). Whoever answers there can't be trusted: "
            "not connected. Ask the administrator of the server for its new key."
        )
    if known.pins:
        pinned = any(pin.fingerprint == shown for pin in known.pins)
        return None if pinned else _accuse_by_pins(known, kind, shown)
    if voucher(known, shown) is not None:
        return None
    return _accuse(known, kind, shown) if known.trusted else _introduce(known, kind, shown)


def is_new(known: Known, shown: str) -> bool:
    """Whether nothing is known of the host that could speak for its key, or against it."""
    return not (known.pins or known.trusted or by_fingerprint(known.revoked, shown))


def voucher(known: Known, shown: str) -> Line | None:
    """The line that says that it is the host's."""
    return by_fingerprint(known.trusted or known.portless, shown)


def _is_confirmed(known: Known, kind: str, shown: str, confirm: Callable[[str, str], bool] | None) -> bool:
    if confirm is None or known.file is None:
        return False
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
    there = [path for path in known.files if path == known.file or os.path.exists(path)]
    looked = f"there is none in {' nor '.join(there)}" if there else no_file()
    way_out = known.way_out if known.file else "name a file for it with --known-hosts"
    note = ""
    if (line := find_key(known, shown)) is not None:
        name = "under another name, hashed" if line.hosts.startswith("|") else f"as {one_line(line.hosts)}"
        note = f"\n(The very same key is known {name}: {line.file}, line {line.number}.)"
    elif known.authorities:
        line = known.authorities[0]
        note = (
            f"\n(The @cert-authority in {line.file}, line {line.number}, vouches for a certificate alone, "
            "which OpenSSH's own client asks for: --transport ssh.)"
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
