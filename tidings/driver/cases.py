"""What may stand in a ``*.test.yaml``: what comes in, what must come out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from tidings.contract import Spec
from tidings.driver.given import Given, Instant
from tidings.durations import Duration
from tidings.load import Json
from tidings.problems import ValueProblem
from tidings.sender import Verdict

WHATS = ("delivered", "dropped", "deferred", "dead", "sent", "failed", "unknown")
NOON = 1_782_907_200_000  # 2026-07-01T12:00:00Z


class News(Spec):
    """What becomes of a delivery, as a lane or a provider's receipt would tell the flow."""

    kind: Literal[
        "sent",
        "failed",
        "suppressed",
        "expired",
        "unknown",
        "cancelled",
        "bounced",
        "delivered",
        "opened",
        "clicked",
    ]
    """What: `sent` by the provider, `failed`, `delivered`, `opened`, …"""

    to: str
    """The recipient."""

    of: str
    """The id of the event that was delivered."""

    round: int = Field(1, ge=1)
    """The round of the escalation."""

    tenant: str = "default"
    """The recipient's tenant."""


class Arrival(Spec):
    """Something that comes in: an event, bytes that are none, or news of a delivery."""

    at: Duration = 0
    """When, after the start."""

    event: dict[str, Json] | None = None
    """The fields of the event, on top of those of `given.event`."""

    raw: str | None = None
    """Instead of an event: a text, for what can't be decoded."""

    news: News | None = None
    """Instead of an event: news of a delivery, for an `escalate` that waits for it."""

    topic: str = ""
    """The topic, where the flow reads several; by default the first one."""

    @model_validator(mode="after")
    def _one_of(self) -> Arrival:
        if [self.event, self.raw, self.news].count(None) != 2:
            raise ValueProblem(
                "one-of",
                "what comes in is either an `event`, `raw` or `news`",
                "event: {…}, or raw: text, or news: {kind: delivered, to: ana, of: e1}",
            )
        return self


class Expected(Spec):
    """One output of a step. Exactly one of the first seven says what it is; of the others, those
    that are given must be equal, and of `data` and `parts` the fields that are named."""

    delivered: str = ""
    """The channel that a delivery was written for."""

    dropped: str = ""
    """The reason for which something was let go."""

    deferred: str = ""
    """The reason for which something waits."""

    dead: str = ""
    """The reason for which something went to the dead letters."""

    sent: str = ""
    """The address that a send was made to, whatever it was answered."""

    failed: str = ""
    """The reason for which a delivery failed on its channel."""

    unknown: str = ""
    """The reason for which nobody knows whether a delivery arrived."""

    at: Duration
    """When, after the start."""

    to: str | None = None
    """The recipient."""

    members: tuple[str, ...] | None = None
    """The ids of the events that it covers."""

    kind: str | None = None
    """Of what was dropped: `suppressed`, `expired` or `cancelled`."""

    detail: str | None = None
    """What the outcome says beside the reason."""

    round: int | None = None
    """Of a delivery or a send: the round of an escalation, from 1."""

    category: str | None = None
    """The category."""

    priority: str | None = None
    """Of a delivery: its priority."""

    template: str | None = None
    """Of a delivery: its template."""

    chain: tuple[str, ...] | None = None
    """Of a delivery: the channels left to try."""

    expires: Duration | None = None
    """Of a delivery: when it expires, after the start."""

    collapse_key: str | None = None
    """Of a delivery: its collapse key."""

    campaign_id: str | None = None
    """Of a delivery: its campaign."""

    data: dict[str, Json] | None = None
    """Of a delivery: what templates see."""

    channel: str | None = None
    """Of a send: its channel."""

    provider: str | None = None
    """Of a send: the provider."""

    attempt: int | None = None
    """Of a send: which attempt it is, from 1."""

    answer: Verdict | None = None
    """Of a send: what it was answered, `ok` and so on."""

    parts: dict[str, str] | None = None
    """Of a send: the text, by part."""

    error: str | None = None
    """Of a dead letter: the error."""

    @model_validator(mode="after")
    def _one_what(self) -> Expected:
        given = [name for name in WHATS if getattr(self, name)]
        if len(given) != 1:
            said = "none" if not given else " and ".join(f"`{name}`" for name in given)
            raise ValueProblem(
                "one-of",
                f"an output is exactly one thing, got {said}",
                "such as delivered: push, dropped: duplicate, dead: undecodable, sent: token",
            )
        return self

    def what(self) -> str:
        """Which of the seven it is."""
        return next(name for name in WHATS if getattr(self, name))


class Case(Spec):
    """One test."""

    name: str
    """What it shows, as a sentence."""

    start: Instant | None = None
    """When it starts; by default as the file says."""

    given: Given = Given()
    """On top of what is given for all cases."""

    arrivals: tuple[Arrival, ...] = Field(alias="in")
    """What comes in, in order of time."""

    advance: Duration | None = None
    """How much time passes after the start in all. By default, as long as anything waits, up to 30
    days."""

    out: dict[str, tuple[Expected, ...]] = Field({})
    """By step id, everything that comes out of it: what is not listed fails the test."""


def _some_unique(cases: tuple[Case, ...]) -> tuple[Case, ...]:
    if not cases:
        raise ValueProblem("bad-value", "there is no case", "each begins with `- name: …`")
    names = [case.name for case in cases]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueProblem("duplicate-case", f"two cases are called `{twice[0]}`", "rename one")
    return cases


class CasesFile(Spec):
    """Tests of one flow, in virtual time."""

    flow: str = ""
    """The flow's file, from here; by default the one with the same name: `social.yaml` for
    `social.test.yaml`."""

    start: Instant = NOON
    """When cases start; by default 2026-07-01T12:00:00Z."""

    env: dict[str, str] = Field({})
    """Variables that the flow's file names; those of the process do not count."""

    given: Given = Given()
    """What holds for all cases."""

    cases: Annotated[tuple[Case, ...], AfterValidator(_some_unique)]
    """The cases."""
