"""The settings of `deliver`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tidings.contract import Spec
from tidings.durations import PositiveDuration
from tidings.expressions import Expression, FieldPath
from tidings.problems import ValueProblem, suggestion

PRIORITIES = ("high", "normal", "low", "critical", "standard")
ONE_WAY = "first_of: [push, email] tries push, then e-mail; each_of: sends both"


class DeliverSpec(Spec):
    """Hands a notification over to the lanes of its channels.

    Exactly one of `first_of`, `each_of` and `to` says where; behind an `escalate` none of them,
    for there the round in hand does. A channel qualifies where the person has an address for it,
    `consent`, if it stands before, did not deny it, and a `cap` before has room. What no channel
    qualifies for ends as `suppressed`: `cap` where one had no room, `no_consent` where the person
    could have been reached, else `unreachable`.
    """

    first_of: tuple[str, ...] = ()
    """The first of these channels that qualifies. The next one that does is taken when the delivery
    fails: no address is left, the provider refuses for good, every retry is used up."""

    each_of: tuple[str, ...] = ()
    """All of these channels that qualify, at once."""

    to: str = ""
    """This one channel."""

    channels: Expression | None = None
    """A field or expression for the channels of this one notification, a list of names; it takes
    the place of those above where it gives any."""

    template: str
    """The template's name, a folder in `config/templates`."""

    template_id: Expression | None = None
    """A field or expression for the template of this one notification; where it gives nothing,
    `template` is taken."""

    priority: str = ""
    """`high`, `normal` or `low` (`critical` and `standard` are other names of the first two); by
    default that of the process, or `normal`."""

    expires: PositiveDuration | None = None
    """How long it may be sent, from when the event (of a digest: its close) came into the log. It
    can only bring an earlier `expire` forward."""

    category: str = ""
    """The category, for where no `consent` stands before; by default by the event's `type`."""

    collapse_key: Expression | None = None
    """A field or expression for the key by which a phone lets a newer notification take an older
    one's place. For coarse chatter, never for what has to be acted on."""

    notif_id: Expression | None = None
    """A field or expression for the producer's own id of the notification; where it gives nothing,
    the id is made from the event, the recipient and this step, and the ways that a `fan_out` above
    has sent it down."""

    campaign_id: Expression | None = None
    """A field or expression for the campaign that the outcomes are counted under."""

    fields: tuple[FieldPath, ...] | None = None
    """The fields of the event that templates see, those that it has; by default all. The
    `type` always goes along, for consent is asked about it again."""

    data: Expression | None = None
    """A field or expression that gives what templates see, a map, in place of `fields`."""

    reply_to: str = Field("", pattern=r"^[a-z][a-z0-9_-]{0,40}$|^$")
    """The flow that is to hear what becomes of the delivery: one that reads the same events, and
    whose `escalate` waits for this round (`sent_by`)."""

    supersedes: str = ""
    """A name such as `code`: of what a person is sent under it, a newer one takes the place of the
    older. A lane asks before each attempt; what is older ends as `cancelled`, `superseded`."""

    on_uncertain: Literal["", "drop", "resend", "ask"] = ""
    """What becomes of a send that may have gone out and may not: `drop`, `resend` or `ask`, as in
    `send`; by default what its lane says. A code is worth a duplicate, advertising is not."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in ("first_of", "each_of", "to") if getattr(self, name)]
        if len(given) > 1:
            raise ValueProblem(
                "one-of",
                "`deliver` takes exactly one of `first_of`, `each_of` and `to`, got "
                + " and ".join(f"`{name}`" for name in given),
                ONE_WAY,
            )
        if self.fields is not None and self.data is not None:
            raise ValueProblem(
                "one-of",
                "`deliver` takes either `fields` or `data`, got both",
                loc=("data", "[key]"),
            )
        return self

    def channels_named(self) -> tuple[str, ...]:
        """The channels that it names; behind an `escalate` none."""
        return self.first_of or self.each_of or ((self.to,) if self.to else ())

    @field_validator("priority")
    @classmethod
    def _known_priority(cls, name: str) -> str:
        if name and name not in PRIORITIES:
            hint = suggestion(name, PRIORITIES)
            raise ValueProblem("bad-value", f"there is no priority `{name}`", hint)
        return name
