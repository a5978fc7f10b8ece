"""One SFTP channel of the embedded server: requests in, replies out, in order.

paramiko's SFTPServer, with what it lacks: names as bytes, ``posix-rename``
announced, statuses as OpenSSH's, and many replies in one packet.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Mapping
from itertools import chain
from types import MappingProxyType

from reconcile.remotes.sftp import wire
from reconcile.remotes.ssh.library import paramiko
from reconcile.serve.files import Files, Folder

_FLUSH = 32 * 1024  # bytes that fit into one SSH packet
_MAX_REQUEST = 256 * 1024 + 1024  # as OpenSSH, SFTP_MAX_MSG_LENGTH
_POSIX_RENAME = b"posix-rename@openssh.com"

# As errno_to_portable() of OpenSSH's sftp-server; everything else is a failure.
_STATUS = {
    errno.ENOENT: wire.FX_NO_SUCH_FILE,
    errno.ENOTDIR: wire.FX_NO_SUCH_FILE,
    errno.EBADF: wire.FX_NO_SUCH_FILE,
    errno.ELOOP: wire.FX_NO_SUCH_FILE,
    errno.EPERM: wire.FX_PERMISSION_DENIED,
    errno.EACCES: wire.FX_PERMISSION_DENIED,
    errno.EFAULT: wire.FX_PERMISSION_DENIED,
    errno.ENAMETOOLONG: wire.FX_BAD_MESSAGE,
    errno.EINVAL: wire.FX_BAD_MESSAGE,
    errno.ENOSYS: wire.FX_OP_UNSUPPORTED,
}


class Session(paramiko.SFTPServer):
    """One SFTP channel: requests in, replies out, in order."""

    extensions: Mapping[bytes, bytes] = MappingProxyType({_POSIX_RENAME: b"1"})  # that are announced

    # paramiko's own, which its type stubs leave out
    sock: paramiko.Channel
    server: Files
    file_table: dict[bytes, paramiko.SFTPHandle]
    _send_status: Callable[..., None]
    _send_handle_response: Callable[..., None]

    def start_subsystem(self, _name: str, _transport: paramiko.Transport, channel: paramiko.Channel) -> None:
        """Serve until the client is done. Replies leave when no request is waiting, or a packet is full."""
        self.sock = channel
        self._replies = bytearray()
        self.server.session_started()
        pending = bytearray()
        while chunk := channel.recv(_MAX_REQUEST):
            pending += chunk
            at = 0
            while len(pending) - at >= 4:
                (size,) = struct.unpack_from(">I", pending, at)
                if not 0 < size <= _MAX_REQUEST:
                    return
                if len(pending) - at - 4 < size:
                    break
                self._serve(pending[at + 4], bytes(pending[at + 5 : at + 4 + size]))
                at += 4 + size
            del pending[:at]
            self._flush()

    def _serve(self, kind: int, body: bytes) -> None:
        if kind == wire.INIT:
            texts = chain.from_iterable(self.extensions.items())
            pairs = b"".join(len(text).to_bytes(4, "big") + text for text in texts)
            self._send_packet(wire.VERSION_REPLY, paramiko.Message(wire.VERSION.to_bytes(4, "big") + pairs))
            return
        request = _Message(body)
        number = request.get_int()
        try:
            self._answer(kind, number, request)
        except OSError as error:
            self._send_status(number, _STATUS.get(error.errno or 0, wire.FX_FAILURE), error.strerror)
        except Exception:  # noqa: BLE001 - a torn request, or a defect: either way the client gets a status
            self._send_status(number, wire.FX_BAD_MESSAGE)

    def _answer(self, kind: int, number: int, request: _Message) -> None:
        if kind == wire.EXTENDED:
            if request.get_binary() != _POSIX_RENAME:
                self._send_status(number, wire.FX_OP_UNSUPPORTED)
                return
            old, new = request.get_text(), request.get_text()
            self._send_status(number, self.server.posix_rename(old, new))
        elif kind not in paramiko.sftp.CMD_NAMES:
            self._send_status(number, wire.FX_OP_UNSUPPORTED)
        elif kind == wire.FSETSTAT and _Message(request.get_remainder()).get_binary() not in self.file_table:
            self._send_status(number, wire.FX_BAD_MESSAGE)  # paramiko's own reply to this is malformed
        else:
            super()._process(kind, number, request)  # type: ignore[misc]

    def _open_folder(self, number: int, path: str) -> None:
        self._send_handle_response(number, Folder(self.server.list_folder(path)), True)

    def _send_packet(self, kind: int, packet: paramiko.Message) -> None:
        body = packet.asbytes()
        self._replies += struct.pack(">IB", len(body) + 1, kind) + body
        if len(self._replies) >= _FLUSH:
            self._flush()

    def _flush(self) -> None:
        if self._replies:
            self.sock.sendall(bytes(self._replies))
            self._replies.clear()

    def _log(self, *_: object) -> None:
        """Say nothing: paramiko would format a line for each request."""


class _Message(paramiko.Message):
    """A request whose names need not be UTF-8. A torn one is an error: paramiko would fill up with zeros."""

    def get_text(self) -> str:
        """A name, with surrogateescape."""
        return os.fsdecode(self.get_binary())

    def get_bytes(self, n: int) -> bytes:
        """Exactly ``n`` bytes; raises ValueError if they aren't there."""
        data = self.packet.read(n)
        if len(data) < n:
            raise ValueError("torn request")
        return data
