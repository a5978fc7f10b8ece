"""What a run is called on the server: so that who finds what it left there can tell whose it was.

What may live here: who this process is, and whether a run of that name can go on, ever.
"""

from __future__ import annotations

import os
import re
import uuid

_NAMED = r"[0-9a-f]{12}-([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]+)-([0-9a-f]+)(\.dead)?"


def name_run(state: str) -> str:
    """A name that no other run has, with the machine as it was booted, the folder of state, the process."""
    fresh = uuid.uuid4().hex[:12]
    place, started = _place_of(state), _start_of(os.getpid())
    if place is None or started is None:
        return fresh
    return f"{fresh}-{place}-{_hash(os.path.basename(state))}-{os.getpid():x}-{started:x}"


def is_lost(name: str, state: str) -> bool:
    """Whether a run has died here, and no state is left from which another could go on in its place.

    ``state`` is the folder of a run that holds its lock, and that goes by another lineage. Of other
    machines, containers or boots, and where the system does not tell, nothing is known: False.
    RACE: of two copies of one machine, made while it ran, each takes the other's runs for its own
    dead ones: what these have staged is then sent again.
    """
    match = re.fullmatch(_NAMED, name)
    if match is None or not has_died(name, state):
        return False
    base = os.path.dirname(state)
    others = set(os.listdir(base)) - {os.path.basename(state)}
    return match[2] not in map(_hash, others)


def has_died(name: str, state: str) -> bool:
    """Whether it is a run's of this machine that keeps its state beside ``state``, and the process is gone.

    Of other machines, containers or boots, and where the system does not tell, nothing is known: False.
    """
    match = re.fullmatch(_NAMED, name)
    return (
        match is not None
        and match[1] == _place_of(state)
        and _start_of(int(match[3], 16)) != int(match[4], 16)
    )


def _place_of(state: str) -> str | None:
    """Of one boot of this machine, the processes that can be seen, and where state is kept. None: unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read()
        return _hash(f"{boot} {os.readlink('/proc/self/ns/pid')} {os.path.dirname(state)}")
    except OSError:
        return None


def _start_of(pid: int) -> int | None:
    """When a living process began, in clock ticks since the boot; None: there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _hash(text: str) -> str:
    import hashlib  # takes as long as a tenth of a run with nothing to do, which never comes here

    return hashlib.blake2b(os.fsencode(text), digest_size=4).hexdigest()
