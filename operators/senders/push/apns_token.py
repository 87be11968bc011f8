"""The token that Apple knows us by: a JWT, ES256, one per team and shared by all connections.

Apple takes one that was issued within the last hour, and does not want it changed more often than
every 20 minutes. Its time of issue is rounded down to 20 minutes, and its signature is a function
of key and content: so all processes of a team send the same token, or one of two or three, and none
changes it more often than every 24 minutes.
"""

from __future__ import annotations

import base64

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

_MINUTE = 60_000
LEAST_LIFE = 20 * _MINUTE  # Apple: no new token more often
REFRESH_AGE = 45 * _MINUTE
LARGEST_AGE = 58 * _MINUTE  # Apple: 60 minutes
_SKEW = _MINUTE  # our clock may be ahead of Apple's


class ProviderToken:
    """The token as of now; times in epoch ms.

    Raises ValueError for a key that is not a P-256 private key in PEM (Apple's ``.p8``).
    """

    def __init__(self, pem: str, key_id: str, team_id: str) -> None:
        self._key = _private_key(pem)
        self._key_id = key_id
        self._team_id = team_id
        self._token = ""
        self._issued_at = 0
        self._previous = ("", 0)
        self._keep_until = 0  # no new one before this, unless it is about to expire
        self._renewed_at = 0

    def __repr__(self) -> str:
        return f"ProviderToken(key_id={self._key_id!r}, team_id={self._team_id!r})"

    def current(self, now: int) -> str:
        """The token to send, signed anew when it is time."""
        age = now - self._issued_at
        due = age >= REFRESH_AGE and (now >= self._keep_until or age >= LARGEST_AGE)
        if not self._token or due or age < 0:
            self._sign((now - _SKEW) // LEAST_LIFE * LEAST_LIFE)
        return self._token

    def renew(self, expired: str, now: int) -> bool:
        """Apple says that ``expired`` is too old. Gives whether there is another one to try.

        Signs at most once in 20 minutes: if that one is too old as well, a clock is wrong.
        """
        if expired != self._token:
            return True
        if self._renewed_at and now - self._renewed_at < LEAST_LIFE:
            return False
        self._renewed_at = now
        self._keep_until = now + LEAST_LIFE
        self._sign(now)
        return True

    def keep_old(self, refused: str, now: int) -> None:
        """Apple says that we change tokens too often: go back to the one before, while it lasts."""
        token, issued_at = self._previous
        self._keep_until = now + LEAST_LIFE
        if refused == self._token and token and now - issued_at < LARGEST_AGE:
            self._token, self._issued_at = token, issued_at

    def _sign(self, issued_at: int) -> None:
        self._previous = (self._token, self._issued_at)
        header = _part({"alg": "ES256", "kid": self._key_id})
        claims = _part({"iss": self._team_id, "iat": issued_at // 1000})
        signed = f"{header}.{claims}"
        self._token = f"{signed}.{_base64(self._signature(signed.encode()))}"
        self._issued_at = issued_at

    def _signature(self, data: bytes) -> bytes:
        try:
            der = self._key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        except UnsupportedAlgorithm:  # an OpenSSL older than 3.2: each process has its own token
            der = self._key.sign(data, ec.ECDSA(hashes.SHA256()))
        return b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(der))


def _private_key(pem: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None  # its words might quote the key
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError(
            "the APNs key is not a P-256 private key in PEM; take the .p8 file as Apple gave it"
        )
    return key


def _part(content: dict[str, object]) -> str:
    return _base64(msgspec.json.encode(content))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
