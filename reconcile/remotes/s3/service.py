"""Asking the server: one request after the other, from any thread, each to its end.

What may live here: what becomes of a request that is not answered as it should be. botocore tries again
by itself what failed on the way (its mode "standard"); what it gives up is a lost connection, but for a
server that asks us to slow down: all wait then.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

from reconcile.core.errors import ConnectionLost, TurnedAway, Unreachable
from reconcile.core.model import Stats
from reconcile.remotes.s3.failure import KEYS, REGION, SLOW, Failing, Refusal, refusal_of
from reconcile.remotes.s3.pool import OVER
from reconcile.remotes.s3.quick import Quick
from reconcile.remotes.s3.silence import BROKEN, explain_loss
from reconcile.remotes.words import one_line

PATIENCE = 8  # times that we wait because a server asks for it, beyond botocore's own
ELSEWHERE = "it sends us elsewhere, and elsewhere again"
LONGEST = 30.0  # seconds of such a wait
# One of these has to be in an answer. What something else says in the place of S3 looks like an empty one.
_TELLS = {
    "create_multipart_upload": {"UploadId"},
    "head_object": {"ETag", "LastModified"},
    "put_object": {"ETag"},
    "upload_part": {"ETag"},
}
_NO_KEYS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError)


def _allow() -> None:
    """Anything may be asked at any time."""


def _forbid() -> None:
    raise ConnectionLost(OVER)


class Service:
    """A bucket's server. ``where``: how people know it."""

    def __init__(self, client: Any, bucket: str, where: str, quick: Quick | None = None) -> None:
        self._client = client
        self._quick = quick
        self.bucket = bucket
        self.where = where
        self.check: Callable[[], None] = _allow  # raises what keeps us from asking for more
        self._lock = threading.Lock()
        self._requests = self._sent = self._received = 0
        self._slow_until = 0.0
        self._told = ""  # what time it is, by the last answer
        self._was_in = False  # it has let us in
        self.software: set[str] = (
            set()
        )  # what it calls itself, by one answer or the other; "": it does not say

    @property
    def stats(self) -> Stats:
        """What it took so far."""
        return Stats(self._requests, self._sent, self._received)

    def close(self) -> None:
        """Ask for nothing any more, whatever some thread is still at: the next run may be under way."""
        self.check = _forbid

    def now(self) -> float:
        """Seconds since the epoch by the server's clock, as of its last answer; 0: it does not say."""
        try:
            return parsedate_to_datetime(self._told).timestamp()
        except (TypeError, ValueError):
            return 0.0

    def put(self, key: str, body: bytes, **wanted: Any) -> Mapping[str, Any]:
        """The request of which there are most. See ``ask``."""
        reply = self._ask_quickly(lambda quick: quick.put(key, body, wanted), body)
        return reply or self.ask("put_object", Key=key, Body=body, **wanted)

    def put_part(self, key: str, upload: str, number: int, body: bytes, **wanted: Any) -> Mapping[str, Any]:
        """A part of a large file. See ``ask``."""
        reply = self._ask_quickly(lambda quick: quick.put_part(key, upload, number, body, wanted), body)
        return reply or self.ask(
            "upload_part", Key=key, UploadId=upload, PartNumber=number, Body=body, **wanted
        )

    def copy(self, key: str, source: str, **wanted: Any) -> Mapping[str, Any]:
        """Another key's content to this one, by the server. See ``ask``."""
        reply = self._ask_quickly(lambda quick: quick.copy(key, f"{self.bucket}/{source}", wanted))
        origin = {"Bucket": self.bucket, "Key": source}
        return reply or self.ask("copy_object", Key=key, CopySource=origin, **wanted)

    def _ask_quickly(
        self, ask: Callable[[Quick], Mapping[str, Any] | None], body: bytes = b""
    ) -> Mapping[str, Any] | None:
        """None: the client has to ask. So it is before the server has let us in, and while it asks to slow
        down."""
        if self._quick is None or not self._was_in or self._slow_until >= time.monotonic():
            return None
        self.check()
        try:
            reply = ask(self._quick)
        except BROKEN as error:
            raise self._lost(explain_loss(error)) from None
        if reply is not None:
            self._count(reply, body)
        return reply

    def ask(self, operation: str, **wanted: Any) -> Mapping[str, Any]:
        """One request of boto3's client, by its name, to our bucket.

        Raises Refusal; ConnectionLost where nothing came of it, TurnedAway where nothing will.
        """
        body = wanted.get("Body", b"")
        for turn in range(PATIENCE + 1):
            self._wait_if_asked_to()
            self.check()  # RACE: botocore may try once more by itself what was halted on its way
            try:
                reply: Mapping[str, Any] = getattr(self._client, operation)(Bucket=self.bucket, **wanted)
            except ClientError as error:
                self._count(error.response, body)
                refusal = refusal_of(error.response)
                if refusal.code in SLOW or refusal.status in (429, 503):
                    self._slow_down(turn)
                    continue
                if operation == "head_object" and refusal.status in (400, 403):
                    refusal = self._ask_why(refusal, wanted["Key"])
                raise self._judge(refusal) from None
            except ParamValidationError as error:
                raise Refusal("InvalidRequest", 400, one_line(str(error))) from None
            except _NO_KEYS as error:
                said = f"{self.where}: no credentials that boto3 finds are of use: {one_line(str(error))}"
                if self._was_in:  # with others before: they have expired, and may be renewed by then
                    raise ConnectionLost(said) from None
                raise TurnedAway(
                    f"{said} Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a --profile."
                ) from None
            except BotoCoreError as error:
                if isinstance(error.kwargs.get("error"), RecursionError):  # met while it was sending
                    raise self.no_s3(ELSEWHERE) from None
                raise self._lost(explain_loss(error)) from None
            except OSError as error:
                raise self._lost(explain_loss(error)) from None
            except ResponseParserError as error:
                raise self._lost(f"what it answers is no S3: {one_line(str(error))}") from None
            except RecursionError:  # botocore, after one redirection that names no region
                raise self.no_s3(ELSEWHERE) from None
            self._count(reply, body)
            if not reply.keys() & _TELLS.get(operation, reply.keys()):
                raise Failing(f"{self.where}: the answer to {operation} does not say what is there now")
            self._was_in = True
            return reply
        raise self._lost("it asks to slow down, again and again")

    def read(self, key: str, start: int, length: int) -> bytes:
        """So many bytes of an object from ``start`` on, or as many as there are."""
        if not length:
            return b""
        reply = self.ask("get_object", Key=key, Range=f"bytes={start}-{start + length - 1}")
        try:
            data: bytes = reply["Body"].read()
        except BROKEN as error:
            raise self._lost(explain_loss(error)) from None
        with self._lock:
            self._received += len(data)
        return data

    def _ask_why(self, refusal: Refusal, key: str) -> Refusal:
        """An answer to HEAD has no room for a reason. Who may not look at an object may not read it."""
        try:
            reply = self._client.get_object(Bucket=self.bucket, Key=key, Range="bytes=0-0")
        except ClientError as error:
            self._count(error.response, b"")
            told = refusal_of(error.response)
            return told if told.status in (400, 403) else refusal
        except (BotoCoreError, OSError):
            return refusal
        self._count(reply, b"")
        reply["Body"].close()
        return refusal

    def no_s3(self, why: str) -> TurnedAway:
        """Something else answers: a web server, or what stands between a guest and the network."""
        return TurnedAway(f"{self.where} does not answer as S3 does: {why}. Is --endpoint right?")

    def _lost(self, why: str) -> Unreachable:
        return ConnectionLost(f"{self.where}: {why}")

    def _judge(self, refusal: Refusal) -> Exception:
        """Whether it is about what was asked for, about us, or about the server."""
        if refusal.code in KEYS and not (self._was_in and refusal.is_unsigned):
            said = f"{self.where} does not let us in: {KEYS[refusal.code]} ({refusal.code})"
            if self._was_in:  # those that are found by then may be good
                return ConnectionLost(said)
            return TurnedAway(f"{said}. Nothing was done.")
        if refusal.code == "NoSuchBucket":
            return TurnedAway(
                f"{self.where}: there is no such bucket. Make it first, or correct DEST, --region or "
                "--endpoint."
            )
        if refusal.code in REGION:
            return TurnedAway(f"{self.where}: the bucket is in another region ({refusal}). Say --region.")
        if refusal.status >= 500 and refusal.status not in (501, 507):
            return Failing(f"{self.where}: the server failed ({refusal})")
        return refusal

    def _count(self, reply: Mapping[str, Any], body: bytes) -> None:
        about = reply.get("ResponseMetadata", {})
        tries = 1 + int(about.get("RetryAttempts", 0))
        headers = about.get("HTTPHeaders", {})
        told = headers.get("date")
        with self._lock:
            self._requests += tries
            self._sent += len(body)
            self.software.add(str(headers.get("server") or ""))
            if told:
                self._told = told

    def _wait_if_asked_to(self) -> None:
        while (pause := self._slow_until - time.monotonic()) > 0:
            time.sleep(pause * (1 + random.random() / 4))  # noqa: S311 - no secret

    def _slow_down(self, turn: int) -> None:
        pause = min(LONGEST, 0.5 * 2**turn)
        with self._lock:
            self._slow_until = max(self._slow_until, time.monotonic() + pause)
