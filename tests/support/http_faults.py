"""A proxy before an S3 server that lets things go wrong, each at one exact request. Threads of our own.

``with start_faulty(server) as proxy: … proxy.server.url("prefix") … proxy.arm(Fault("cut", 3, "PutObject"))``

It passes on whole requests and whole answers, and knows of each what is asked for, as the service calls it.
"""

from __future__ import annotations

import email.utils
import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.faults import end_client
from tests.support.s3 import S3
from tests.support.s3_sums import Sums

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() drops what is unsent and sends a RST
SKEW_ALLOWED = 15 * 60  # seconds (S3: RequestTimeTooSkewed)
FOR_EVER = 1 << 30
PIECE = 256 << 10  # bytes that come at once over a slow line
WRITES = frozenset({"PutObject", "CopyObject", "CreateMultipartUpload"})
LISTS = frozenset({"ListObjectsV2", "ListObjects", "ListMultipartUploads", "ListObjectVersions"})

Do = Literal["kill", "cut", "answer", "half", "torn", "slow", "dribble", "mute", "stuck", "deaf"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong at one request, or from there on at ``times`` of those that match.

    ``kill``: SIGKILL to the process whose id is in ``pid_file``. ``cut``: the connection breaks, and no
    answer comes. ``answer``: ``status``, and ``code`` or a ``body``. ``half``: of the answer half its body,
    then the end. ``torn``: the server gets half of what was to be sent, and the connection breaks. ``slow``:
    it takes ``delay`` seconds longer. ``dribble``: so does what is sent, over a slow line (see ``narrow``).
    Until the proxy is armed anew: ``mute``: no answer comes, and nothing breaks. ``stuck``: nor more of one
    than its headers and half its body. ``deaf``: nor is any of what is sent taken, but for what fits into the
    system's buffers.
    """

    do: Do
    at: int = 1  # which of the requests that match, from 1 on
    kind: str | None = None  # of these only, as S3 calls them: PutObject, UploadPart, ListObjectsV2 …
    path: str | None = None  # whose path in the URL, as it was meant, holds this
    when: Literal["before", "after"] = "before"  # the server has done it: of kill, cut, answer
    status: int = 503
    code: str = "SlowDown"
    body: bytes | None = None
    times: int = 1
    delay: float = 0.0  # seconds
    pid_file: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One that came."""

    kind: str
    path: str  # bucket and key
    length: int  # bytes of its body


class Faulty:
    """The proxy. ``server`` is how it is reached.

    ``skew``: seconds by which the server's clock is ahead. ``hides``: nobody may list, so that what is not
    there is forbidden, as S3 has it. ``insists``: a header without which nothing may be written, as a
    bucket's policy says. ``unmet``: a header of a condition that it takes for not met, whatever it says, as
    Ceph 16 does with an ETag in quotes. ``region``: where the bucket is; who signs for another is sent there.
    ``aliases``: what the server calls itself, by turns. ``unknown``: a kind of request that it does not know.
    ``etagless``: it answers a PUT with an ETag, and shows none after that, as rclone where what it keeps
    objects in has no MD5. ``noteless``: it shows nothing of what was noted with an object. ``unsigned``: of
    names that hold this it makes another signature than anybody else.
    ``barred``: how headers begin of which it knows nothing, and refuses all requests that have one. ``sums``:
    it compares CRC-32, as S3 does.
    """

    def __init__(self, to: S3) -> None:
        self.to = urlsplit(to.endpoint).port or 80
        self.requests: list[Request] = []
        self.skew = 0.0
        self.hides = self.etagless = self.noteless = False
        self.insists = self.unmet = self.unknown = self.unsigned = self.region = ""
        self.barred = ""
        self.sums: Sums | None = None
        self.aliases: tuple[str, ...] = ()
        self._faults: list[list[Fault | int]] = []
        self._lock = threading.Lock()
        self.silence = threading.Event()  # set: what kept silent breaks
        self._listener = _Listener(self)
        self.server = to.through(self._listener.server_address[1])
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def arm(self, *faults: Fault) -> None:
        """Make these what goes wrong from now on, and count requests anew; none: nothing does."""
        with self._lock:
            self._faults = [[fault, 0] for fault in faults]
            self.requests.clear()
            self.silence.set()
            self.silence = threading.Event()

    @property
    def armed(self) -> bool:
        """Whether something has yet to go wrong for the first time."""
        with self._lock:
            return any(isinstance(f, Fault) and isinstance(n, int) and n < f.at for f, n in self._faults)

    def kinds(self) -> list[str]:
        """What was asked for since the proxy was armed last."""
        with self._lock:
            return [request.kind for request in self.requests]

    def due(self, request: Request) -> Fault | None:
        """What goes wrong with a request that came."""
        with self._lock:
            self.requests.append(request)
            struck = None
            for each in self._faults:
                fault, seen = each
                assert isinstance(fault, Fault)
                assert isinstance(seen, int)
                if fault.kind not in (None, request.kind) or (fault.path or "") not in request.path:
                    continue
                each[1] = seen + 1
                if fault.at <= seen + 1 < fault.at + fault.times:
                    struck = struck or fault
            return struck

    def narrow(self) -> None:
        """Of connections from now on little is on its way at a time."""
        self._listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)

    def close(self) -> None:
        """End it, and all connections."""
        self.arm()
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()


