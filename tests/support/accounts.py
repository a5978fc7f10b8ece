"""A password, and a second factor, for the account that the tests run in, as one sshd alone sees them.

The server gets a mount namespace of its own in which other files lie over ``/etc/shadow`` and PAM's rules
for sshd: the machine's are never touched.
"""

from __future__ import annotations

import base64
import glob
import hmac
import os
import pwd
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

_SEED = b"twenty bytes of seed"
_STEP = 30  # seconds for which a code is good: RFC 6238, section 4.1
_LAID = {"shadow": "/etc/shadow", "pam": "/etc/pam.d/sshd"}


@dataclass(frozen=True)
class Account:
    """What sshd asks of us. Made by `make_account`."""

    folder: Path

    def settings(self) -> tuple[str, ...]:
        """Lines for sshd_config, after those of the test."""
        return ("PasswordAuthentication yes", "KbdInteractiveAuthentication yes", "UsePAM yes")

    def code(self) -> str:
        """The second factor, now: RFC 6238."""
        digest = hmac.digest(_SEED, int(time.time() // _STEP).to_bytes(8, "big"), "sha1")
        at = digest[-1] & 15
        return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"

    def inside(self, command: Sequence[str]) -> list[str]:
        """``command`` where our files lie over the machine's."""
        laid = [f"mount --bind {shlex.quote(str(self.folder / name))} {over}" for name, over in _LAID.items()]
        return ["unshare", "-m", "sh", "-c", " && ".join([*laid, 'exec "$@"']), "sh", *command]


def make_account(folder: Path, password: str, *, factor: bool = False) -> Account:
    """An account with ``password``, with ``factor`` a code is asked for after it: two questions.

    The test is left out where we may lay nothing over the machine's files, or PAM knows no such code.
    """
    folder.mkdir(parents=True, exist_ok=True)
    account = Account(folder)
    user = pwd.getpwuid(os.getuid()).pw_name
    (folder / "shadow").write_text(f"{user}:{_hashed(password)}:20000:0:99999:7:::\n")
    rules = ["auth required pam_unix.so", "account required pam_permit.so", "session required pam_permit.so"]
    if factor:
        if not any(glob.glob(f"/lib*/{each}security/pam_google_authenticator.so") for each in ("", "*/")):
            pytest.skip("PAM here knows no second factor: libpam-google-authenticator")
        seed = folder / "seed"
        seed.write_text(f'{base64.b32encode(_SEED).decode()}\n" TOTP_AUTH\n')
        seed.chmod(0o400)
        rules.insert(1, f"auth required pam_google_authenticator.so secret={seed} user={user}")
    (folder / "pam").write_text("\n".join([*rules, ""]))
    if os.geteuid() != 0 or _fails(account.inside(["true"])):
        pytest.skip("no password for sshd: nothing may be laid over /etc/shadow here")
    return account


def _hashed(password: str) -> str:
    """As crypt(5) wants it, by what every system with sshd has."""
    perl = shutil.which("perl")
    if perl is None:
        pytest.skip("no password for sshd: perl is not here to hash one")
    program = "print crypt($ARGV[0], '$6$saltsalt$')"
    return subprocess.run([perl, "-e", program, password], capture_output=True, text=True, check=True).stdout


def _fails(command: Sequence[str]) -> bool:
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0
