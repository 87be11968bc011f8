"""The authority that has signed the certificates by which Apple knows clients.

Its files are made once in a folder, and anew before they end. Each certificate is a PEM file with
its own private key, as our senders take it; the topic that it is for is the user id of its subject,
as Apple writes it.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = datetime.timedelta(days=30)
_LEAST_LIFE = datetime.timedelta(days=1)
_HOUR = datetime.timedelta(hours=1)


class Authority:
    """Certificates by the name of their file; ``topics`` says what each is for.

    ``certificate`` is what a server has to trust to know them.
    """

    def __init__(self, folder: Path, topics: Mapping[str, str], now: datetime.datetime) -> None:
        self.certificate = folder / "authority.pem"
        self.clients = {name: folder / name for name in topics}
        files = (self.certificate, *self.clients.values())
        if all(file.exists() for file in files) and self._lasts(now):
            return
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Simulated Apple")])
        ca = x509.BasicConstraints(ca=True, path_length=0)
        own = _certificate(name, key, now).add_extension(ca, critical=True)
        _write(self.certificate, own.issuer_name(name).sign(key, hashes.SHA256()))
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        for file, topic in topics.items():
            client = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.USER_ID, topic)])
            made = _certificate(subject, client, now).add_extension(usage, critical=False)
            _write(self.clients[file], made.issuer_name(name).sign(key, hashes.SHA256()), client)

    def _lasts(self, now: datetime.datetime) -> bool:
        kept = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return kept.not_valid_after_utc - now > _LEAST_LIFE


def _certificate(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _HOUR)
        .not_valid_after(now + _LIFE)
    )


def _write(
    file: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | None = None
) -> None:
    content = certificate.public_bytes(serialization.Encoding.PEM)
    if key is not None:
        content += key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    file.touch(mode=0o600)
    file.write_bytes(content)
