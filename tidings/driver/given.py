"""What is given in a ``*.test.yaml``: the people, the other systems and the providers of a case."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from tidings.contract import Spec
from tidings.durations import Duration, format_duration
from tidings.load import Json
from tidings.problems import ValueProblem

PATIENCE = 10_000  # ms that our senders wait for an answer, unless their settings say otherwise
LONGEST = 15_000  # ms: a lane's lease is over then, and no sender waits so long


def _instant(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise ValueProblem(
            "bad-value", f"`{value}` is not a time", "write it like 2026-07-01T12:00:00Z"
        ) from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


Instant = Annotated[
    int,
    BeforeValidator(_instant, json_schema_input_type=str),
]
"""Epoch ms, written ``2026-07-01T12:00:00Z``; without a zone it is UTC."""


class AddressSpec(Spec):
    """One place where a person can be reached."""

    kind: Literal["device", "email", "phone"]
    """`device`, `email` or `phone`."""

    value: str
    """The token, the mailbox, or the number like +34600000001."""

    platform: str = ""
    """Of a device: `ios`, `android` or `web`."""

    app: str = ""
    """Of a device: the app."""

    registered_at: Instant = 0
    """When it was registered."""

    verified: bool = True
    """An address that is not verified is not sent to."""

    zone: str = ""
    """Of a device: the time zone that it is in."""

    quiet: str = ""
    """Of a device: its own quiet hours."""


class PersonSpec(Spec):
    """A person, as the profile has them."""

    tenant: str = "default"
    """The tenant that the person belongs to."""

    locale: str = ""
    """Their language, such as `es-AR`."""

    zone: str = ""
    """Their time zone, such as `America/Mexico_City`."""

    quiet: str = ""
    """Their own quiet hours, such as `21:00-07:30`, or `none`."""

    addresses: tuple[AddressSpec, ...] = ()
    """Where they can be reached."""

    channels: dict[str, bool] = Field({})
    """Their choices by channel: `email: false`."""

    categories: dict[str, bool] = Field({})
    """Their choices by category."""

    pairs: dict[str, bool] = Field({})
    """Their choices by `category/channel`."""

    types: dict[str, bool] = Field({})
    """Their choices by type of event."""

    muted: dict[str, tuple[str, ...]] = Field({})
    """What they want to hear nothing of, by the field that says it: `actor_id: [bob]`."""

    erased: bool = False
    """They asked to be forgotten."""


class SuppressionSpec(Spec):
    """An address that must not be sent to."""

    channel: str
    """The channel."""

    address: str
    """The address."""

    reason: str
    """Why: `complaint`, `hard_bounce`, …"""

    scope: str = "all"
    """`all`, or a category."""

    until: Instant = 0
    """When it ends; without it, it holds for good."""

    tenant: str = "default"
    """The tenant whose list it is on."""


class _About(Spec):
    """Which sends something is about: all, unless it says otherwise."""

    channel: str = ""
    """Only sends of this channel."""

    address: str = "*"
    """A pattern for the address, with `*` and `?`."""


class ReplySpec(_About):
    """What a provider answers to the sends that fit."""

    attempts: int = Field(default=0, ge=0)
    """Only the first so many attempts of a send; 0 for all."""

    since: Duration = 0
    """From so long after the start."""

    until: Duration = 0
    """Up to so long after the start; 0 for ever. An outage is a `down` with both."""

    answer: Literal["ok", "inv", "retry", "cfg", "drop", "amb", "down", "timeout"] = "ok"
    """`ok`, `inv` (a dead address), `retry`, `cfg` (it refuses us), `drop` (a bad message) or `amb`
    (no answer came, and nobody knows). `down`: it can't be reached, so that surely nothing was
    sent. `timeout`: it takes the message, and its answer never comes."""

    code: str = ""
    """The provider's own word for it."""

    limited: bool = False
    """It is a rate limit."""

    retry_after: Duration | None = None
    """How long it asks to wait."""

    latency: Duration | None = None
    """How long the answer takes: at once by default, and 10 s for `timeout`."""

    asked: tuple[Literal["has", "none", "silent", "never"], ...] = ()
    """Of `timeout` and `amb`: what it says, time by time, when it is asked whether it has the
    message (`on_uncertain: ask`); the last word is for good. `has` it, `none` so far, `silent`: it
    does not answer, `never`: it can't tell. By default it says what is true."""

    @model_validator(mode="after")
    def _possible(self) -> ReplySpec:
        if self.until and self.until <= self.since:
            raise ValueProblem("bad-value", "`until` is not after `since`", loc=("until",))
        if self.asked and self.answer not in ("timeout", "amb"):
            raise ValueProblem(
                "bad-value",
                f"nobody asks about what was answered `{self.answer}`",
                "`asked` goes with `answer: timeout`, or `amb`",
                loc=("asked",),
            )
        if (self.latency or 0) >= LONGEST:
            raise ValueProblem(
                "bad-value",
                f"no sender waits {format_duration(self.latency or 0)} for an answer",
                f"`answer: timeout` is one that never comes; a latency is below "
                f"{format_duration(LONGEST)}",
                loc=("latency",),
            )
        return self


class ReceiptSpec(_About):
    """What a provider tells later of a message that it took, and what is to be done about it.

    With `after`, of every send that fits; with `at`, of the last one that fits before."""

    kind: Literal[
        "delivered", "opened", "clicked", "bounced", "complained", "unsubscribed", "failed"
    ]
    """What happened to it."""

    provider: str = ""
    """Only sends that this provider took."""

    after: Duration | None = None
    """When, after the provider took it."""

    at: Duration | None = None
    """When, after the start."""

    code: str = ""
    """The provider's own word for it."""

    suppress: str = ""
    """The reason for which the address is never sent to again on its channel."""

    scope: str = "all"
    """What is suppressed: `all`, a category, or `category` for the message's own."""

    gone: bool = False
    """The address does not exist: it is removed from the person's."""

    again: Duration = 0
    """How much later another try may do better; 0 for never."""

    tries: int = Field(default=1, ge=1)
    """How many such tries there are at most."""

    @model_validator(mode="after")
    def _one_time(self) -> ReceiptSpec:
        if (self.after is None) == (self.at is None):
            raise ValueProblem(
                "one-of",
                "a receipt comes either `after` the provider took the message or `at` a time",
                "after: 2s, or at: 10m",
            )
        return self


class Given(Spec):
    """What holds around the events of a case."""

    people: dict[str, PersonSpec] = Field({})
    """The people there are, by recipient id. Nobody else is known."""

    suppressions: tuple[SuppressionSpec, ...] = ()
    """The suppression list."""

    lookups: dict[str, dict[str, dict[str, Json]] | None] = Field({})
    """What `lookup` finds: by connection and key, the row. A connection with nothing behind it is
    down, and so is one that is not named."""

    templates: dict[str, dict[str, dict[str, str]]] = Field({})
    """Texts that take the place of those in the folder of templates: by template and channel, the
    parts by name."""

    providers: dict[str, tuple[ReplySpec, ...]] = Field({})
    """What providers answer, by their names. The first that fits a send decides; what fits none is
    accepted at once."""

    receipts: tuple[ReceiptSpec, ...] = ()
    """What providers tell later of what they took."""

    lanes: tuple[str, ...] = ()
    """The channels whose lanes run behind the flow: `lanes/<channel>.yaml` beside it. Without one,
    a case ends where the flow has delivered."""

    event: dict[str, Json] = Field({})
    """Fields that every event has unless it says otherwise."""
