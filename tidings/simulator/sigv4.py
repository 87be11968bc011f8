"""Amazon's signature, version 4, as its receiver reckons it: written from its description, and not
with the library that our senders sign with."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest, digest
from urllib.parse import parse_qsl, quote

from tidings.simulator.wire import Request

_ALGORITHM = "AWS4-HMAC-SHA256"
_OLDEST = 300  # seconds between the clock of who signs and ours
_authorization = re.compile(
    rf"{_ALGORITHM} Credential=([^/,]+)/(\d{{8}})/([^/,]+)/([^/,]+)/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
).fullmatch

UNKNOWN = ("UnrecognizedClientException", "The security token included in the request is invalid.")
WRONG = (
    "InvalidSignatureException",
    "The request signature we calculated does not match the signature you provided. Check your AWS "
    "Secret Access Key and signing method.",
)
LATE = ("InvalidSignatureException", "Signature expired: the clock of who signed is off.")


def fault(request: Request, key: str, secret: str, now: int) -> tuple[str, str] | None:
    """What is wrong with its signature, as Amazon's code and words; None where it is good.

    ``now`` is in epoch ms.
    """
    found = _authorization(request.headers.get("authorization", ""))
    if found is None or found[1] != key:
        return UNKNOWN
    _, day, region, service, names, given = found.groups()
    moment = request.headers.get("x-amz-date", "")
    try:
        signed_at = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return WRONG
    path, _, query = request.path.partition("?")
    pairs = sorted((quote(n, "-_.~"), quote(v, "-_.~")) for n, v in parse_qsl(query, True))
    canonical = "\n".join(
        (
            request.method,
            quote(path, "/-_.~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{n}:{' '.join(request.headers.get(n, '').split())}" for n in names.split(";")),
            "",
            names,
            sha256(request.body).hexdigest(),
        )
    )
    scope = f"{day}/{region}/{service}/aws4_request"
    hashed = sha256(canonical.encode()).hexdigest()
    signature = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), f"{_ALGORITHM}\n{moment}\n{scope}\n{hashed}"):
        signature = digest(signature, part.encode(), "sha256")
    if not compare_digest(signature.hex(), given):
        return WRONG
    return LATE if abs(now / 1000 - signed_at.timestamp()) > _OLDEST else None
