"""The scenario of a rehearsal: a YAML file that says what goes wrong, and what is told later.

latency: [20ms, 80ms]
receipts: [{event: delivered, after: [1s, 5s]}]
script:
  - {provider: apns, since: 1m, share: 0.1, draw: address, answer: inv}       # token churn
  - {provider: fcm, since: 2m, until: 3m, answer: retry, limited: true, retry_after: 10s}
  - {provider: ses, share: 0.01, answer: amb, by: reset}
  - {provider: twilio, share: 0.01, answer: amb, accepted: true}      # a black hole that took it
  - {provider: twilio, share: 0.05, receipts: [{event: failed, code: "30003", after: 20s}]}
  - {provider: twilio, address: "+1202*", receipts: [{event: replied, text: "Yes", after: 1m}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tidings.durations import Duration
from tidings.load import bind, read_file
from tidings.problems import Problems, ValueProblem
from tidings.script import Latency, Rule
from tidings.sender import Verdict

ProviderName = Literal["apns", "fcm", "ses", "sendgrid", "twilio"]

_MUTE = ("apns", "fcm")

Happens = Literal[
    "sent", "deferred", "delivered", "opened", "clicked", "bounced", "complained", "unsubscribed",
    "failed", "replied",
]  # fmt: skip


class Event(BaseModel):
    """Something that a provider calls back about after it took a message."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    event: Happens
    """What happens. What a provider has no word for it does not tell; APNs and FCM tell nothing."""
    after: Latency = 0
    """How long after the message was taken; late where that is long, out of order where it is less
    than an earlier event's."""
    times: Annotated[int, Field(ge=1, le=100)] = 1
    """How often it is told, each time after a time of its own from ``after``."""
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """For which part of the messages."""
    code: str = ""
    """The provider's word for why: ``30003``, ``5.1.1``, ``blocked``, ``Transient/MailboxFull``."""
    text: str = ""
    """What a person texts back who has ``replied``."""

    @model_validator(mode="after")
    def _said(self) -> Self:
        if bool(self.text) != (self.event == "replied"):
            raise ValueProblem("missing-field", "`text` and `event: replied` go together")
        return self


class WireRule(Rule):
    """A line of the script: the sandbox's, and what only a wire can do."""

    provider: ProviderName | Literal[""] = ""
    """Only this provider; empty for all."""
    status: Annotated[int, Field(ge=0, le=599)] = 0
    """The HTTP status in place of the one that goes with the answer. A call of many gets it as a
    whole."""
    by: Literal["silence", "reset"] = "silence"
    """What an ``amb`` is: no answer ever (a black hole), or the connection is reset."""
    dead_for: Duration = 0
    """How long a token has been dead that Apple calls unregistered: its ``timestamp``."""
    receipts: tuple[Event, ...] | None = None
    """What is told later, in place of the scenario's own."""

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        amb, retry = self.answer is Verdict.AMB, self.answer is Verdict.RETRY
        for wrong, field, said in (
            (amb and self.status, "status", "an `amb` gets no answer, and so no status"),
            (not amb and self.by == "reset", "by", "`by` is how an `amb` is: add `answer: amb`"),
            (not retry and self.limited, "limited", "a rate limit is a retry: add `answer: retry`"),
            (self.until and self.until <= self.since, "until", "it is over before `since`"),
            (self.receipts and self.provider in _MUTE, "receipts", "Apple and Google tell nothing"),
        ):
            if wrong:
                raise ValueProblem("no-sense", said, loc=(field,))
        return self


class Scenario(BaseModel):
    """What the simulator does beside saying yes."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    seed: Annotated[int, Field(ge=0)] = 0
    """Another seed draws other latencies and other messages for a share."""
    latency: Latency = 0
    """From request to answer: one duration, or the least and the greatest."""
    script: tuple[WireRule, ...] = ()
    """What goes wrong; without a rule that fits, a message is accepted."""
    apple_by: Literal["key", "certificate"] = "key"
    """How Apple knows who sends: by the key that has signed a token, or by a certificate, and then
    by nothing else. MDM always goes by certificate."""
    receipts: tuple[Event, ...] = ()
    """What is told later of every message that was accepted."""
    names: dict[ProviderName, str] = {}
    """What a provider is called in the settings, where that is not its kind: ``{ses: mail}``."""
    urls: dict[ProviderName, str] = {}
    """The public address of a provider's webhook. Twilio's comes with each message."""


def read_scenario(file: Path, env: Mapping[str, str]) -> Scenario:
    """The scenario of a file; ``env`` is for its ``${NAME}``.

    Raises ProblemsError with every mistake in it, OSError where it can't be read.
    """
    problems = Problems()
    node = read_file(file, env, problems)
    found = None if node is None else bind(node, Scenario, "scenario", problems)
    problems.raise_if_any()
    assert found is not None
    return found
