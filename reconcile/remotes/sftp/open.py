"""From a connection to a folder on an SFTP server: found out where it is, and what the server can do.

What may live here: what is asked once, before anything is written. Only here the wings of SSH, of SFTP
and of trees meet.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from reconcile.core.errors import ConnectionLost, ProtocolError, TurnedAway
from reconcile.core.job import Job, Reporter
from reconcile.core.model import Caps
from reconcile.remotes import Memory
from reconcile.remotes.sftp.driver import SftpDriver
from reconcile.remotes.sftp.extensions import claims_openssh, version_of
from reconcile.remotes.sftp.wire import ANNOUNCED, AskLimits, Limits
from reconcile.remotes.ssh.lines import Connection
from reconcile.remotes.ssh.target import of_job
from reconcile.remotes.tree.layout import Layout
from reconcile.remotes.tree.locate import locate
from reconcile.remotes.tree.quirks import Quirks, unpack
from reconcile.remotes.tree.remote import TreeRemote
from reconcile.remotes.tree.site import BLOCK, PIECE, Site
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import Replace, Status, Sync
from reconcile.state.names import is_lost

if TYPE_CHECKING:
    from reconcile.core.checkup import Fact

HANDLES = 4000  # open at a time where the server sets no limit
LARGEST_BLOCK = (
    255 * 1024
)  # bytes of a WRITE, or a READ, as OpenSSH grants: more would only sit in our memory
RESERVE = 16  # handles left over for what is not counted
SYMLINK_ORDER = b"symlink-order@rjk.greenend.org.uk"


def open_sftp(connection: Connection, job: Job, reporter: Reporter, memory: Memory) -> TreeRemote:
    """Find out where DEST is and what the server can do. Writes nothing; hangs up if that fails."""
    try:
        driver, site = _arrive(connection, job, reporter, memory)
        return TreeRemote(driver, site, reporter, memory, partial(_about, connection, site))
    except (ConnectionLost, ProtocolError) as error:
        connection.close()
        raise type(error)(f"{connection.where}: {error}") from None
    except BaseException:
        connection.close()
        raise


def _about(connection: Connection, site: Site) -> Iterable[Fact]:
    from reconcile.remotes.sftp.line import about  # late: no run needs it

    return about(connection, site)


def _arrive(connection: Connection, job: Job, reporter: Reporter, memory: Memory) -> tuple[SftpDriver, Site]:
    """Ask early where that is worth trying, and if need be once more, in turn.

    Below OpenSSH's banner something else may run, which ends when it is asked before it has
    told its version.
    """
    banner = connection.server_version
    eager, most = "OpenSSH" in banner, of_job(job)[1].channels
    driver = SftpDriver(connection, connection.channel, job.options.timeout, most)
    try:
        return driver, _look_around(driver, banner, job, reporter, memory, eager=eager)
    except (ConnectionLost, TurnedAway) as lost:
        if not eager or isinstance(lost, ProtocolError) or not connection.has_only_lost_its_channel:
            raise
    driver = SftpDriver(connection, connection.renew_channel(), job.options.timeout, most)
    return driver, _look_around(driver, banner, job, reporter, memory, eager=False)


def _look_around(
    driver: SftpDriver, banner: str, job: Job, reporter: Reporter, memory: Memory, *, eager: bool
) -> Site:
    """The site. ``eager``: the server may be asked before it has told its version, a round trip less."""
    asked = locate(job.target.path, job.options.remote_workdir)
    patience = of_job(job)[1].timeout  # beside the answer the server has to start
    if eager:
        extensions, found = driver.handshake_and_call(asked, patience)
    else:
        extensions = driver.handshake(patience)
        found = driver.call(asked)
    version = version_of(banner, extensions)
    new = Quirks(path_first=extensions.get(SYMLINK_ORDER) == b"linkpath-targetpath" or None)
    claims = claims_openssh(extensions)
    can = frozenset(verb for name, verb in ANNOUNCED.items() if name in extensions)
    site = Site(
        layout=Layout(found.base, found.workdir, vacant=found.vacant and claims, asked=found.asked),
        options=job.options,
        say=reporter.say,
        warn=reporter.warn,
        is_lost=partial(is_lost, state=job.state),
        can=can,
        tells_limits=AskLimits in can,
        block=min(BLOCK, job.options.piece),
        version=version,
        quirks=unpack(memory.recall(), version, new),
        claims_openssh=claims,
        caps=_capabilities(can),
    )
    site.handles = site.quirks.handles or site.handles
    site.caps = replace(site.caps, fsync=site.caps.fsync and site.quirks.takes_fsync is not False)
    if site.tells_limits:
        driver.aside(_ask_for_limits(site))
    return site


def _capabilities(can: frozenset[type]) -> Caps:
    return Caps(replace=Replace in can, fsync=Sync in can)


def _ask_for_limits(site: Site) -> Recipe[None]:
    """How many handles the server grants, and the bytes of a WRITE and of the answer to a READ."""
    limits: Limits | Status = yield AskLimits()  # type: ignore[misc]  # SFTP's alone
    if isinstance(limits, Status):
        return
    site.handles = limits.handles - RESERVE if limits.handles else HANDLES
    if limits.write and limits.packet:
        block = max(BLOCK, min(limits.write, limits.packet - 1024, LARGEST_BLOCK))
        site.block = min(block, site.options.piece)
    if limits.read and limits.packet:
        site.piece = max(PIECE, min(limits.read, limits.packet - 1024, LARGEST_BLOCK))