@contextmanager
def start_faulty(server: S3) -> Iterator[Faulty]:
    """A proxy before a server."""
    proxy = Faulty(server)
    try:
        yield proxy
    finally:
        proxy.close()


def kind_of(method: str, path: str, query: dict[str, list[str]], headers: Message) -> str:
    """What S3 calls a request."""
    has_key = path.strip("/").count("/") > 0
    if not has_key:
        if method == "POST" and "delete" in query:
            return "DeleteObjects"
        if "uploads" in query:
            return "ListMultipartUploads"
        if method == "GET" and query.keys() & {"location", "versioning", "policy", "acl"}:
            return (
                "GetBucket" + next(iter(query.keys() & {"location", "versioning", "policy", "acl"})).title()
            )
        names = {"GET": "ListObjectsV2" if "list-type" in query else "ListObjects", "HEAD": "HeadBucket"}
        return names.get(method, f"{method} of the bucket")
    is_copy = "x-amz-copy-source" in headers
    if "uploadId" in query:
        part = "UploadPartCopy" if is_copy else "UploadPart"
        names = {"PUT": part, "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
        return names.get(method, "ListParts")
    if method == "POST" and "uploads" in query:
        return "CreateMultipartUpload"
    put = "CopyObject" if is_copy else "PutObject"
    return {"PUT": put, "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}.get(
        method, method
    )


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: Faulty) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is gone is what this is about."""


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client's, with one to the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener
    _upstream: http.client.HTTPConnection | None = None

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def finish(self) -> None:
        """The server's end goes with the client's."""
        if self._upstream is not None:
            self._upstream.close()
        try:
            super().finish()
        except OSError:
            pass  # it was cut

    def _pass_on(self) -> None:
        proxy, url = self.server.proxy, urlsplit(self.path)
        silence, length = proxy.silence, int(self.headers.get("Content-Length") or 0)
        query = parse_qs(url.query, keep_blank_values=True)
        kind = kind_of(self.command, url.path, query, self.headers)
        fault = proxy.due(Request(kind, unquote(url.path), length))
        if fault is not None and fault.do == "deaf":
            self._keep_silent(silence)
            return
        body = self._take(length, fault.delay if fault is not None and fault.do == "dribble" else 0.0)
        if len(body) < length:  # the client died while it sent: so it is for the server
            self._tear(body)
            return
        if fault is not None and fault.do == "slow":
            time.sleep(fault.delay)
        if (refused := self._refusal(kind, query, body)) is not None:
            self._answer(*refused)
        elif fault is None or fault.do in ("slow", "dribble"):
            self._give(*self._ask(body), kind)
        elif fault.do == "torn":
            self._tear(body[: len(body) // 2])
        elif fault.do in ("half", "stuck"):
            self._give(*self._ask(body), kind, half=True)
            self._cut() if fault.do == "half" else self._keep_silent(silence)
        elif fault.do == "mute":
            self._keep_silent(silence)
        else:
            if fault.when == "after":
                self._ask(body)
            if fault.do == "answer":
                self._answer(fault.status, fault.code, fault.body)
                return
            if fault.do == "kill":
                end_client(fault.pid_file)
            self._cut()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815 - as the base class calls them

    def _take(self, length: int, over: float) -> bytes:
        """What is sent, in so many seconds."""
        if not over:
            return self.rfile.read(length)
        pieces = []
        for start in range(0, length, PIECE):
            time.sleep(over * PIECE / length)
            pieces.append(self.rfile.read(min(PIECE, length - start)))
        return b"".join(pieces)

    def _refusal(self, kind: str, query: dict[str, list[str]], body: bytes) -> tuple[int, str] | None:
        """What this server refuses whatever it is."""
        proxy = self.server.proxy
        if proxy.barred and any(name.lower().startswith(proxy.barred) for name in self.headers):
            return 400, "InvalidArgument"
        if (
            proxy.sums is not None
            and (refused := proxy.sums.refusal(kind, query, self._names(), body)) is not None
        ):
            return refused
        if proxy.hides and kind in LISTS:
            return 403, "AccessDenied"
        if proxy.insists and kind in WRITES and proxy.insists not in self.headers:
            return 403, "AccessDenied"
        if kind == proxy.unknown:
            return 501, "NotImplemented"
        if proxy.unsigned and proxy.unsigned in unquote(self.path):
            return 403, "SignatureDoesNotMatch"
        if proxy.unmet and proxy.unmet in self.headers:
            return 412, "PreconditionFailed"
        if proxy.region and f"/{proxy.region}/s3/" not in self.headers.get("Authorization", ""):
            return 301, "PermanentRedirect"
        if proxy.skew:
            sent = time.strptime(self.headers.get("X-Amz-Date", ""), "%Y%m%dT%H%M%SZ")
            ahead = time.time() + proxy.skew - email.utils.mktime_tz((*sent[:6], 0, 1, 0, 0))
            if abs(ahead) > SKEW_ALLOWED:
                return 403, "RequestTimeTooSkewed"
        return None

    def _names(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """The server, which gets all as it was signed."""
        if self._upstream is None:
            self._upstream = http.client.HTTPConnection("127.0.0.1", self.server.proxy.to, timeout=60)
        try:
            return self._send(self._upstream, body)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self._upstream.close()  # it was idle for too long
            return self._send(self._upstream, body)

    def _send(self, to: http.client.HTTPConnection, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        to.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("expect", "connection"):
                to.putheader(name, value)
        to.endheaders(body or None)
        answer = to.getresponse()
        return answer, answer.read()

    def _give(self, answer: http.client.HTTPResponse, body: bytes, kind: str, *, half: bool = False) -> None:
        """The answer, or half of it and the end."""
        if self.server.proxy.hides and answer.status == 404 and kind in ("HeadObject", "GetObject"):
            self._answer(403, "AccessDenied")
            return
        left_out = {"transfer-encoding", "connection", "content-length", "date"}
        if self.server.proxy.etagless and kind not in ("PutObject", "UploadPart", "CompleteMultipartUpload"):
            body = _ETAG.sub(b"<ETag></ETag>", body)
            left_out.add("etag")
        if self.server.proxy.aliases:
            left_out.add("server")
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            is_note = self.server.proxy.noteless and name.lower().startswith("x-amz-meta-")
            if name.lower() not in left_out and not is_note:
                self.send_header(name, value)
        if aliases := self.server.proxy.aliases:
            self.send_header("Server", aliases[len(self.server.proxy.requests) % len(aliases)])
        if (sums := self.server.proxy.sums) is not None and answer.status == 200:
            query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            body = sums.fill(query, body) if kind == "ListParts" else body
            for name, value in sums.note(kind, query, self._names(), body).items():
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
        if length is not None and answer.status != 204:
            self.send_header("Content-Length", length)
        self.send_header("Date", email.utils.formatdate(time.time() + self.server.proxy.skew, usegmt=True))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half else body)
        self.wfile.flush()

    def _answer(self, status: int, code: str, body: bytes | None = None) -> None:
        """As S3 says no, or whatever else."""
        if body is None:
            body = _ERROR % code.encode()
        if self.command == "HEAD":
            body = b""
        self.send_response_only(status)
        if self.server.proxy.region:
            self.send_header("x-amz-bucket-region", self.server.proxy.region)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Date", email.utils.formatdate(time.time() + self.server.proxy.skew, usegmt=True))
        self.end_headers()
        self.wfile.write(body)

    def _tear(self, body: bytes) -> None:
        """The server sees a client that broke off in the middle of what it sent, of which this came."""
        to = http.client.HTTPConnection("127.0.0.1", self.server.proxy.to, timeout=60)
        to.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("expect", "connection"):
                to.putheader(name, value)
        to.endheaders(body or None)
        to.close()
        self._cut()

    def _keep_silent(self, silence: threading.Event) -> None:
        """And let nothing break meanwhile."""
        silence.wait()
        self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.connection.close()


_ETAG = re.compile(rb"<ETag>[^<]*</ETag>")
_ERROR = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>%s</Code><Message>As the test wanted it</Message><RequestId>0</RequestId></Error>"
)
