"""render: the words, in the person's language of this moment (texts: `tidings.text.texts`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tidings.contract import Batch, Operator, Part, Shape, Site, Spec, Work
from tidings.durations import ByteSize
from tidings.operators.render_fetch import could_exceed, payload, shortened
from tidings.ports import Io, Template, Unavailable
from tidings.problems import ValueProblem
from tidings.records import Priority, encode
from tidings.sender import Content
from tidings.text.texts import Text, TextError, Typesetter

ENVELOPE = 256
"""Bytes of a payload that are the provider's frame and our own marks, not text."""

LARGEST_PUSH = 4_096
"""Bytes of a push, by APNs' and FCM's rule."""

CUTTABLE = "body"
"""The part that is cut where a text is too long."""

REMEMBERED = 1_000
"""Compiled templates, some 20 kB each."""


class RenderSpec(Spec):
    """Renders a delivery's template: the text for its channel, in the person's language.

    The person's locale is taken, else its parents (`es-AR`, `es`), else the default locale. In each
    of them a text of the arm that `assign` has put the person into comes before the one for all
    (`templates/<template>/<experiment>/<arm>/push.en.j2`). A template that is missing or wrong, and
    one that wants what the delivery hasn't, lead to the dead letters, with the name of the
    variable.
    """

    max_bytes: ByteSize | None = None
    """How large the text and what it carries may be, e.g. `4096` for a push. 256 bytes of it are
    left to the provider's frame."""

    overflow: Literal["cut", "dead", "fetch"] = "cut"
    """What is done with a text that is larger: `cut` shortens its body, `dead` hands the delivery
    to the dead letters. `fetch`, for push, keeps the whole until the message expires, and where the
    provider's own rule (of what is really sent: 4,096 bytes, a VoIP push 5,120) says that it is too
    large, a short notification goes out that carries the address of the whole, signed, as `fetch`.
    """

    carry: tuple[str, ...] = ()
    """The fields of the delivery's data that travel along for the app, such as a deep link."""


def _check_fetch(site: Site) -> None:
    if site.channels.get(site.channel) != "device":
        raise ValueProblem(
            "bad-value",
            f"nothing fetches the rest of a message on `{site.channel or 'this channel'}`",
            "`overflow: fetch` is for push; `cut` and `dead` are for all",
        )
    if not site.fetches:
        raise ValueProblem(
            "missing-field",
            "`overflow: fetch` needs `payloads` in the settings: where would an app fetch it?",
            "payloads: {url: https://push.example.com/payloads, key: env:PAYLOADS_KEY}",
        )


