"""Topics for roles: what they need, what of it is missing, and making it.

The names come from the flows and lanes, what each topic is to be from the table of topics and the
settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidings.log.port import Admin, TopicSettings
from tidings.receipts import PROVIDER_EVENTS, REPLIES
from tidings.running.footprint import Footprint, footprint, rules
from tidings.running.roster import Role
from tidings.settings import Settings
from tidings.topics import Change, plan
from tidings.topics import settings as topic_settings


def needs(roles: Iterable[Role], settings: Settings) -> Footprint:
    """All topics of these roles. What one of them writes is no upstream's, even if it is read."""
    sources: set[str] = set()
    ours: set[str] = set()
    for role in roles:
        found = footprint(role.plan, role.priority, settings.channels)
        sources |= found.sources
        ours |= found.ours
    ours |= sources & {REPLIES}  # `tidings receipts` writes it
    return Footprint(frozenset(sources - ours), frozenset(ours))


def wanted(
    roles: Iterable[Role], settings: Settings, *, sources: bool, receipts: bool = False
) -> list[TopicSettings]:
    """What the topics of these roles are to be; with those of upstream services if ``sources``,
    with those of providers' callbacks and of people's replies if ``receipts``."""
    need = needs(roles, settings)
    names = need.ours | need.sources if sources else need.ours
    if receipts:
        names |= {PROVIDER_EVENTS, REPLIES}
    return topic_settings(names, rules(settings, need.sources))


def missing(admin: Admin, roles: Iterable[Role], settings: Settings) -> list[str]:
    """The topics without which these roles can't run."""
    need = needs(roles, settings)
    return sorted((need.ours | need.sources) - admin.topics().keys())


def changes(
    admin: Admin,
    roles: Iterable[Role],
    settings: Settings,
    *,
    sources: bool,
    receipts: bool = False,
) -> list[Change]:
    """What is to be done so that the topics become as ``wanted``."""
    return plan(admin.topics(), wanted(roles, settings, sources=sources, receipts=receipts))


def provide(
    admin: Admin, roles: Sequence[Role], settings: Settings, *, receipts: bool = False
) -> None:
    """Make what is missing, the upstreams' topics too; what exists stays as it is."""
    there, all_ = admin.topics(), wanted(roles, settings, sources=True, receipts=receipts)
    admin.create([topic for topic in all_ if topic.name not in there])
