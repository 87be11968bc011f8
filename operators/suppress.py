"""suppress: leave out the addresses that must not be sent to, asked at the moment of sending.

Hours may lie between a flow's decision and this: a complaint or a STOP that came in between counts.
"""

from __future__ import annotations

from tidings.contract import Batch, Operator, Part, Shape, Site, Spec, Work
from tidings.ports import Address, Io, Question, Suppression
from tidings.records import Kind


class SuppressSpec(Spec):
    """Asks the suppression list about every address and leaves out those that are on it.

    A delivery none of whose addresses is left ends as `suppressed`, with the list's reason
    (`complaint`, `hard_bounce`, `stop`, …). It takes no fields, and no list can be bypassed.
    """


class Suppress:
    """Asks about all addresses of a batch at once."""

    def __init__(self, spec: SuppressSpec, site: Site) -> None:
        self._site = site

    def process(self, batch: Batch[Work], io: Io, now: int) -> None:
        """Narrow each work's ``addresses``; end what has none left."""
        questions = [
            Question(
                work.delivery.tenant, work.delivery.channel, each.value, work.delivery.category
            )
            for work in batch.items
            for each in work.addresses
        ]
        answers = io.suppressions.check(questions, now)
        if not any(answers):
            return
        told = iter(answers)
        kept: list[Work] = []
        for work in batch.items:
            asked = [(address, next(told)) for address in work.addresses]
            work.addresses = tuple(address for address, found in asked if found is None)
            if work.addresses:
                kept.append(work)
            else:
                reason, detail = _why(asked)
                batch.drop(work, Kind.SUPPRESSED, reason, self._site, detail)
        batch.items = kept


def _why(asked: list[tuple[Address, Suppression | None]]) -> tuple[str, str]:
    """The reason of the first entry, and where it came from."""
    for _, found in asked:
        if found is not None:
            return found.reason, " ".join(filter(None, (found.scope, found.source)))
    return "no_address", ""


OPERATOR = Operator(
    name="suppress",
    spec=SuppressSpec,
    shape=Shape.MAP,
    parts=frozenset({Part.LANE}),
    build=Suppress,
    asks=True,
    example="""
step: suppress
channel: email
people:
  ana: {addresses: [{kind: email, value: ana@example.com}]}
  bob: {addresses: [{kind: email, value: bob@example.com}]}
suppressions:
  - {channel: email, address: bob@example.com, reason: complaint}
in:
  - {recipient_id: ana, data: {text: hello}}
  - {recipient_id: bob, data: {text: hello}}
out:
  - {recipient_id: ana, addresses: [ana@example.com]}
dropped:
  - {item: {recipient_id: bob}, kind: suppressed, reason: complaint}
""",
)
