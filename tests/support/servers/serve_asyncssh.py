"""asyncssh's own SFTP server, which shows one folder. Arguments: port, host key, who may come in, folder."""

import asyncio
import os
import sys
from pathlib import Path

import asyncssh


class Door(asyncssh.SSHServer):
    """Lets in whoever has the key."""

    def public_key_auth_supported(self) -> bool:
        """The only way in."""
        return True

    def validate_public_key(self, _username: str, key: asyncssh.SSHKey) -> bool:
        """Whether it is this one; asyncssh checks the signature."""
        return bool(key.public_data == asyncssh.read_public_key(sys.argv[3]).public_data)


async def main() -> None:
    """Serve until killed."""
    port, host_key, _, folder = sys.argv[1:5]

    def serve(channel: object) -> asyncssh.SFTPServer:
        return asyncssh.SFTPServer(channel, chroot=os.fsencode(Path(folder)))

    await asyncssh.listen(
        "127.0.0.1", int(port), server_factory=Door, server_host_keys=[host_key], sftp_factory=serve
    )
    await asyncio.Event().wait()


asyncio.run(main())
