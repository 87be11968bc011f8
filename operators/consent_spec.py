"""The settings of `consent`."""

from __future__ import annotations

from tidings.contract import Spec


class ConsentSpec(Spec):
    """Asks what the person, the tenant and the law allow, for each channel.

    In a flow it leaves the allowed channels to `deliver`, and ends what no channel is left for as
    `suppressed`, reason `no_consent`, with the rule that closed each channel. In a lane it asks
    once more for the delivery's own channel; a no there leads to the next channel of `first_of`,
    if there is one.

    Of a digest that tells its events apart (`tell_apart`) it takes out those that the person does
    not want: by a type opted out of, or by something muted. What remains is counted anew; they end
    as `suppressed` themselves, and a digest of which nothing remains is not sent. Types that belong
    to different categories, or may go on different channels, are told apart from then on: each
    share is a digest of its own.
    """

    category: str = ""
    """The category of message that this is, from `config/tidings.yaml`. Where it is not given, the
    event's `type` is looked up in the table there; a type that isn't in it goes to the dead
    letters."""

    muted: tuple[str, ...] = ()
    """The fields by which a person may have muted something, such as `[actor_id, thread_id]`: what
    has a value in them that is in the profile's `muted` is a no, but in critical categories. In a
    lane, which takes none, all fields of a profile's `muted` count."""

    opt_in: bool = False
    """Take silence for a no even where the category would take it for a yes. In a lane it is the
    channel's rule: the person has said yes to the channel, or to what is sent; a tenant's default
    is nobody's yes. Critical categories pass."""
