"""addresses: where the person can be reached on this channel, at the moment of sending."""

from __future__ import annotations

from pydantic import Field

from tidings.contract import Batch, Operator, Part, Shape, Site, Spec, Work
from tidings.ids import send_id
from tidings.ports import Address, Io, profiles_of
from tidings.problems import ValueProblem, suggestion
from tidings.records import Delivery, Kind

DEVICES = 10
"""How many devices of a person get a push unless `at_most` says otherwise."""


class AddressesSpec(Spec):
    """Looks up the addresses of the delivery's recipient.

    All devices of a person are sent to at once; of mailboxes and phone numbers the first verified
    one in the profile. An address that has given its last answer in an earlier attempt is left out.
    Where no address is there the delivery ends as `suppressed`, reason `no_address`, and the next
    channel of `first_of` takes over.
    """

    kind: str = ""
    """`device`, `email` or `phone`; by default what the lane's channel needs."""

    at_most: int = Field(default=0, ge=0, le=100)
    """How many addresses of a person are sent to, those registered last first; by default 10
    devices, 1 of the others."""


class Addresses:
    """Fills each work's addresses from its profile."""

    def __init__(self, spec: AddressesSpec, site: Site) -> None:
        kinds = sorted(set(site.channels.values()))
        self._kind = spec.kind or site.channels[site.channel]
        if self._kind not in kinds:
            raise ValueProblem(
                "unknown-kind",
                f"there is no kind of address `{self._kind}`",
                suggestion(self._kind, kinds),
                loc=("kind",),
            )
        self._at_most = spec.at_most or (DEVICES if self._kind == "device" else 1)
        self._site = site

    def process(self, batch: Batch[Work], io: Io, now: int) -> None:
        """Set ``addresses``, and ``profile`` where nobody has; end what has none."""
        strangers = [work for work in batch.items if work.profile is None]
        persons = [work.person() for work in strangers]
        profiles = profiles_of(io.people, persons)
        for work, person in zip(strangers, persons, strict=True):
            work.profile = profiles[person]
        kept: list[Work] = []
        for work in batch.items:
            held = self._held(work)
            work.addresses = _unanswered(held, work.delivery) if work.delivery.answers else held
            if work.addresses:
                kept.append(work)
            else:
                batch.drop(work, Kind.SUPPRESSED, "no_address", self._site)
        batch.items = kept

    def _held(self, work: Work) -> tuple[Address, ...]:
        if work.profile is None:
            return ()
        kind, known = self._kind, work.profile.addresses
        if len(known) == 1:  # as nearly everybody has
            return known if known[0].kind == kind and known[0].verified else ()
        found = [each for each in known if each.kind == kind and each.verified]
        if len(found) > self._at_most:
            found.sort(key=lambda address: -address.registered_at)  # stable: else profile's order
            del found[self._at_most :]
        return known if len(found) == len(known) else tuple(found)


def _unanswered(addresses: tuple[Address, ...], delivery: Delivery) -> tuple[Address, ...]:
    """The addresses that an earlier attempt left open: an answer is kept when it is the last."""
    return tuple(
        address
        for address in addresses
        if not delivery.answered(
            send_id(delivery.notif_id, delivery.channel, address.value, delivery.round)
        )
    )


OPERATOR = Operator(
    name="addresses",
    spec=AddressesSpec,
    shape=Shape.MAP,
    parts=frozenset({Part.LANE}),
    build=Addresses,
    shorthand="kind",
    asks=True,
    example="""
step: {addresses: {kind: device}}
channel: push
people:
  ana:
    addresses:
      - {kind: device, value: phone, platform: ios}
      - {kind: device, value: tablet, platform: android}
      - {kind: email, value: ana@example.com}
  bob: {addresses: [{kind: email, value: bob@example.com}]}
in:
  - {recipient_id: ana, data: {text: hello}}
  - {recipient_id: bob, data: {text: hello}}
out:
  - {recipient_id: ana, addresses: [phone, tablet]}
dropped:
  - {item: {recipient_id: bob}, kind: suppressed, reason: no_address}
""",
)
