"""The short way of a PUT over TLS: it trusts whom the client would, and nobody else."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import pytest
from botocore.config import Config  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconcile.remotes.s3.quick import Quick, make_quick


class Bucket(BaseHTTPRequestHandler):
    """Takes whatever is put."""

    protocol_version = "HTTP/1.1"
    held: dict[str, bytes]

    def do_PUT(self) -> None:
        self.held[self.path] = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


def make_certificate(folder: Path, address: str) -> Path:
    """One that signs itself, for this address alone; its key is beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bucket")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{address}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture(params=["127.0.0.1", "127.0.0.2"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path, dict[str, bytes]]]:
    """At 127.0.0.1, with a certificate for that or for another; its URL, that, and what it holds."""
    certificate = make_certificate(tmp_path, request.param)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    held: dict[str, bytes] = {}
    handler = type("Held", (Bucket,), {"held": held})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{http.server_port}", certificate, held
        http.shutdown()
        thread.join()


def quick_to(url: str, verify: object) -> Quick:
    session = boto3.session.Session("k", "s", region_name="us-east-1")
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"}, proxies={})
    client = session.client("s3", endpoint_url=url, verify=verify, config=config)
    quick = make_quick(client, session, "bucket")
    assert quick is not None
    return quick


def test_whom_the_client_trusts(server: tuple[str, Path, dict[str, bytes]]) -> None:
    url, certificate, held = server
    is_its_own = certificate.stem == "127.0.0.1"
    reply = quick_to(url, str(certificate)).put("key", b"content", {})
    assert (reply is not None) is is_its_own
    assert held == ({"/bucket/key": b"content"} if is_its_own else {})


def test_nobody_else(server: tuple[str, Path, dict[str, bytes]]) -> None:
    url, _, held = server
    assert quick_to(url, None).put("key", b"content", {}) is None
    assert held == {}
