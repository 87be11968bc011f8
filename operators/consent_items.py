"""`consent` in a flow: which channels may an item be sent on, or each part of a digest?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tidings.consent import NO_TENANT, decide, evaluated, is_silent
from tidings.contract import Batch, Category, Item, Site
from tidings.ids import id_of
from tidings.operators.consent_shares import Share, digest_of, shares_of
from tidings.operators.consent_spec import ConsentSpec
from tidings.ports import Io, Question, profiles_of
from tidings.records import Kind

Closed = Mapping[tuple[int, str], Collection[str]]
"""By an item's number and a category, the channels on which no address may be used."""


class ConsentItems:
    """Finds out which channels are denied, and why."""

    def __init__(self, spec: ConsentSpec, site: Site) -> None:
        if spec.category:
            site.check_category(spec.category, "category")
        self._category = site.categories.get(spec.category)
        self._opt_in = spec.opt_in
        self._muted = spec.muted
        self._site = site
        self._of_silence: dict[str, dict[str, str]] = {}  # what is denied, by category
        self._channels_of: dict[str, list[str]] = {}
        for channel, kind in site.channels.items():
            self._channels_of.setdefault(kind, []).append(channel)

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """Set ``profile``, ``category`` and ``denied``; drop what is denied everywhere."""
        items = batch.items
        persons = [item.person() for item in items]
        known = profiles_of(io.people, persons)
        judged: list[list[Share]] = []
        for item, person in zip(items, persons, strict=True):
            item.profile = profile = known[person]
            muted = profile.muted if self._muted and profile is not None else {}
            shares = shares_of(item, self._muted, muted)
            for share in shares:
                share.category = self._category or self._by_type(share.type)
            judged.append(shares)
        suppressed = self._suppressed(items, judged, io, now)

        kept: list[Item] = []
        for number, item in enumerate(items):
            shares = judged[number]
            for share in shares:
                if (category := share.category) is not None:
                    closed = suppressed.get((number, category.name), ()) if suppressed else ()
                    share.denied = self._denied(item, share, category, closed)
            if len(shares) > 1:
                kept += self._divided(item, shares, batch)
            elif self._passes(item, shares[0], batch):
                kept.append(item)
        batch.items = kept

    def _passes(self, item: Item, share: Share, batch: Batch[Item]) -> bool:
        """Whether a channel is left for an item, which else ends here."""
        site, category, denied = self._site, share.category, share.denied
        if category is None:
            batch.dead(item, "unknown_type", _no_category(share.type), site)
            return False
        item.category, item.denied = category.name, denied
        if len(denied) < len(site.channels):
            return True
        batch.drop(item, Kind.SUPPRESSED, "no_consent", site, evaluated(denied))
        return False

    def _divided(self, item: Item, shares: Sequence[Share], batch: Batch[Item]) -> list[Item]:
        """A digest by what is allowed of it; what falls out of it ends on its own.

        What remains keeps its id while it is one: in a replay that finds other choices it is the
        same notification still, and not sent twice.
        """
        out: dict[tuple[str, ...], list[Share]] = {}
        remain: dict[tuple[str, ...], list[Share]] = {}
        for share in shares:
            open_ = [channel for channel in self._site.channels if channel not in share.denied]
            if share.category is None:
                out.setdefault(("", share.type), []).append(share)
            elif not open_:
                out.setdefault((share.category.name, evaluated(share.denied)), []).append(share)
            else:
                remain.setdefault((share.category.name, *open_), []).append(share)
        for alike in out.values():
            places = _places(alike)
            whole = len(places) == len(item.members)
            members = [item.members[place] for place in places]
            ends = item if whole else digest_of(item, places, id_of("out", item.event_id, *members))
            self._passes(ends, alike[0], batch)
        kept: list[Item] = []
        for way, alike in remain.items():
            places = _places(alike)
            known = item.event_id if len(remain) == 1 else id_of("part", item.event_id, *way)
            part = item if len(places) == len(item.members) else digest_of(item, places, known)
            if self._passes(part, alike[0], batch):
                kept.append(part)
        return kept

    def _denied(
        self, item: Item, share: Share, category: Category, suppressed: Collection[str]
    ) -> dict[str, str]:
        """The channels that are closed, each with the rule that closed it."""
        tenant = self._site.tenants.get(item.tenant, NO_TENANT)
        silent = not suppressed and not share.muted and is_silent(item.profile, tenant)
        if silent and category.name in self._of_silence:
            return self._of_silence[category.name]
        denied = {}
        for channel in self._site.channels:
            decision = decide(
                item.profile,
                tenant,
                category,
                channel,
                share.type,
                suppressed=channel in suppressed,
                muted=share.muted,
                opt_in=self._opt_in,
            )
            if not decision.allowed:
                denied[channel] = decision.rule
        if silent:
            self._of_silence[category.name] = denied
        return denied

    def _by_type(self, type_: str) -> Category | None:
        return self._site.categories.get(self._site.types.get(type_, ""))

    def _suppressed(
        self, items: Sequence[Item], judged: Sequence[Sequence[Share]], io: Io, now: int
    ) -> Closed:
        """The channels on which no address is left to send to."""
        places: list[tuple[int, str, str]] = []
        questions: list[Question] = []
        for number, item in enumerate(items):
            profile, shares = item.profile, judged[number]
            if profile is None or not profile.addresses:
                continue
            names = [share.category.name for share in shares if share.category is not None]
            for name in dict.fromkeys(names) if len(names) > 1 else names:
                for address in profile.addresses:
                    for channel in self._channels_of.get(address.kind, ()):
                        places.append((number, name, channel))
                        questions.append(Question(item.tenant, channel, address.value, name))
        answers = io.suppressions.check(questions, now) if questions else []
        closed: dict[tuple[int, str], set[str]] = {}
        if any(answers):
            free = {place for place, answer in zip(places, answers, strict=True) if answer is None}
            for number, name, channel in set(places) - free:
                closed.setdefault((number, name), set()).add(channel)
        return closed


def _places(alike: Sequence[Share]) -> list[int]:
    """Where the members of these shares stand, in order."""
    return sorted(place for share in alike for place in share.places or ())


def _no_category(type_: str) -> str:
    return (
        f"the event's type {type_!r} has no category: add it to `types` in"
        " config/tidings.yaml, or give `consent` a category"
    )
