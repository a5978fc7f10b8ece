"""What ``reconcile doctor`` finds of real servers: asked of all that start here, and kept beside this.

``python -m tests.doctors`` asks; ``python -m tests.readme`` brings it to the README as a table.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from reconcile.core.checkup import Checkup, Standing, in_order
from reconcile.core.job import Job, Stop
from reconcile.remotes import Examinable, open_remote
from reconcile.report.checkup import SIGNS
from tests.remotes.conformance import Heard
from tests.support.servers import Missing, RealServer, start_server

KEPT = Path(__file__).with_suffix(".json")
ORDER = (
    *("order", "rename", "replace", "links", "modes", "times"),
    *("case", "accents", "characters", "bytes", "length", "fsync", "channels"),
)
SHOWN = {  # in the README, as people know them
    "openssh": "OpenSSH",
    "openssh, MaxSessions 1": "OpenSSH, `MaxSessions 1`",
    "openssh -P posix-rename": "OpenSSH, `-P posix-rename`",
    "openssh -P setstat": "OpenSSH, `-P setstat,fsetstat,lsetstat`",
    "dropbear": "Dropbear with OpenSSH's sftp-server",
    "proftpd": "ProFTPD mod_sftp",
    "proftpd, keeps nothing": "ProFTPD, `IgnoreSFTPSetPerms …Times`",
    "gesftpserver": "Green End gesftpserver",
    "rclone": "rclone serve sftp",
    "rclone, cache": "rclone, `--vfs-cache-mode writes`",
    "rclone, stdio": "rclone, `--stdio` below sshd",
    "asyncssh": "asyncssh",
    "ssh2": "npm ssh2",
    "conch": "Twisted Conch",
    "sftpserver": "sftpserver (PyPI)",
}


def examine(server: RealServer) -> Checkup:
    """What is found of a new folder there."""
    dest = server.folder / "dest"
    dest.mkdir(exist_ok=True)
    job = Job("", server.endpoint.target(server.at(dest)), "", login=server.endpoint.login())
    remote = open_remote(job, Heard())
    assert isinstance(remote, Examinable)
    try:
        return in_order(str(job.target), remote.examine("run", Stop()))
    finally:
        remote.close()


def essence(checkup: Checkup) -> dict[str, Any]:
    """What of it is the server's own, and the same each time."""
    facts = {fact.name: fact for fact in checkup.facts}
    return {
        "software": facts["software"].words,
        "facts": {
            fact.name: {
                "standing": fact.standing.value,
                "words": "" if fact.standing is Standing.WORKS else fact.words,
            }
            for fact in checkup.facts
            if fact.name in ORDER
        },
    }


def table(kept: dict[str, Any]) -> str:
    """For the README: what each does as a job wants it, in another way, or not, and what that is."""
    shown = {title: kept[name]["facts"] for name, title in SHOWN.items() if name in kept}
    names = list(dict.fromkeys(name for facts in kept.values() for name in facts["facts"]))
    names.sort(key=ORDER.index)
    rows = [["", *names, ""], ["---", *[":-:"] * len(names), "---"]]
    for title, facts in shown.items():
        signs = [SIGNS[Standing(facts[name]["standing"])] if name in facts else "" for name in names]
        told = [f"{name} {facts[name]['words']}" for name in names if name in facts and facts[name]["words"]]
        rows.append([title, *signs, "; ".join(told)])
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "".join(f"| {' | '.join(row)} |\n" for row in escaped)


def main() -> None:
    """Ask all that start here; what is kept of others stays."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name in SHOWN:
        with tempfile.TemporaryDirectory() as folder:
            try:
                with start_server(name, Path(folder)) as server:
                    kept[name] = essence(examine(server))
            except Missing as missing:
                print(f"{name}: {missing}")  # noqa: T201 - for who types it
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
