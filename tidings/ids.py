"""Ids are functions: what a replay makes again has the same id, and so can be recognised.

All are 128 bits of XXH3 in hex. They need to be unique and repeatable, not unguessable: what leaves
for a provider or a browser is signed, never trusted by its id.
"""

from __future__ import annotations

from collections.abc import Iterable

from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

SEPARATOR = "\x1f"


def id_of(*parts: str) -> str:
    """The id of ``parts`` in this order, 32 hex digits."""
    return xxh3_128_hexdigest(SEPARATOR.join(parts).encode())


def notification_id(tenant: str, flow: str, event_id: str, recipient_id: str, step: str) -> str:
    """The id of the notification that one event becomes at one deliver step."""
    return id_of("n", tenant, flow, event_id, recipient_id, step)


def digest_id(
    tenant: str, flow: str, step: str, recipient_id: str, key: str, members: Iterable[str]
) -> str:
    """The event id of a digest: it covers its members, so a digest that differs is another."""
    return id_of("d", tenant, flow, step, recipient_id, key, *members)


def send_id(notif_id: str, channel: str, address: str, round: int) -> str:
    """The id of one notification to one address in one round: what a lease is taken on."""
    return xxh3_128_hexdigest(f"s\x1f{notif_id}\x1f{channel}\x1f{address}\x1f{round}".encode())


def turn_of(notif_id: str, channel: str, round: int) -> str:
    """What a delivery is known by, whichever record holds it: one notification on one channel in
    one round. The ids of its own outcomes go by it."""
    return f"{notif_id}{SEPARATOR}{channel}{SEPARATOR}{round}"


def outcome_id(subject: str, kind: str, attempt: int) -> str:
    """The id of an outcome of ``subject``, a send's or a notification's id (or an event's)."""
    return id_of("o", subject, kind, str(attempt))


def wait_id(event_id: str, way: str) -> str:
    """What a signal calls the wait for what becomes of an event's deliveries: the flow that sends
    them and the one that waits come to the same, each by itself."""
    return id_of("w", event_id, way)[:16]


def address_hash(tenant: str, channel: str, address: str) -> str:
    """What an outcome says instead of an address."""
    return xxh3_128_hexdigest(f"a\x1f{tenant}\x1f{channel}\x1f{address}".encode())[:16]


def unit(seed: str) -> float:
    """A number in [0, 1) that is a function of ``seed``: jitter and draws repeat in a replay."""
    return xxh3_64_intdigest(seed.encode()) / 2**64


def bucket_of(recipient_id: str, buckets: int) -> int:
    """The bucket of a recipient inside a partition; stable across machines and versions."""
    return xxh3_64_intdigest(recipient_id.encode()) % buckets


def person_key(tenant: str, recipient_id: str) -> str:
    """What a log key, a bucket and a keyed state go by: the recipient within the tenant."""
    return recipient_id if tenant == "default" else f"{tenant}\x1f{recipient_id}"


def newest_key(tenant: str, recipient_id: str, name: str) -> str:
    """Under which is remembered which of a person's deliveries called ``name`` is the newest."""
    return id_of("k", tenant, recipient_id, name)


def cap_key(tenant: str, recipient_id: str, name: str) -> str:
    """Under which a person's notifications are counted against the cap called ``name``."""
    return f"{person_key(tenant, recipient_id)}{SEPARATOR}{name}"
