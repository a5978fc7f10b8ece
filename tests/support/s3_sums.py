"""What S3 itself makes of CRC-32, and no server does that runs here: for the proxy of ``http_faults``.

It compares the sum with what has come, tells it, and insists that the parts of an upload have one if that was
said when it began, and only then (S3 user guide, "Checking object integrity"; "Checksum Type mismatch
occurred" is what it says otherwise).
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Mapping

BEGUN = re.compile(rb"<UploadId>([^<]+)</UploadId>")
SUM, ALGORITHM = "x-amz-checksum-crc32", "x-amz-checksum-algorithm"
_PART = re.compile(rb"<Part>.*?<PartNumber>(\d+)</PartNumber>.*?</Part>", re.DOTALL)
_TOLD = re.compile(rb"<ChecksumCRC32>([^<]+)</ChecksumCRC32>")


class Sums:
    """What is known of the uploads under way."""

    def __init__(self) -> None:
        self.compared: set[str] = set()  # kinds of requests
        self._parts: dict[str, dict[int, str]] = {}  # sums by upload and number

    def refusal(
        self, kind: str, query: Mapping[str, list[str]], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, str] | None:
        """Status and code, if it is not done."""
        told, upload = headers.get(SUM), (query.get("uploadId") or [""])[0]
        if kind == "UploadPart" and (told is not None) is not (upload in self._parts):
            return 400, "InvalidRequest"
        if told is not None and told != base64.b64encode(zlib.crc32(body).to_bytes(4)).decode():
            return 400, "BadDigest"
        if kind == "CompleteMultipartUpload" and upload in self._parts:
            for part in _PART.finditer(body):
                found = _TOLD.search(part[0])
                if found is None or found[1].decode() != self._parts[upload].get(int(part[1])):
                    return 400, "InvalidPart"
        return None

    def note(
        self, kind: str, query: Mapping[str, list[str]], headers: Mapping[str, str], body: bytes
    ) -> Mapping[str, str]:
        """It was done, and answered with ``body``: what is told beside that."""
        if kind == "CreateMultipartUpload" and ALGORITHM in headers:
            begun = BEGUN.search(body)
            assert begun is not None
            self._parts[begun[1].decode()] = {}
            return {ALGORITHM: headers[ALGORITHM]}
        if kind in ("PutObject", "UploadPart") and (told := headers.get(SUM)) is not None:
            self.compared.add(kind)
            if kind == "UploadPart":
                self._parts[query["uploadId"][0]][int(query["partNumber"][0])] = told
            return {SUM: told}
        return {}

    def fill(self, query: Mapping[str, list[str]], listed: bytes) -> bytes:
        """A list of parts, with their sums."""
        sums = self._parts.get((query.get("uploadId") or [""])[0], {})

        def add(part: re.Match[bytes]) -> bytes:
            told = sums.get(int(part[1]), "").encode()
            return part[0].replace(b"</Part>", b"<ChecksumCRC32>%b</ChecksumCRC32></Part>" % told)

        return _PART.sub(add, listed) if sums else listed
