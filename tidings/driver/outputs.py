"""What came out of a run, step by step: from outcomes, deliveries, dead letters and sends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tidings.driver.driver import Driver
from tidings.log.port import Record
from tidings.records import (
    Delivery,
    Kind,
    Outcome,
    Stage,
    decode_delivery,
    outcomes_of,
)
from tidings.runtime.letters import PREFIX
from tidings.topics import EVENTS, dead_letters

_FLOW_LETTERS = dead_letters("flow")
_ALONE = ("undecodable", "unwritable")  # a lane's letters that no end of a delivery tells of
_NOT_LISTED = (Stage.ATTEMPT, Stage.RECEIPT)  # what a send tells, and what was given
_DROPPED = (Kind.SUPPRESSED, Kind.EXPIRED, Kind.CANCELLED, Kind.DIGESTED)
_WHAT = {Kind.FAILED: "failed", Kind.UNKNOWN: "unknown"}


_Key = tuple[str, str, int]  # notification, channel, round


class Output(msgspec.Struct, frozen=True):
    """One output of the step ``step`` at ``at`` (epoch ms): ``what`` it is, and the ``name`` that
    goes with that: a channel, a reason, an address. ``to`` is the recipient, as far as known."""

    at: int
    step: str
    what: str
    name: str
    to: str = ""
    fields: Mapping[str, Any] = {}


def outputs(driver: Driver) -> list[Output]:
    """All outputs of a run, in order of time; those of one instant in order of writing."""
    written: dict[_Key, Delivery] = {}
    letters: list[Output] = []
    for topic in driver.topics:
        if topic.startswith("deliveries.") and ".retry." not in topic:
            for record in driver.records(topic):
                delivery = decode_delivery(record.value or b"")
                key = delivery.notif_id, delivery.channel, delivery.round
                written.setdefault(key, delivery)
        elif topic.startswith("notif_dlq."):
            letters += filter(None, (_letter(each) for each in driver.records(topic)))
    people: dict[str, str] = {}
    found: list[Output] = []
    for record in driver.records(EVENTS):
        for outcome in outcomes_of(record.value or b""):
            people[outcome.send_id] = outcome.recipient_id
            output = _told(outcome, written)
            if output is not None:
                found.append(output)
    found += letters
    found += _sends(driver, people)
    return sorted(found, key=lambda output: output.at)


def _told(outcome: Outcome, written: Mapping[_Key, Delivery]) -> Output | None:
    """An outcome as an output; None for one that another output tells of."""
    kind = Kind(outcome.kind)
    fields: dict[str, Any] = {
        "members": outcome.members,
        "category": outcome.category,
        "detail": outcome.detail,
        "notif_id": outcome.notif_id,
        "round": outcome.round + 1,
    }
    if outcome.stage == Stage.DECISION and kind is Kind.QUEUED:
        delivery = written.get((outcome.notif_id, outcome.channel, outcome.round))
        if delivery is not None:
            fields |= {
                "priority": delivery.priority,
                "template": delivery.template,
                "chain": delivery.chain,
                "expires": delivery.expires_at,
                "collapse_key": delivery.collapse_key,
                "campaign_id": delivery.campaign_id,
                "data": delivery.data,
            }
        what, name = "delivered", outcome.channel
    elif outcome.stage in _NOT_LISTED or (outcome.stage == Stage.END and kind is Kind.SENT):
        return None
    elif kind in _DROPPED:
        what, name = "dropped", outcome.reason
        fields["kind"] = outcome.kind
    else:
        what, name = _WHAT.get(kind, "deferred"), outcome.reason
    return Output(outcome.at, outcome.step, what, name, outcome.recipient_id, fields)


def _letter(record: Record) -> Output | None:
    said = {name.removeprefix(PREFIX): text.decode() for name, text in record.headers}
    reason = said["reason"]
    if record.topic != _FLOW_LETTERS and reason not in _ALONE:
        return None
    to = (record.key or b"").decode("utf-8", "replace")
    return Output(int(said["at"]), said["step"], "dead", reason, to, {"error": said["error"]})


def _sends(driver: Driver, people: Mapping[str, str]) -> Iterator[Output]:
    for each in driver.sent:
        send = each.send
        fields = {
            "channel": send.channel,
            "provider": each.provider,
            "attempt": each.attempt,
            "answer": each.answer.verdict,
            "category": send.category,
            "parts": send.content.parts,
            "notif_id": send.delivery.notif_id if send.delivery is not None else "",
            "round": send.delivery.round + 1 if send.delivery is not None else 1,
        }
        to = people.get(send.send_id, "")
        step = driver.sending[send.channel]
        yield Output(each.at, step, "sent", send.address.value, to, fields)
