"""What was said about deliveries and is not handed to the log yet."""

from __future__ import annotations

from tidings.log.port import Append, Producer
from tidings.runtime.lane.outcomes import Said, outcome
from tidings.runtime.lane.tracker import Parcel, Ticket, Tracker, Writes
from tidings.topics import EVENTS


class Unwritten:
    """Outcomes, which are confirmed by the round, and all else, each confirmed by itself."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._told: list[Ticket] = []  # those that the outcomes are about
        self._outcomes: list[Append] = []
        self._others: list[tuple[Ticket, Append]] = []

    def __bool__(self) -> bool:
        return bool(self._outcomes or self._others)

    def tell(self, parcel: Parcel, said: Said) -> None:
        """An outcome; its texts are those of the parcel's content."""
        content = parcel.content
        if content is not None:
            said.template_version, said.locale = content.template_version, content.locale
        told = self._told
        if not told or told[-1] is not parcel:  # an attempt and the end it leads to wait as one
            parcel.unconfirmed += 1
            told.append(parcel)
        self._outcomes.append(Append(EVENTS, parcel.key, outcome(said, parcel.alike)))

    def add(self, ticket: Ticket, append: Append) -> None:
        """Anything else; it is written before the outcomes."""
        ticket.unconfirmed += 1
        self._others.append((ticket, append))

    def write(self, producer: Producer) -> None:
        """Hand all of it to the log; its confirmation settles the deliveries."""
        if self._others:
            others, self._others = self._others, []
            for ticket, append in others:
                producer.append([append], Writes(self._tracker, [ticket], alone=True).ack)
        if self._outcomes:
            outcomes, self._outcomes = self._outcomes, []
            told, self._told = self._told, []
            producer.append(outcomes, Writes(self._tracker, told, len(outcomes)).ack)
