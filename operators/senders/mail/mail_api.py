"""What the senders of mail over an HTTP API have in common: settings, connections, answers."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tidings.callbacks import Callback
from tidings.durations import DurationType, PositiveDuration
from tidings.http2 import Failure, Fate
from tidings.operators.senders.mail.mail import Mail, Writer
from tidings.operators.senders.mail.mail_settings import MailSettings
from tidings.sender import Answer, Verdict

if TYPE_CHECKING:
    from tidings.http1 import Pool

GRACE = 2.0
"""Seconds to finish when closing."""


class ApiSettings(MailSettings):
    """Settings of a provider with an HTTP API."""

    ca: Path | None = None
    """Whom to trust instead of the system's authorities, a PEM file."""
    connections: Annotated[int, Field(ge=1, le=200)] = 10
    """How many; each carries one call at a time."""
    warm: Annotated[int, Field(ge=0, le=200)] = 2
    """Connections that are made before there is a message, and again after a silence; 0 for none.
    A message never waits for them."""
    timeout: PositiveDuration = 10_000
    """From a call to its answer; what takes longer may have been sent."""
    wait: PositiveDuration = 2_000
    """How long a call waits for a connection before its mails are given back."""
    linger: Annotated[int, DurationType(at_most="1s")] = 20
    """How long a mail waits for others to go with in one call; 0s for none that waits."""
    callback: Callback | None = None
    """Where the provider's events come in, and what the references in them are signed with."""


async def opened(origin: str, settings: ApiSettings) -> Pool:
    """Connections to ``origin``. Raises ValueError for a CA file that can't be used."""
    from tidings.http1 import Limits, Pool  # takes 0.4 s and 29 MB: for those who send

    limits = Limits(
        connections=settings.connections,
        warm=settings.warm,
        wait=settings.wait / 1000,
        timeout=settings.timeout / 1000,
    )
    pool = Pool(origin, limits, tls=trusting(settings.ca))
    await pool.open()
    return pool


def trusting(ca: Path | None) -> ssl.SSLContext | None:
    """A context that trusts ``ca`` alone, None for the usual one. Raises ValueError."""
    if ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise ValueError(f"can't use the CA file {ca}: {error}") from None


def writer_of(settings: ApiSettings) -> Writer:
    """The writer of mails. Raises ValueError for a secret that can't be had."""
    key = settings.callback.signing_key() if settings.callback else b""
    return Writer(settings, key)


def answer_all(mails: Iterable[Mail], said: Answer) -> None:
    """Answers each of them alike."""
    for mail in mails:
        mail.done(mail.send, said)


def no_answer(failure: Failure) -> Answer:
    """What it means that a call was not answered."""
    unsent = failure.fate is Fate.NOT_SENT
    return Answer(
        verdict=Verdict.RETRY if unsent else Verdict.AMB,
        code="NotSent" if unsent else "NoAnswer",
        detail=failure.why,
    )