class Render:
    """Fills each work's content. Keeps compiled templates, by version."""

    def __init__(self, spec: RenderSpec, site: Site) -> None:
        self._fetches = spec.overflow == "fetch"
        if self._fetches:
            _check_fetch(site)
        largest = spec.max_bytes or (LARGEST_PUSH if self._fetches else 0)
        self._most = largest - ENVELOPE if largest else 0
        self._cuts = spec.overflow == "cut"
        self._carry = spec.carry
        self._site = site
        self._typesetter = Typesetter()
        self._compiled: dict[tuple[str, str, str, str], Text | TextError] = {}

    def process(self, batch: Batch[Work], io: Io, now: int) -> None:
        """Set ``content``; dead-letter what can't be rendered. Raises Unavailable, with nothing
        changed."""
        found: dict[tuple[str, str, str, str], Text | TextError] = {}
        made: list[tuple[Work, Content | TextError]] = []
        for work in batch.items:
            delivery, profile = work.delivery, work.profile
            locale = profile.locale if profile else ""
            asked = (delivery.template, delivery.channel, locale, delivery.variant)
            text = found.get(asked)
            if text is None:
                text = found[asked] = self._text(*asked, io)
            try:
                if isinstance(text, TextError):
                    raise text
                made.append((work, self._content(text, delivery.data)))
            except TextError as error:
                made.append((work, error))
        if self._fetches:
            self._keep(made, io, now)
        kept: list[Work] = []
        for work, content in made:
            if isinstance(content, TextError):
                batch.dead(work, content.reason, content, self._site)
            else:
                work.content = content
                kept.append(work)
        batch.items = kept

    def _keep(self, made: list[tuple[Work, Content | TextError]], io: Io, now: int) -> None:
        """Keep what may be too large, and give it a short form.

        Raises Unavailable where that can't be done; what is of high priority goes out short then.
        """
        large = [
            (place, work, content)
            for place, (work, content) in enumerate(made)
            if isinstance(content, Content) and could_exceed(content, self._most)
        ]
        if not large:
            return
        payloads = [payload(work, content, now, self._site.keep_ms) for _, work, content in large]
        try:
            addresses = io.payloads.put(payloads, now)
        except Unavailable:
            if self._site.priority != Priority.HIGH:
                raise
            addresses = [""] * len(large)
        for (place, work, content), address in zip(large, addresses, strict=True):
            small = shortened(content, address)
            made[place] = work, msgspec.structs.replace(content, small=small)

    def _text(
        self, template_id: str, channel: str, locale: str, variant: str, io: Io
    ) -> Text | TextError:
        template = io.templates.find(template_id, channel, locale, variant)
        if template is None:
            return TextError(
                "missing_template",
                f"there is no template `{template_id}` for {channel}, neither in {locale or 'any'}"
                f" nor in the default locale: add templates/{template_id}/{channel}.en.j2",
            )
        key = (template.id, channel, template.locale, template.version)
        text = self._compiled.get(key)
        if text is None:
            if len(self._compiled) >= REMEMBERED:
                self._compiled.clear()
            text = self._compiled[key] = self._compile(template)
        return text

    def _compile(self, template: Template) -> Text | TextError:
        """The text, or why there is none: it is asked for with every delivery."""
        try:
            return self._typesetter.compile(template)
        except TextError as error:
            return error

    def _content(self, text: Text, data: Mapping[str, Any]) -> Content:
        parts = text.render(data)
        carry = self._carry
        carried = {name: data[name] for name in carry if name in data} if carry else {}
        if (
            self._most
            and not self._fetches
            and (carried or 6 * sum(map(len, parts.values())) + 100 > self._most)
        ):
            # Six bytes are the most that a character takes in JSON.
            parts = self._fitted(parts, carried, text)
        return Content(parts=parts, data=carried, locale=text.locale, template_version=text.version)

    def _fitted(
        self, parts: dict[str, str], carried: Mapping[str, Any], text: Text
    ) -> dict[str, str]:
        """The parts, with the body cut where they are too large. Raises TextError (`too_large`)."""

        def excess(body: str | None) -> int:
            shown = parts if body is None else {**parts, CUTTABLE: body}
            return len(encode({**shown, "data": carried})) - self._most

        if (over := excess(None)) <= 0:
            return parts
        if not self._cuts or CUTTABLE not in parts or excess("…") > 0:
            raise TextError(
                "too_large", f"{text.name} is {over} bytes too large for {self._most} of them"
            )
        body = parts[CUTTABLE]
        fits, exceeds = 0, len(body)
        while exceeds - fits > 1:
            middle = (fits + exceeds) // 2
            if excess(body[:middle] + "…") > 0:
                exceeds = middle
            else:
                fits = middle
        return {**parts, CUTTABLE: body[:fits].rstrip() + "…"}


OPERATOR = Operator(
    name="render",
    spec=RenderSpec,
    shape=Shape.MAP,
    parts=frozenset({Part.LANE}),
    build=Render,
    asks=True,
    example="""
step: {render: {max_bytes: 4096}}
people:
  ana: {locale: es}
  bob: {locale: fr}
templates:
  - id: photo_liked
    channel: push
    locale: en
    parts: {title: "{{ actors|others(actor_count) }}", body: "liked your photo"}
  - id: photo_liked
    channel: push
    locale: es
    parts: {title: "{{ actors|others(actor_count) }}", body: "Les gusta tu foto"}
in:
  - {recipient_id: ana, template: photo_liked, data: {actors: [Eva, Luis], actor_count: 50}}
  - {recipient_id: bob, template: photo_liked, data: {actors: [Eva, Luis], actor_count: 2}}
  - {recipient_id: bob, template: photo_liked, data: {actor_count: 2}}
out:
  - {recipient_id: ana, parts: {title: Eva y 49 personas más, body: Les gusta tu foto}}
  - {recipient_id: bob, parts: {title: Eva and Luis, body: liked your photo}}
dead:
  - {item: {recipient_id: bob}, reason: missing_variable}
""",
)
