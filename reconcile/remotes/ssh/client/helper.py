"""What OpenSSH's client starts to be told something: a program of its own, not imported by ours.

``helper.py ask SOCKET PROMPT`` hands a prompt to whoever listens at SOCKET, and prints the answer
(``SSH_ASKPASS``, ssh(1)). ``helper.py vouch HOST TYPE KEY FINGERPRINT…`` prints a line of known_hosts if
the key is one of those (``KnownHostsCommand``, ssh_config(5)).

What may live here: what starts fast. It runs without site-packages, and without us.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def ask(path: str, prompt: str) -> int:
    """Whether there was an answer, as an exit status. It ends with whoever listens."""
    import socket

    hop, kind = os.environ.get("RECONCILE_HOP", ""), os.environ.get("SSH_ASKPASS_PROMPT", "")
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        line.sendall(f"{os.getppid()}\0{hop}\0{kind}\0{prompt}".encode(errors="surrogateescape"))
        line.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: line.recv(4096), b""))
    if not answer:
        return 1
    sys.stdout.buffer.write(answer[1:] + b"\n")
    return 0


def vouch(host: str, kind: str, key: str, pins: Sequence[str]) -> int:
    """Nothing is printed for a key that is not pinned; ``key`` is NONE where only an order is asked for."""
    import base64
    import hashlib

    try:
        digest = hashlib.sha256(base64.b64decode(key, validate=True)).digest()
    except ValueError:
        return 0
    if "SHA256:" + base64.b64encode(digest).decode().rstrip("=") in pins:
        sys.stdout.write(f"{host} {kind} {key}\n")
    return 0


def main(what: str, *args: str) -> int:
    """An exit status."""
    if what == "ask":
        return ask(*args)
    host, kind, key, *pins = args
    return vouch(host, kind, key, pins)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
