"""The keys of push services: Apple's signing key, Google's service account and its token server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

APNS = ec.derive_private_key(0xA9115, ec.SECP256R1())


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    """A private key, as Apple and Google hand it out."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def public_pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    """Its public half."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


@cache
def google_key() -> rsa.RSAPrivateKey:
    """A service account's key."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def apns_key(folder: Path) -> Path:
    """The file of Apple's signing key."""
    file = folder / "AuthKey.p8"
    file.write_text(pem_of(APNS))
    return file


def apns_certificate(folder: Path, topic: str) -> Path:
    """The file of a push certificate and its key, whose subject names ``topic`` as Apple's do."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.USER_ID, topic)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = folder / "push.pem"
    file.write_text(certificate.public_bytes(serialization.Encoding.PEM).decode() + pem_of(key))
    return file


def service_account(folder: Path, token_uri: str, **changes: Any) -> Path:
    """The file of a service account whose tokens come from ``token_uri``."""
    content = {
        "type": "service_account",
        "project_id": "example-app",
        "private_key_id": "1",
        "private_key": pem_of(google_key()),
        "client_email": "push@example-app.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
        **changes,
    }
    file = folder / "service-account.json"
    file.write_text(json.dumps(content))
    return file


class TokenServer:
    """Google's token endpoint: what it was asked, and ``answers``, the last one again and again."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.uri = ""
        self.gate = threading.Event()  # closed, it keeps everybody waiting
        self.gate.set()

    def answer(self, asked: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The next answer; by default a token of its own number, for an hour."""
        self.asked.append(asked)
        self.gate.wait()
        if self.answers:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return 200, {"access_token": f"token-{len(self.asked)}", "expires_in": 3_600}


@contextmanager
def token_server() -> Iterator[TokenServer]:
    """A token endpoint on loopback."""
    tokens = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            status, content = tokens.answer({k: v[0] for k, v in parse_qs(body).items()})
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tokens.uri = f"http://127.0.0.1:{server.server_port}/token"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield tokens
    finally:
        tokens.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
