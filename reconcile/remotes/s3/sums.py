"""What tells a server whether it has got what was sent: CRC-32 where it compares that, else MD5.

What may live here: these, as S3 writes them. Which of them a server knows is tried: see ``ability``.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

from reconcile.core.model import Problem, Reason
from reconcile.remotes.s3.failure import problem

ALGORITHM = "CRC32"  # of the parts of an upload: S3 wants to be told where that begins


def crc32(data: bytes) -> str:
    """In base64, the highest byte first."""
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def of_object(data: bytes, *, crc: bool) -> dict[str, str]:
    """Of what is sent in one request. MD5 in any case: by that an ETag tells whether the same is there.

    ``crc``: the server compares CRC-32, too.
    """
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    sums = {"ContentMD5": base64.b64encode(md5).decode()}
    return {**sums, "ChecksumCRC32": crc32(data)} if crc else sums


def of_part(data: bytes, *, crc: bool) -> dict[str, str]:
    """Of a part of an upload: one of the two, as MD5 takes longer than all else that is done with it."""
    return {"ChecksumCRC32": crc32(data)} if crc else of_object(data, crc=False)


def unlike(path: str, reply: Mapping[str, Any], sums: Mapping[str, str]) -> Problem | None:
    """What the server says to have got, where it is not what was sent."""
    sent, told = sums.get("ChecksumCRC32"), reply.get("ChecksumCRC32")
    if sent is None or told in (None, sent):
        return None
    said = f"the server got something else (CRC-32 {told}, not {sent}); the next run sends it again"
    return problem(path, Reason.FAILED, said)
