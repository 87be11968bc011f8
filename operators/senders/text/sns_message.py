"""A notification that Amazon's SNS delivers over HTTPS, and whether Amazon signed it.

Who takes it in fetches the certificate that ``certificate_url`` names, with no redirects, keeps it,
and hands it on with the webhook; everything here is a pure function. A subscription is confirmed by
whoever runs the endpoint, for a topic of his own.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tidings.receipts import Forged, Webhook

_HASHES = {"1": "SHA1", "2": "SHA256"}
_SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_host = re.compile(r"sns\.[a-z0-9-]{3,}\.amazonaws\.com(\.cn)?").fullmatch
_path = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]+\.pem").fullmatch

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def notified(webhook: Webhook, topic: str) -> str:
    """The message of a notification of ``topic``, its ARN. "" for what is no notification.

    Raises Forged where Amazon has not signed it or it is another topic's, ValueError for what can't
    be read.
    """
    envelope = _decode(webhook.body)
    if envelope.get("TopicArn") != topic:
        raise Forged("the notification is of another topic than the settings name")
    certificate_url(envelope)
    _check(envelope, webhook.certificate)
    if envelope.get("Type") != "Notification":
        return ""
    return str(envelope["Message"])


def certificate_url(envelope: dict[str, Any]) -> str:
    """Where Amazon's certificate is. Raises Forged for an address that is not Amazon's."""
    url = str(envelope.get("SigningCertURL", ""))
    parts = urlsplit(url)
    amazon = parts.scheme == "https" and _host(parts.netloc) and _path(parts.path)
    if not amazon or parts.query or parts.fragment:
        raise Forged(f"no certificate of Amazon's: {url[:100]!r}")
    return url


def _check(envelope: dict[str, Any], certificate: bytes) -> None:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    names = [*_SIGNED]
    if envelope.get("Type") != "Notification":
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{envelope[name]}\n" for name in names if name in envelope)
    version = str(envelope.get("SignatureVersion", ""))
    if version not in _HASHES:
        raise Forged(f"a signature of version {version[:10]!r}")
    try:
        key = x509.load_pem_x509_certificate(certificate).public_key()
        signature = b64decode(str(envelope.get("Signature", "")), validate=True)
    except (ValueError, binascii.Error) as error:
        raise Forged(f"no certificate, or no signature: {error}") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise Forged("Amazon signs with RSA")
    algorithm: hashes.HashAlgorithm = getattr(hashes, _HASHES[version])()
    try:
        key.verify(signature, text.encode(), padding.PKCS1v15(), algorithm)
    except InvalidSignature:
        raise Forged("Amazon has not signed this") from None
