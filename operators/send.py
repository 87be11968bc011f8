"""send: the end of a lane: which provider each address goes to, and how often it is tried.

What stands here is the routing and the settings. The lane carries it out: quotas, leases, retries
and outcomes are `tidings.runtime.lane`'s.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tidings.contract import Batch, Operator, Part, Shape, Site, Spec, Work
from tidings.durations import Duration, PositiveDuration
from tidings.ids import send_id
from tidings.ports import Io
from tidings.problems import ValueProblem
from tidings.rates import Rate, RateText
from tidings.records import Delivery, Kind
from tidings.sender import Send

Quota = Annotated[int, Field(ge=1, le=100_000)]
Route = str | tuple[str, ...]
_IN_FLIGHT = 400
DAY = 86_400_000  # ms


class Retry(Spec):
    """When a send that failed for the moment is tried again."""

    in_place: tuple[PositiveDuration, ...] = (1_000, 2_000, 4_000, 8_000)
    """The waits before the first retries, each 0 to 20 % longer by jitter. The delivery stays in
    the lane meanwhile and takes none of the provider's quota."""

    ladder: tuple[PositiveDuration, ...] = (30_000, 300_000, 1_800_000)
    """The waits after those, shortest first, one attempt behind each. Every rung is a topic of its
    own, so that nothing else waits with it."""

    repeat_last: bool = True
    """Repeats the last rung until the message expires. Without it, or without an end to its life,
    what has used up the ladder goes to the dead letters."""

    release: Annotated[Duration, Field(le=DAY)] = DAY
    """For how long a dead letter that a provider's failures have made waits for that provider:
    when it takes sends again, the letter is sent once more, at the lane's pace and oldest first,
    three times at most. `0s` leaves all to `tidings dlq release`; a day is the longest, for as long
    is it remembered what went out."""

    rate_limit: Duration = 30_000
    """How long to wait after a rate limit that names no time. A rate limit never uses up a
    retry."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.ladder) != sorted(set(self.ladder)):
            raise ValueProblem(
                "bad-ladder",
                "the rungs of `ladder` must grow longer from each to the next",
                "ladder: [30s, 5m, 30m]",
                loc=("ladder",),
            )
        return self


class BreakerSpec(Spec):
    """When a provider counts as down, and how it is tried again."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """It is down when this part of its answers in `window` were failures of its own: transient
    errors, or no answer."""

    volume: Annotated[int, Field(ge=1)] = 20
    """Of at least so many answers."""

    window: PositiveDuration = 10_000
    """The time that is looked at."""

    pause: PositiveDuration = 5_000
    """How long nothing is sent to it then. After each probe that fails it is twice as long."""

    longest: PositiveDuration = 60_000
    """The longest such pause."""

    probes: Annotated[int, Field(ge=1)] = 3
    """How many sends it must take, one after the other or together, to get all of them again."""


class SendSpec(Spec):
    """Hands each address of a delivery to its provider.

    The provider is the one named for the address's platform, else `default`. A delivery is sent
    when any of its addresses has taken it. When all have refused for good, the next channel of
    `first_of` takes over; where there is none it ends as `failed`, and in the dead letters.

    Of a list of providers, as in `default: [twilio, sns]`, the first one sends. What it surely has
    not sent and would put off (it is stopped, it gets too many, its tries in place are used up)
    goes to the next one at once. What it may have sent does not, nor what it refuses for good. A
    later round of an `escalate` on the same channel begins with the next one of the list.
    """

    ios: Route = ""
    """The provider for devices with iOS, or several in the order in which they are tried."""

    android: Route = ""
    """The same for devices with Android."""

    web: Route = ""
    """The same for browsers."""

    default: Route = ""
    """The same for all other addresses."""

    retry: Retry = Retry()
    """When to try again."""

    in_flight: Quota | dict[str, Quota] | None = None
    """The most sends that a provider may have open at once, for all or by provider: by default 400,
    and two calls of one that takes many in a call. It bounds what a crash can repeat. Fewer are
    open while a provider says that they are too many, or answers ever more slowly. What exceeds
    them waits in the lane for a moment; when that is full, it goes to the ladder, no attempt
    counted, so that it holds up no other provider's."""

    rate: RateText | dict[str, RateText] | None = None
    """How many sends a provider gets in a time, for all or by provider: `100/s`, `600000/min`,
    `{at_most: 100, within: 1s, burst: 20}`. No stretch of that time sees more. It holds for the
    lane at one priority: its processes share it by the partitions that they have. By default what
    the provider is known to grant: FCM 600,000 a minute."""

    breaker: BreakerSpec = BreakerSpec()
    """When a provider counts as down."""

    on_uncertain: Literal["drop", "resend", "ask"] = "drop"
    """What becomes of a send whose connection broke after it was written. `drop` lets it end as
    `unknown`, and never sends twice; `resend` tries again, where silence is worse than a duplicate.
    `ask` asks the provider whether it has the message: if it has, it is sent; if not, it is tried
    again; while it does not say, it is asked again, until the message expires and for an hour at
    most, and then it is dropped. With a provider that can't be asked, `ask` is `drop`; `check` says
    which."""

    @model_validator(mode="after")
    def _some_provider(self) -> Self:
        if not self.providers():
            raise ValueProblem(
                "missing-field",
                "`send` names no provider",
                "send: {default: sandbox}, or one for each platform: {ios: apns, android: fcm}",
            )
        if not self.retry.ladder and any(
            len(route(named)) > 1 for named in (self.ios, self.android, self.web, self.default)
        ):
            raise ValueProblem(
                "bad-ladder",
                "a list of providers needs a `ladder` for what none of them takes",
                loc=("retry", "ladder"),
            )
        for field in ("in_flight", "rate"):
            named = getattr(self, field)
            for name in sorted(named) if isinstance(named, dict) else ():
                if name not in self.providers():
                    message = f"`{field}` names `{name}`, which gets no sends"
                    raise ValueProblem("unknown-provider", message, loc=(field, name, "[key]"))
        return self

    def providers(self) -> list[str]:
        """The names of all providers, each once."""
        named = (*map(route, (self.ios, self.android, self.web, self.default)),)
        return list(dict.fromkeys(name for names in named for name in names))

    def place_of(self, provider: str) -> tuple[str, str]:
        """Where it is named, as a ``loc``: the field, and the item of a list."""
        field = next(
            name
            for name in ("ios", "android", "web", "default")
            if provider in route(getattr(self, name))
        )
        return field, provider

    def quota(self, provider: str, bulk: int = 1) -> int:
        """How many sends ``provider`` may have open; ``bulk`` of them go in one call."""
        named = self.in_flight
        given = named.get(provider) if isinstance(named, dict) else named
        return given or max(_IN_FLIGHT, 2 * bulk)

    def rate_of(self, provider: str) -> Rate | None:
        """How many sends ``provider`` gets in a time, None where nothing is said."""
        return self.rate.get(provider) if isinstance(self.rate, dict) else self.rate


