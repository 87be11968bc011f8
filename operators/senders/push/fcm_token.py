"""What Google knows us by: an OAuth token, an hour long, asked for by google-auth on a thread.

A new one is asked for ten minutes before the old one ends, by one question at a time; sends go on
with the old one meanwhile. While Google can't be asked, or refuses, that is tried again after a
growing pause, when a send wants it.
"""

from __future__ import annotations

import asyncio
import calendar
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from tidings.secret import Secret

REFRESH_BEFORE = 600_000  # ms before its end
SPARE = 30_000  # ms before its end from which on it is not used any more
LEAST_LIFE = 300_000  # ms between two tokens that FCM refused: then the credentials are wrong
FIRST_PAUSE = 1_000  # ms after a failure; doubled at each
LONGEST_PAUSE = 30_000
PATIENCE = 10.0  # seconds for one request to Google

_FOR_EVER = 2**53


class Token(NamedTuple):
    """A token and its end, epoch ms."""

    value: str
    ends_at: int


class Refused(Exception):
    """Google will not give us a token: the credentials are wrong, or have been withdrawn."""


class Away(Exception):
    """Google can't be asked now."""


class Account(NamedTuple):
    """Whose tokens: ``ask`` blocks, and raises Refused or Away."""

    project: str
    ask: Callable[[], Token]


def account(key: Secret | None) -> Account:
    """The account of a key, or of the surroundings (Application Default). Reads files; blocks.

    Raises ValueError for credentials that are none, without their content.
    """
    # Here, for it takes half a second and 30 MB that an installation without FCM needs not.
    from firebase_admin import credentials as firebase
    from google.auth.exceptions import GoogleAuthError

    try:
        made = firebase.ApplicationDefault() if key is None else _of_key(key.read(), firebase)
        project = getattr(made, "project_id", None) or ""
        return Account(project, partial(_ask, made.get_credential()))
    except GoogleAuthError as error:
        raise ValueError(f"there are no Application Default credentials here: {error}") from None


def _of_key(text: str, firebase: Any) -> Any:
    try:
        key = msgspec.json.decode(text.encode(), type=dict[str, Any])
        kinds = {"service_account": firebase.Certificate, "authorized_user": firebase.RefreshToken}
        return kinds[key.get("type", "")](key)
    except (msgspec.DecodeError, KeyError, ValueError, TypeError):
        pass  # their words might quote the key
    raise ValueError(
        "the FCM credentials are not a service account's key; take the JSON file as the Firebase "
        "console gave it"
    )


def _ask(credentials: Any) -> Token:
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.auth.transport.requests import Request

    try:
        credentials.refresh(partial(Request(), timeout=PATIENCE))
    except GoogleAuthError as error:
        why = str(error.args[0] if error.args else error)[:300]
        if error.retryable or isinstance(error, TransportError):
            raise Away(why) from None
        raise Refused(why) from None
    except Exception as error:  # noqa: BLE001 - what comes through from its many transports
        raise Away(f"{type(error).__name__}: {error}"[:300]) from None
    expiry = credentials.expiry  # UTC, without saying so
    ends_at = _FOR_EVER if expiry is None else calendar.timegm(expiry.timetuple()) * 1000
    return Token(credentials.token, ends_at)


class AccessToken:
    """The token as of now. All on the loop; times in epoch ms.

    ``asking``: a question is under way; ``settled`` is called when it has been answered, well or
    not. ``failure``: why there is no token, "" for none; ``refused`` tells that Google refuses us.
    """

    def __init__(
        self, ask: Callable[[], Token], now: Callable[[], int], settled: Callable[[], None]
    ) -> None:
        self.failure = ""
        self.refused = False
        self._ask = ask
        self._now = now
        self._settled = settled
        self._token = Token("", 0)
        self._task: asyncio.Task[None] | None = None
        self._pause = 0
        self._again_at = 0
        self._renewed_at = 0

    def __repr__(self) -> str:
        return f"AccessToken(ends_at={self._token.ends_at})"

    @property
    def asking(self) -> bool:
        """Whether a question is under way."""
        return self._task is not None

    def current(self, now: int) -> str:
        """The token to send, or "" where there is none; asks for the next when it is time."""
        token = self._token
        if token.ends_at - now < REFRESH_BEFORE and self._task is None and now >= self._again_at:
            self._task = asyncio.get_running_loop().create_task(self._refresh())
        return token.value if token.ends_at - now > SPARE else ""

    def renew(self, refused: str, now: int) -> bool:
        """FCM does not take ``refused``. Gives whether there is, or will be, another one to try."""
        if refused != self._token.value:
            return True
        if self._renewed_at and now - self._renewed_at < LEAST_LIFE:
            return False
        self._renewed_at = now
        self._token = Token("", 0)
        self._again_at = 0
        self.current(now)
        return True

    async def asked(self, patience: float) -> None:
        """Returns when no question is under way, or after ``patience`` seconds."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=patience)

    def close(self) -> None:
        """Asks no more; a question under way ends by itself, unheard."""
        if self._task is not None:
            self._task.cancel()

    async def _refresh(self) -> None:
        try:
            self._token = await asyncio.to_thread(self._ask)
            self.failure, self.refused, self._pause, self._again_at = "", False, 0, 0
        except (Refused, Away) as error:
            self.failure, self.refused = str(error), isinstance(error, Refused)
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            self._again_at = self._now() + self._pause
        finally:
            self._task = None
        self._settled()
