"""Texts that leave us and come back: what they say is signed, because what comes from outside is
not to be believed.

Each kind of text has a domain of its own, so that a signature under one says nothing under another.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

_SIGNATURE = 16  # bytes of the HMAC-SHA256 that are kept: nobody guesses 128 bits


class Forged(ValueError):
    """What came in was not signed by who is said to have sent it."""


def signed(body: bytes, key: bytes, domain: bytes = b"") -> str:
    """``body`` with its signature, as text of letters, digits, ``-`` and ``_``."""
    return urlsafe_b64encode(_signature(body, key, domain) + body).rstrip(b"=").decode()


def opened(text: str, keys: Sequence[bytes], domain: bytes = b"") -> bytes:
    """The body of a text that one of ``keys`` has signed. Raises Forged."""
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise Forged("a reference that is no base64") from None
    signature, body = raw[:_SIGNATURE], raw[_SIGNATURE:]
    if not any(hmac.compare_digest(signature, _signature(body, key, domain)) for key in keys):
        raise Forged("a reference that none of our keys has signed")
    return body


def _signature(body: bytes, key: bytes, domain: bytes) -> bytes:
    return hmac.digest(key, domain + body, "sha256")[:_SIGNATURE]
