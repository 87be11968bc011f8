"""What people may see of what passes by: no address, no code, no secret.

Our own log lines, ``tidings tail``, ``tap`` and ``run --dry-run`` use it. A value is hidden because
of its name (``code``, ``token``, ``phone``) or because it looks like an address. Ids stay: they are
what a line is found by.

>>> redacted({"recipient_id": "ana", "code": "481516", "to": "ana@example.com"})
{'recipient_id': 'ana', 'code': '…', 'to': 'a…@example.com'}
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

HIDDEN = "…"

_SECRET_NAMES = frozenset(
    {
        "address",
        "auth",
        "authorization",
        "code",
        "device_token",
        "email",
        "key_p8",
        "mailbox",
        "otp",
        "password",
        "phone",
        "pin",
        "secret",
        "token",
    }
)
_EMAIL = re.compile(r"([A-Za-z0-9])[A-Za-z0-9._%+-]*@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)")
_PHONE = re.compile(r"\+[1-9]\d{2}\d{3,9}(\d{2})\b")
_DEVICE = re.compile(r"\b(?:[0-9a-fA-F]{64,}|[A-Za-z0-9_-]{8,}:[A-Za-z0-9_-]{80,})")
_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")  # of a URL


def redacted(value: Any, name: str = "") -> Any:
    """``value`` with what must not be seen hidden; maps and lists are gone through."""
    if isinstance(value, dict):
        return {key: redacted(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(inner, name) for inner in value]
    if name.lower() in _SECRET_NAMES and value not in (None, "", 0):
        return HIDDEN
    return text_redacted(value) if isinstance(value, str) else value


def secrets(value: Any, name: str = "") -> Iterator[str]:
    """What ``redacted`` hides because of its name, as texts: a message made of it shows it too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from secrets(inner, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from secrets(inner, name)
    elif name.lower() in _SECRET_NAMES and value not in (None, "", 0):
        yield str(value)


def text_redacted(text: str) -> str:
    """``text`` without mailboxes, phone numbers, device tokens and passwords in URLs."""
    if "@" in text:
        text = _PASSWORD.sub(rf"\1{HIDDEN}@", text)
        text = _EMAIL.sub(rf"\1{HIDDEN}@\2", text)
    if "+" in text:
        text = _PHONE.sub(rf"+{HIDDEN}\1", text)
    return _DEVICE.sub(HIDDEN, text) if len(text) >= 64 else text
