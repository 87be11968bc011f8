"""What operators may ask the outside world: a handful of ports, each with a file-backed adapter.

    People        profile, preferences, addresses of a person
    Suppressions  addresses that must not be sent to, and why
    Templates     texts by id, channel and locale
    Claims        who saw an event first; who is sending what, and what was sent
    Caps          how many a person got, across flows
    Lookups       what other systems say of a key
    Payloads      what is too large for a push, until its app fetches it
    Clock         what time it is

All take batches: one question, one round trip, however many records ask. An adapter that can't
answer raises ``Unavailable``; the caller degrades by class (high goes on, the rest waits). One
contract suite, ``tests/contract``, holds every adapter of a port to the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import msgspec


class Unavailable(Exception):
    """A port can't answer now; asking again later may help."""


# ── People ────────────────────────────────────────────────────────────────────────────────────


class Person(NamedTuple):
    """Whom we speak of."""

    tenant: str
    recipient_id: str


A_DAY = 86_400_000
"""ms between two successes of an address that are kept."""


class Success(NamedTuple):
    """A provider took a message for an address of this person; ``at`` in epoch ms."""

    person: Person
    kind: str
    value: str
    at: int


class Address(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One place where a person can be reached.

    ``kind``: device, email or phone. ``value``: token, mailbox or E.164 number. ``platform`` of a
    device: ios or android. ``registered_at`` in epoch ms decides whether a provider's "gone" is
    about this registration or an older one, ``last_success_at`` when a provider last took a message
    for it, to the day. ``zone`` and ``quiet`` are a device's own, where it has told them; see
    ``Profile``.
    """

    kind: str
    value: str
    platform: str = ""
    app: str = ""
    registered_at: int = 0
    verified: bool = True
    zone: str = ""
    quiet: str = ""
    last_success_at: int = 0


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What we know of a person.

    ``zone`` is an IANA name, ``quiet`` their own quiet hours: ``22:00-08:00``, or ``none``.
    Consent, each entry an explicit choice (true is yes): ``channels`` by channel, ``categories`` by
    category, ``pairs`` by "category/channel", ``types`` by event type. ``muted`` names, by a field
    of events, the values that the person wants to hear nothing of: ``{"actor_id": ["bob"]}``.
    ``erased`` outranks all.
    """

    locale: str = ""
    zone: str = ""
    addresses: tuple[Address, ...] = ()
    channels: Mapping[str, bool] = msgspec.field(default_factory=dict)
    categories: Mapping[str, bool] = msgspec.field(default_factory=dict)
    pairs: Mapping[str, bool] = msgspec.field(default_factory=dict)
    types: Mapping[str, bool] = msgspec.field(default_factory=dict)
    muted: Mapping[str, frozenset[str]] = msgspec.field(default_factory=dict)
    erased: bool = False
    quiet: str = ""


class People(Protocol):
    """Profiles by person."""

    def profiles(self, people: Sequence[Person]) -> list[Profile | None]:
        """The profile of each, in order; None for a person nobody knows."""
        ...

    def find(self, kind: str, values: Sequence[str]) -> list[tuple[Person, ...]]:
        """Whose each address of this kind is, in order: nobody's, one person's or several people's.

        Of all tenants; who is erased has none.
        """
        ...

    def remove_address(self, person: Person, kind: str, value: str, reason: str) -> bool:
        """Forget one address, and only it; tells whether it was there."""
        ...

    def register(self, person: Person, address: Address, replaces: str = "") -> bool:
        """An address as its app, or its provider, tells of it now; tells whether that changed it.

        It takes the place of the one whose value is ``replaces``, or of its own older registration,
        unless that is newer; else it comes last. A person nobody knows stays unknown.
        """
        ...

    def note_successes(self, successes: Sequence[Success]) -> None:
        """Keep when addresses last took a message.

        To the day: what comes within ``A_DAY`` of the last that was kept changes nothing, and
        nothing is kept of an address that is not there.
        """
        ...


class Devices(Protocol):
    """People's devices as a whole, for those who look after them."""

    def silent(self, before: int) -> Iterator[tuple[Person, Address]]:
        """The devices that have not registered, nor taken a message, since ``before`` (epoch ms).

        None while successes have not been kept for so long.
        """
        ...

    def prune(self, before: int) -> int:
        """Forget those, and let go of what is kept of devices that are gone; gives how many."""
        ...


def profiles_of(people: People, persons: Iterable[Person]) -> dict[Person, Profile | None]:
    """Each person's profile, each asked for once."""
    unique = list(dict.fromkeys(persons))
    return dict(zip(unique, people.profiles(unique), strict=True)) if unique else {}


# ── Suppressions ──────────────────────────────────────────────────────────────────────────────


class Suppression(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One address on one channel that must not be sent to.

    ``scope``: "all" or a category. ``until`` in epoch ms, 0 for good.
    """

    channel: str
    address: str
    reason: str
    scope: str = "all"
    source: str = ""
    until: int = 0


class Question(NamedTuple):
    """May this address be used on this channel for this category?"""

    tenant: str
    channel: str
    address: str
    category: str


class Suppressions(Protocol):
    """The suppression list; asked when a flow decides and again when a lane sends."""

    def check(self, questions: Sequence[Question], now: int) -> list[Suppression | None]:
        """For each the suppression that forbids it, or None.

        Of several the one that holds for good (a complaint, STOP, a hard bounce) before one that
        ends, and one for all categories before one for this category.
        """
        ...

    def add(self, tenant: str, suppression: Suppression) -> None:
        """Put on the list; an entry for the same channel, address, scope and reason is replaced."""
        ...


# ── Templates ─────────────────────────────────────────────────────────────────────────────────


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """One text: its parts by name (title, body, html, subject), where it came from, its version.

    ``variant`` is the arm of an experiment whose text it is, as ``tone:bold``.
    """

    id: str
    channel: str
    locale: str
    version: str
    parts: Mapping[str, str]
    variant: str = ""


class Templates(Protocol):
    """Texts by id, channel, locale and variant."""

    def find(
        self, template_id: str, channel: str, locale: str, variant: str = ""
    ) -> Template | None:
        """The best text: the locale, its parents (es-AR → es), then the default locale.

        ``variant`` are the arms that somebody is in, with blanks between: in each locale an arm's
        own text comes before the one for all.
        """
        ...

    def texts(self, template_id: str, channel: str) -> Sequence[Template]:
        """All texts of a template on a channel, for ``tidings check``."""
        ...

    def ids(self) -> Sequence[str]:
        """All template ids, for ``tidings check``."""
        ...


# ── Claims ────────────────────────────────────────────────────────────────────────────────────


class Verdict(StrEnum):
    """What a lease on a send id was answered with."""

    LEASED = "leased"  # ours until it expires: send
    BUSY = "busy"  # another holds it and it has not expired: ask again later
    SENT = "sent"  # it went out already: write its outcome again, do not send
    DONE = "done"  # it went out and its outcome is confirmed: nothing is left to do
    SUPERSEDED = "superseded"  # a newer one has taken its place: never send it
    OVER = "over"  # its turn has ended without it: say again how, do not send


class Lease(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """Who wants to send what: asked before every attempt.

    ``turn`` names the delivery's turn where something hangs on how that ends: one notification on
    one channel in one round, which may have several sends.

    Of the sends under one ``newest`` only those of the newest ``thing`` are leased: the one that
    was asked for with the highest ``since`` (epoch ms); with 0 it is only asked for.
    """

    send_id: str
    origin: str
    holder: str
    newest: str = ""
    thing: str = ""
    since: int = 0
    turn: str = ""


class Leased(NamedTuple):
    """The answer; ``answer`` is what ``mark`` wrote, for SENT and DONE, and BUSY's holder.

    Of an ``End`` that was not the first: OVER with the words of the first, or, where a send of its
    turn went out, SENT or DONE with the ``send_id`` of the first that did; BUSY while another may
    have one of its sends in flight.
    """

    verdict: Verdict
    answer: str = ""
    send_id: str = ""


class Mark(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """A send that went out: the provider's answer, small JSON."""

    send_id: str
    holder: str
    answer: str
    turn: str = ""


class End(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A turn is to end, and ``holder`` knows of nothing of it that went out; ``words`` say how."""

    turn: str
    words: str
    holder: str = ""


TURN_SHARE = 12
"""The part of a mark's life for which its turn is remembered: it has to outlast a rung of the
ladder and a stop of the lane, and every send has one."""


class Claims(Protocol):
    """Two small memories that keep duplicates out. Each call is one round trip."""

    def first(
        self, claims: Sequence[tuple[str, str]], ttl_ms: int, forgotten: Sequence[str] = ()
    ) -> list[str]:
        """Claim each (key, origin) unless another origin has it; gives the origin that holds it.

        Before that the claims on the keys ``forgotten`` are let go, whoever holds them.

        The answer equals the asker's own origin when it is first, *or when it asks again*: a replay
        of the same record passes, a real duplicate does not.
        """
        ...

    def round(
        self,
        leases: Sequence[Lease],
        marks: Sequence[Mark],
        done: Sequence[str],
        released: Sequence[tuple[str, str]],
        now: int,
        lease_ms: int,
        keep_ms: int,
        ends: Sequence[End] = (),
    ) -> list[Leased]:
        """All that a lane has to say in one batch; answers the leases, then the ends.

        In this order: ``marks`` turn leases into SENT, ``done`` turn SENT into DONE, ``released``
        (send id, holder) give leases back, ``ends`` end turns, then ``leases`` are taken.

        A mark is recorded whoever holds the lease by now, and if nobody does: the provider did
        accept it. What is SENT or DONE stays so and keeps its first answer; done without a mark is
        DONE. A release by one who does not hold the lease does nothing. A lease is taken when it is
        free, when the former one has ended by ``now`` (epoch ms), or again by the same origin and
        holder; the same origin with another holder waits like any other. Who knows that a lease's
        holder is gone gives it back in that holder's name and takes it, in one round: where another
        was quicker, neither does anything. Inside a batch the first
        in order wins. ``lease_ms`` and ``keep_ms`` are the lives of a lease and of a mark.

        A lease that names what is ``newest`` is SUPERSEDED where another thing is remembered there,
        unless it has been SENT, is DONE, or BUSY. Of two things of one ``since`` the name decides.
        What is remembered there lives for ``keep_ms``; where nothing is, every thing passes.

        A turn ends once, by the first mark or end that names it. An end is remembered for
        ``keep_ms``, a mark there for the ``TURN_SHARE`` of it. An end that is the first is LEASED,
        any other is told what was. A lease whose turn an end has ended is OVER, unless its send has
        been SENT, is DONE, or BUSY; after a mark its other sends go on. While the turn's latest
        lease lives, given back or not, an end that would be the first is BUSY for all but its
        holder.
        """
        ...


# ── Caps ──────────────────────────────────────────────────────────────────────────────────────


class Count(NamedTuple):
    """One notification to be counted against one cap.

    ``together`` ties it to the one before it: what is tied is counted all or not at all.
    """

    key: str
    notif_id: str
    at_most: int
    within_ms: int
    exempt: bool = False
    together: bool = False


def tied_together(counts: Sequence[Count]) -> Iterator[Sequence[Count]]:
    """The counts in order, each with those that are tied to it."""
    tied: list[Count] = []
    for count in counts:
        if tied and not count.together:
            yield tied
            tied = []
        tied.append(count)
    if tied:
        yield tied


class Caps(Protocol):
    """Rolling counts across flows; idempotent by notification id.

    A key belongs to one cap. Its window at ``now`` is what was counted after ``now - within_ms``.
    """

    def count(self, counts: Sequence[Count], now: int) -> list[bool]:
        """Count each and tell whether it may pass: at most ``at_most`` in any window.

        Exempt ones pass and still count. What was counted in the last two windows passes again and
        keeps its time; what may not pass is not counted, nor what is tied to it, though the answer
        is of each by itself. Inside a batch the first in order counts first. ``now`` may go back by
        as much as a window (processes differ) without letting more pass.
        """
        ...

    def give_back(self, counts: Sequence[tuple[str, str]]) -> None:
        """Uncount (key, notif_id): it ended suppressed or expired."""
        ...


# ── Clock ─────────────────────────────────────────────────────────────────────────────────────


class Clock(Protocol):
    """Wall time in epoch ms. Keyed steps never see it: their time is the log's."""

    def now(self) -> int: ...


# ── Lookups ───────────────────────────────────────────────────────────────────────────────────


Row = Mapping[str, Any]
"""What another system says of a key: plain JSON values by name."""


class LookupFailed(Exception):
    """Another system gave no answer in time, or an error; the message says which."""


class Query(NamedTuple):
    """What is asked of another system.

    ``connection`` names it in the settings. ``text`` is SQL with ``:keys``, or the path of a URL;
    with ``{key}`` in it it is fetched for each key, else the keys are posted together. ``match`` is
    the column that equals the key. ``timeout_ms`` is for one answer; ``keep_ms``, for how long it
    serves, at least 5 s.
    """

    connection: str
    text: str
    match: str
    timeout_ms: int
    keep_ms: int


class Lookups(Protocol):
    """Other systems, asked for rows by key."""

    def rows(self, query: Query, keys: Sequence[str | int]) -> list[Row | None]:
        """The row of each key, in order; None for a key that it does not have.

        Waits a moment only: raises Unavailable while the answer is under way, and whoever asks
        again finds it. Raises LookupFailed when there will be none.
        """
        ...


class NoLookups:
    """No other system is there to be asked."""

    def rows(self, query: Query, keys: Sequence[str | int]) -> list[Row | None]:
        """Raises LookupFailed."""
        raise LookupFailed(f"there is no connection {query.connection}")


# ── Payloads ──────────────────────────────────────────────────────────────────────────────────


class Payload(NamedTuple):
    """A message that is more than a push can carry: JSON in UTF-8, kept until ``expires_at`` (epoch
    ms)."""

    id: str
    body: bytes
    expires_at: int


class Payloads(Protocol):
    """Payloads that wait for an app to fetch them."""

    def put(self, payloads: Sequence[Payload], now: int) -> list[str]:
        """Keep each, in one round trip, and give the address at which it is fetched.

        The same payload has the same address, however often it is put; of two with one id the
        later is kept.
        """
        ...

    def get(self, reference: str, now: int) -> bytes | None:
        """What the last part of such an address stands for; None where its time is over.

        Raises signing.Forged for one that we have not signed.
        """
        ...


class NoPayloads:
    """The settings do not say where an app would fetch anything."""

    def put(self, payloads: Sequence[Payload], now: int) -> list[str]:
        """Raises Unavailable."""
        raise Unavailable("`payloads.url` is not set")

    def get(self, reference: str, now: int) -> bytes | None:
        """Nothing is kept."""
        return None


class Io(NamedTuple):
    """The ports, as they are handed to a map operator."""

    people: People
    suppressions: Suppressions
    templates: Templates
    claims: Claims
    caps: Caps
    clock: Clock
    lookups: Lookups = NoLookups()
    payloads: Payloads = NoPayloads()
