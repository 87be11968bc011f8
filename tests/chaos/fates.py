"""What became of each poisoned record: by the logs and the provider's file alone.

A record has a fate when it is a dead letter, byte by byte, or when what was made of it has one:

    record ──► letter (flow)
       │
       └────► entry ──► letter (flow)
                 │
                 └────► digest ──► letter (flow), naming its members
                           │
                           └─────► delivery ──► letter (push), or the provider
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import scene
from tests.chaos.audit import records
from tests.chaos.poison import Dose, Grade
from tidings.log.port import Log, Record
from tidings.operators.senders.sandbox import received

Place = str  # topic:partition:offset


@dataclass
class Fates:
    """Counts by kind of dose; what should be empty, says so."""

    records: int = 0
    letters: int = 0
    sent: int = 0
    vanished: list[str] = field(default_factory=list)  # no fate at all: empty
    lost: list[str] = field(default_factory=list)  # a good one that was not sent: empty
    passed: list[str] = field(default_factory=list)  # a bad one without a letter: empty
    altered: list[str] = field(default_factory=list)  # a letter that is not what was read: empty

    def wrong(self) -> dict[str, list[str]]:
        """What is not as it must be."""
        names = ("vanished", "lost", "passed", "altered")
        return {name: value for name in names if (value := getattr(self, name))}


class Trial:
    """Follows records from the source to their ends. ``doses`` by the place of their record."""

    def __init__(self, log: Log, stage: scene.Scene) -> None:
        self._read: dict[Place, Record] = {
            _place(record): record
            for topic in (scene.SOURCE, scene.ENTRIES, scene.DELIVERIES)
            for record in records(log, topic)
        }
        self._letters: dict[Place, list[Record]] = defaultdict(list)
        self._dead_members: set[str] = set()
        for topic in scene.LETTERS:
            for letter in records(log, topic):
                self._take_letter(letter)
        self._entries: dict[Place, list[tuple[Place, str]]] = defaultdict(list)
        for place, record in self._read.items():
            if record.topic == scene.ENTRIES and record.value:
                self._take_entry(place, record.value)
        self._decided: dict[str, str] = {}
        self._told: set[Place] = set()
        for record in records(log, scene.OUTCOMES):
            outcome = json.loads(record.value or b"")
            if outcome["stage"] == "decision":
                self._told.add(_text(outcome["origin"]))
                for member in outcome.get("members", ()):
                    self._decided[member] = outcome["kind"]
        lines = [line for line in received(stage.sandbox) if line.accepted]
        self._sent = {event_id for line in lines for event_id in line.parts["body"].split()}
        self._lines = len(lines)

    def judge(self, doses: Iterable[tuple[Place, Dose]]) -> Fates:
        """The fates of ``doses``."""
        found = Fates(letters=sum(map(len, self._letters.values())), sent=self._lines)
        found.altered = sorted(
            place
            for place, letters in self._letters.items()
            if place in self._read
            for letter in letters
            if not self._same(letter, self._read[place])
        )
        for place, dose in doses:
            found.records += 1
            lettered, decided, event_id = self._follow(place)
            name = f"{dose.kind} at {place}"
            if not (lettered or decided):
                found.vanished.append(name)
            elif dose.grade is Grade.GOOD and event_id not in self._sent:
                found.lost.append(name)
            elif dose.grade is Grade.BAD and not lettered:
                found.passed.append(name)
        return found

    def letters_for(self, topic: str) -> set[Place]:
        """The places in ``topic`` that have letters."""
        return {place for place in self._letters if place.rpartition(":")[0].startswith(topic)}

    def _follow(self, place: Place) -> tuple[bool, bool, str]:
        """Whether it has a letter, whether a decision, and its event's id."""
        if place in self._letters:
            return True, False, ""
        lettered, decided, known = False, place in self._told, ""
        for entry, event_id in self._entries.get(place, ()):
            known = event_id
            lettered |= entry in self._letters or event_id in self._dead_members
            decided |= event_id in self._decided
        return lettered, decided, known

    def _take_letter(self, letter: Record) -> None:
        headers = dict(letter.headers)
        place = headers["tidings-origin"].decode().partition("#")[0]
        self._letters[place].append(letter)
        if headers["tidings-step"] in (b"social.deliver", b"social.consent"):
            self._dead_members.update(json.loads(letter.value or b"")["members"])
        elif letter.topic == scene.LETTERS[1] and (read := self._read.get(place)):
            self._dead_members.update(_named(read.value or b""))

    def _take_entry(self, place: Place, value: bytes) -> None:
        try:
            entry = json.loads(value)
            source, event_id = _text(entry["origin"]), entry["event_id"]
        except (ValueError, KeyError, RecursionError):
            return  # a bad one that was written straight into the topic
        self._entries[source].append((place, event_id))

    def _same(self, letter: Record, read: Record) -> bool:
        if dict(letter.headers).get("tidings-step") == b"social.deliver":
            return True  # a digest was never one record
        kept = [header for header in read.headers if not header[0].startswith("tidings-")]
        return (letter.value, letter.key) == (read.value, read.key) and list(
            letter.headers[: len(kept)]
        ) == kept


def _named(value: bytes) -> Sequence[str]:
    try:
        named = [one["event_id"] for one in json.loads(value)["data"]["items"]]
        return [event_id for event_id in named if isinstance(event_id, str)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _place(record: Record) -> Place:
    return f"{record.topic}:{record.partition}:{record.offset}"


def _text(origin: Any) -> Place:
    return f"{origin[0]}:{origin[1]}:{origin[2]}"
