"""Escalations among several processes, on a paper log, and the oracle of what they decide.

The oracle is written apart from the engine: it plays each person's escalations over entries and
signals. Somebody has no phone number:
that a round could not be delivered is told by the flow itself.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import ClassVar, NamedTuple

from tests.engine import plan_of
from tests.unit.runtime.played import alike, implied
from tests.unit.runtime.world import ENTRIES, TOPICS, World
from tidings.ids import wait_id
from tidings.log.port import Append, Log
from tidings.plan import FlowPlan
from tidings.ports import Address, Person, Profile
from tidings.records import (
    Entry,
    Origin,
    Signal,
    decode_entry,
    encode,
)

NOBODY = "person7"  # has no phone number
CHANNELS = ("push", "sms", "push")
ACCEPTED_WITHIN, AFTER = 900, (0, 700, 500)  # ms
FAILS_WITHIN = 1_500
FLOW = f"""
flow: social
source: {{topic: social.events, key: recipient_id}}
steps:
  - switch:
      cases:
        - name: until
          when: photo == 'p0'
          steps:
            - escalate:
                rounds:
                  - {{channel: push}}
                  - {{channel: sms, after: {AFTER[1]}ms}}
                  - {{channel: push, after: {AFTER[2]}ms}}
                until: opened
                accepted_within: {ACCEPTED_WITHIN}ms
                by: photo
                cancel: type == 'note'
      else:
        - escalate:
            rounds: [{{channel: push}}, {{channel: sms}}, {{channel: push, after: {AFTER[2]}ms}}]
            on_failure: [failed, unknown]
            fails_within: {FAILS_WITHIN}ms
  - deliver: {{template: t}}
"""


class Decided(NamedTuple):
    """A round that went out, or why there is none."""

    recipient: str
    event: str
    what: str
    round: int
    at: int


class Open:
    """An escalation. ``out_at`` is when its round went out, ``accepted_at`` and ``failed_at`` what
    it came to; 0 for not yet."""

    def __init__(self, event: str, until: bool, now: int) -> None:
        self.event = event
        self.until = until
        self.round = 0
        self.out_at = now
        self.accepted_at = 0
        self.failed_at = 0
        self.alive_at = 0

    def following(self) -> int:
        """When the next round goes out, if nothing happens."""
        after = AFTER[self.round + 1]
        if self.until:
            if self.accepted_at:
                return self.accepted_at + after
            return self.out_at + ACCEPTED_WITHIN
        return self.failed_at + (after if self.round else 0) if self.failed_at else 0

    def forgotten(self) -> int:
        """When it can't fail any more."""
        return 0 if self.until or self.failed_at else (self.alive_at or self.out_at) + FAILS_WITHIN


class OraclePerson:
    """One recipient, played in the order of the log."""

    def __init__(self, recipient: str) -> None:
        self._recipient = recipient
        self._open: dict[str, Open] = {}
        self.decided: list[Decided] = []

    def _say(self, event: str, what: str, round: int, at: int) -> None:
        self.decided.append(Decided(self._recipient, event, what, round, at))

    def _send(self, key: str, at: int) -> None:
        one = self._open[key]
        reached = CHANNELS[one.round] != "sms" or self._recipient != NOBODY
        what = CHANNELS[one.round] if reached else "unreachable"
        self._say(one.event, what, one.round, at)
        if one.round == 2:
            del self._open[key]

    def _next(self, key: str, at: int) -> None:
        one = self._open[key]
        one.round, one.out_at = one.round + 1, at
        one.accepted_at = one.failed_at = one.alive_at = 0
        self._send(key, at)

    def _end(self, key: str, why: str, at: int) -> None:
        one = self._open.pop(key)
        self._say(one.event, why, 0, at)

    def pass_time(self, now: int) -> None:
        while True:
            due = [(one.following(), key) for key, one in self._open.items() if one.following()]
            gone = [(one.forgotten(), key) for key, one in self._open.items() if one.forgotten()]
            at, key = min(due, default=(now + 1, ""))
            gone_at, gone_key = min(gone, default=(now + 1, ""))
            if min(at, gone_at) > now:
                return
            if gone_at < at:
                del self._open[gone_key]
            else:
                self._next(key, at)

    def enter(self, entry: Entry, now: int) -> None:
        until = entry.event["photo"] == "p0"
        key = "p0" if until else entry.event_id
        if until and entry.event["type"] == "note":
            self._say(entry.event_id, "cancels", 0, now)
            if key in self._open:
                self._end(key, "cancelled", now)
            return
        if key in self._open:
            self._end(key, "superseded", now)
        self._open[key] = Open(entry.event_id, until, now)
        self._send(key, now)

    def hear(self, signal: Signal, now: int) -> None:
        for key, one in [*self._open.items()]:
            if wait_id(one.event, "") != signal.wait:
                continue
            kind = signal.kind
            if one.until and kind in ("opened", "clicked"):
                self._end(key, "engaged", now)
            elif kind == "cancelled":
                self._end(key, "superseded", now)
            elif signal.round != one.round:
                continue
            elif one.until and kind in ("failed", "bounced", "expired", "suppressed"):
                self._next(key, now)
            elif one.until:
                one.accepted_at = one.accepted_at or now
            elif kind in ("failed", "bounced", "unknown"):
                one.failed_at = one.failed_at or now
                self.pass_time(now)
            elif kind not in ("expired", "suppressed") and one.failed_at:
                one.failed_at, one.alive_at = 0, now


def oracle(log: Log) -> set[Decided]:
    """What the entries of the log imply."""
    return implied(log, ENTRIES, OraclePerson)


def decided(log: Log) -> list[Decided]:
    """What the flow has said, repeats included."""
    return [
        Decided(one.recipient_id, one.members[0], one.reason or one.channel, one.round, one.at)
        for one in alike(log)
    ]


@cache
def the_plan() -> FlowPlan:
    """The plan of FLOW."""
    with TemporaryDirectory() as folder:
        plan = plan_of(Path(folder), FLOW)
    assert isinstance(plan, FlowPlan)
    return plan


class AlertWorld(World):
    """Alerts, and news of them: right, wrong, late and twice."""

    topics: ClassVar = {**TOPICS, "deliveries.sms.normal": 1}

    def profile(self, person: Person) -> Profile:
        phone = () if person.recipient_id == NOBODY else (Address(kind="phone", value="+3460"),)
        return Profile(addresses=(Address(kind="device", value="token"), *phone))

    def plan(self) -> FlowPlan:
        return the_plan()

    def make(self, random: Random, number: int) -> Append:
        events = [each for each in self.written if decode_entry(each.value or b"").signal is None]
        if not events or random.random() < 0.4:
            return super().make(random, number)
        about = random.choice(events[-20:])
        entry = decode_entry(about.value or b"")
        kinds = ["sent", "sent", "failed", "opened", "delivered", "unknown", "bounced", "expired"]
        news = Entry(
            recipient_id=entry.recipient_id,
            event_id="",
            origin=Origin("deliveries.push.normal", 0, random.randrange(1 + number)),
            event={},
            signal=Signal(
                wait_id(entry.event_id, ""),
                random.choice([*kinds, "cancelled"] if random.random() < 0.2 else kinds),
                random.choice([0, 0, 0, 1, 1, 2]),
            ),
        )
        return Append(ENTRIES, about.key, encode(news))
