"""What Tidings has learned of people's addresses: a journal beside the file of people.

    {"recipient_id":"ana","tenant":"default","kind":"device","value":"…","registered_at":1,
     "reason":"provider_says_gone","at":2}                                       a removal
    {"recipient_id":"ana","tenant":"default","address":{…},"replaces":"…","at":3}  a registration

Both are about a registration: what has a later ``registered_at`` they leave alone. They are applied
in their order whenever the people are read anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from tidings.ports import Address, Person, Profile


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line: a registration where it has an ``address``, else a removal."""

    recipient_id: str
    tenant: str
    at: int
    kind: str = ""
    value: str = ""
    registered_at: int = 0
    reason: str = ""
    address: Address | None = None
    replaces: str = ""


encode_entry = msgspec.json.Encoder().encode
decode_entry = msgspec.json.Decoder(Entry).decode


def applied(profile: Profile, entry: Entry) -> Profile:
    """The profile as it is after an entry; itself where that changes nothing."""
    if entry.address is not None:
        return registered(profile, entry.address, entry.replaces)
    left = tuple(
        one
        for one in profile.addresses
        if not (
            is_address(one, entry.kind, entry.value) and one.registered_at <= entry.registered_at
        )
    )
    return profile if len(left) == len(profile.addresses) else with_addresses(profile, left)


def registered(profile: Profile, address: Address, replaces: str = "") -> Profile:
    """The profile with an address as it was registered; see ``ports.People.register``."""
    kept: list[Address] = []
    place = -1
    for one in profile.addresses:
        same = is_address(one, address.kind, address.value)
        if same:
            address = _newer(one, address)
        old = bool(replaces) and is_address(one, address.kind, replaces)
        if same or (old and one.registered_at <= address.registered_at):
            place = len(kept) if place < 0 else place
        else:
            kept.append(one)
    kept.insert(place if place >= 0 else len(kept), address)
    made = tuple(kept)
    return profile if made == profile.addresses else with_addresses(profile, made)


def _newer(known: Address, told: Address) -> Address:
    """The registration of a known address that counts, with what is known of its successes."""
    if known.registered_at > told.registered_at:
        return known
    last = max(known.last_success_at, told.last_success_at)
    return msgspec.structs.replace(told, last_success_at=last)


def with_addresses(profile: Profile, addresses: tuple[Address, ...]) -> Profile:
    """The profile with these."""
    return msgspec.structs.replace(profile, addresses=addresses)


def is_address(address: Address, kind: str, value: str) -> bool:
    """Whether it is the one of this kind and value."""
    return address.value == value and address.kind == kind


def succeeded(profile: Profile, kind: str, value: str, at: int, least: int = 0) -> Profile:
    """The profile with a success at ``at``, unless the last is less than ``least`` ms older."""
    for place, one in enumerate(profile.addresses):
        if is_address(one, kind, value):
            if at - one.last_success_at < max(least, 1):
                return profile
            addresses = list(profile.addresses)
            addresses[place] = msgspec.structs.replace(one, last_success_at=at)
            return with_addresses(profile, tuple(addresses))
    return profile


def owners_of(
    kind: str, profiles: Iterable[tuple[tuple[str, str], Profile]]
) -> Mapping[str, tuple[Person, ...]]:
    """Whose the addresses of a kind are, by address; nobody's who is erased."""
    found: dict[str, tuple[Person, ...]] = {}
    for key, profile in profiles:
        if not profile.erased:
            for value in dict.fromkeys(one.value for one in profile.addresses if one.kind == kind):
                found[value] = (*found.get(value, ()), Person(*key))
    return found
