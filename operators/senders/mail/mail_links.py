"""The addresses of ours in a mail: unsubscribe, opened, clicked.

    https://mail.example.com/u/<reference>                      a POST unsubscribes (RFC 8058)
    https://mail.example.com/o/<reference>                      the pixel
    https://mail.example.com/c/<reference>/<mark>?to=<address>  leads on to the address

The reference says whose mail it is. It is signed by a key of its own for each purpose, derived from
the one that is configured, so that who knows the pixel's address can't unsubscribe anybody; the
mark binds the address to the reference, so that nobody makes a redirection of ours. None of them
expires.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from html import escape, unescape
from typing import Literal
from urllib.parse import quote

from tidings.receipts import Forged, Reference

Purpose = Literal["unsubscribe", "open", "click"]
_LEAST_KEY = 32  # characters
_MARK = 16  # bytes
_LINK = re.compile(r"""(<a\s[^>]*?\bhref\s*=\s*)(?:"(https?://[^"]*)"|'(https?://[^']*)')""", re.I)
_END = re.compile(r"</body\s*>", re.I)


def key_for(purpose: Purpose, key: str) -> bytes:
    """The key of a purpose. Raises ValueError for one that is too short."""
    key = key.strip()
    if len(key) < _LEAST_KEY:
        raise ValueError(
            f"the key of `links` has at least {_LEAST_KEY} characters; make one with "
            "`openssl rand -hex 32`"
        )
    return hmac.digest(key.encode(), f"mail/{purpose}".encode(), "sha256")


class Links:
    """Writes the addresses; ``base`` is where they begin."""

    def __init__(self, base: str, key: str) -> None:
        self._base = base
        self._unsubscribe = key_for("unsubscribe", key)
        self._open = key_for("open", key)
        self._click = key_for("click", key)

    def unsubscribe(self, reference: Reference) -> str:
        """Where one click unsubscribes."""
        return f"{self._base}/u/{reference.signed(self._unsubscribe)}"

    def with_pixel(self, html: str, reference: Reference) -> str:
        """``html`` with a picture that is fetched when it is read."""
        address = f"{self._base}/o/{reference.signed(self._open)}"
        pixel = f'<img src="{address}" width="1" height="1" alt="">'
        end = None
        for end in _END.finditer(html):  # noqa: B007 - the last one
            pass
        place = len(html) if end is None else end.start()
        return html[:place] + pixel + html[place:]

    def with_redirects(self, html: str, reference: Reference) -> str:
        """``html`` with its links to the web leading through us."""
        named = ""

        def redirected(link: re.Match[str]) -> str:
            nonlocal named
            named = named or reference.signed(self._click)
            address = unescape(link[2] or link[3])
            mark = _mark(named, address, self._click)
            ours = f"{self._base}/c/{named}/{mark}?to={quote(address, safe='')}"
            return f'{link[1]}"{escape(ours)}"'

        return _LINK.sub(redirected, html)


def clicked(reference: str, mark: str, to: str, keys: Sequence[str]) -> Reference:
    """Whose click it was that came with ``mark`` and led to ``to``.

    ``keys`` are those that are or were configured. Raises Forged where none has signed it.
    """
    click_keys = [key_for("click", key) for key in keys]
    found = Reference.read(reference, click_keys)
    if not any(
        hmac.compare_digest(mark.encode(), _mark(reference, to, key).encode()) for key in click_keys
    ):
        raise Forged("an address that is not the one we signed")
    return found


def _mark(reference: str, address: str, key: bytes) -> str:
    mark = hmac.digest(key, f"{reference}\n{address}".encode(), "sha256")[:_MARK]
    return urlsafe_b64encode(mark).rstrip(b"=").decode()