def on_uncertain(delivery: Delivery | None, spec: SendSpec) -> str:
    """What becomes of a send that may have gone out: as its flow says, else as its lane does."""
    return (delivery.on_uncertain if delivery is not None else "") or spec.on_uncertain


def route(named: Route) -> tuple[str, ...]:
    """The providers of one field, in order.

    >>> route("apns"), route(("twilio", "sns")), route("")
    (('apns',), ('twilio', 'sns'), ())
    """
    return tuple(filter(None, (named,) if isinstance(named, str) else named))


class Sending:
    """Makes the sends of each work; the lane takes them from there."""

    def __init__(self, spec: SendSpec, site: Site) -> None:
        self.spec = spec
        self.site = site
        platforms = {"ios": spec.ios, "android": spec.android, "web": spec.web}
        ways = {platform: route(named) for platform, named in platforms.items() if named}
        ways[""] = route(spec.default)
        self._default = next(iter(ways[""]), "")
        self._routes = {platform: names[0] for platform, names in ways.items() if names}
        self._next = {
            (platform, name): names[place:]
            for platform, names in ways.items()
            for place, name in enumerate(names, start=1)
        }
        self._marketing = {one.name for one in site.categories.values() if one.marketing}

    def after(self, provider: str, platform: str) -> tuple[str, ...]:
        """The providers that come after this one, for addresses of this platform."""
        return self._next[platform if platform in self._routes else "", provider]

    def process(self, batch: Batch[Work], io: Io, now: int) -> None:
        """Fill ``sends``, one for each address that is still open; end what no provider can take.

        An address that has answered on an earlier rung of the ladder is not asked again.
        """
        kept: list[Work] = []
        for work in batch.items:
            self._fill(work, now)
            if work.sends or work.delivery.answers:
                kept.append(work)
            else:
                platforms = sorted({address.platform for address in work.addresses})
                detail = f"no provider for {', '.join(filter(None, platforms)) or 'any address'}"
                batch.drop(work, Kind.FAILED, "no_provider", self.site, detail)
        batch.items = kept

    def _fill(self, work: Work, now: int) -> None:
        delivery, content = work.delivery, work.content
        if content is None:
            raise ValueError(f"{self.site.path}: nothing was rendered; `render` stands before it")
        work.sends = sends = []
        answers = delivery.answers
        for address in work.addresses:
            provider = self._routes.get(address.platform) or self._default
            known = send_id(delivery.notif_id, delivery.channel, address.value, delivery.round)
            if not provider or (answers and delivery.answered(known)):
                continue
            if delivery.detour:
                names = (provider, *self.after(provider, address.platform))
                provider = names[delivery.detour % len(names)]
            sends.append(
                Send(  # in the order of its fields: by their names it takes four times as long
                    known,
                    delivery.channel,
                    address,
                    content,
                    delivery.tenant,
                    delivery.category,
                    delivery.priority,
                    delivery.attempt + 1,
                    now,
                    delivery.expires_at,
                    delivery.collapse_key,
                    provider,
                    delivery.spared,
                    delivery.category in self._marketing,
                    delivery,
                    work.origin,
                )
            )


OPERATOR = Operator(
    name="send",
    spec=SendSpec,
    shape=Shape.END,
    parts=frozenset({Part.LANE}),
    build=Sending,
    shorthand="default",
    example="""
step: {send: {ios: apns, default: sandbox}}
channel: push
people:
  ana:
    addresses:
      - {kind: device, value: phone, platform: ios}
      - {kind: device, value: tablet, platform: android}
in:
  - {recipient_id: ana, addresses: [phone, tablet]}
out:
  - {recipient_id: ana, sends: {phone: apns, tablet: sandbox}}
""",
)
