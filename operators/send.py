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
from tidings.records import Kind
from tidings.sender import Send

Quota = Annotated[int, Field(ge=1, le=100_000)]
Route = str | tuple[str, ...]


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
            )
        return self


class SendSpec(Spec):
    """Hands each address of a delivery to its provider.

    The provider is the one named for the address's platform, else `default`. A delivery is sent
    when any of its addresses has taken it. When all have refused for good, the next channel of
    `first_of` takes over; where there is none it ends as `failed`, and in the dead letters.

    Of a list of providers, as in `default: [twilio, sns]`, the first one sends. What it surely has
    not sent and would put off (it is stopped, its tries in place are used up) goes to the next one
    at once. What it may have sent does not, nor what it refuses for good.
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

    in_flight: Quota | dict[str, Quota] = 400
    """How many sends a provider may have open at once, for all or by provider. It bounds what a
    crash can repeat. What exceeds it waits in the lane for a moment; when that is full, it goes to
    the ladder, no attempt counted, so that it holds up no other provider's."""

    on_uncertain: Literal["unknown", "resend"] = "unknown"
    """What becomes of a send whose connection broke after it was written. `unknown` ends it so,
    and never sends twice; `resend` tries again, where silence is worse than a duplicate."""

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
                "bad-ladder", "a list of providers needs a `ladder` for what none of them takes"
            )
        if isinstance(self.in_flight, dict):
            unknown = sorted(self.in_flight.keys() - set(self.providers()))
            if unknown:
                raise ValueProblem(
                    "unknown-provider", f"`in_flight` names `{unknown[0]}`, which gets no sends"
                )
        return self

    def providers(self) -> list[str]:
        """The names of all providers, each once."""
        named = (*map(route, (self.ios, self.android, self.web, self.default)),)
        return list(dict.fromkeys(name for names in named for name in names))

    def quota(self, provider: str) -> int:
        """How many sends ``provider`` may have open."""
        if isinstance(self.in_flight, dict):
            return self.in_flight.get(provider, 400)
        return self.in_flight


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
            if not provider or known in answers:
                continue
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
