"""render: the words, in the person's language of this moment (texts: `tidings.text.texts`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tidings.contract import Batch, Operator, Part, Shape, Site, Spec, Work
from tidings.durations import ByteSize
from tidings.ports import Io, Template
from tidings.records import encode
from tidings.sender import Content
from tidings.text.texts import Text, TextError, Typesetter

ENVELOPE = 256
"""Bytes of a payload that are the provider's frame and our own marks, not text."""

CUTTABLE = "body"
"""The part that is cut where a text is too long."""

REMEMBERED = 1_000
"""Compiled templates, some 20 kB each."""


class RenderSpec(Spec):
    """Renders a delivery's template: the text for its channel, in the person's language.

    The person's locale is taken, else its parents (`es-AR`, `es`), else the default locale. A
    template that is missing or wrong, and one that wants what the delivery hasn't, lead to the dead
    letters, with the name of the variable.
    """

    max_bytes: ByteSize | None = None
    """How large the text and what it carries may be, e.g. `4096` for a push. 256 bytes of it are
    left to the provider's frame."""

    overflow: Literal["cut", "dead"] = "cut"
    """What is done with a text that is larger: `cut` shortens its body, `dead` hands the delivery
    to the dead letters."""

    carry: tuple[str, ...] = ()
    """The fields of the delivery's data that travel along for the app, such as a deep link."""


class Render:
    """Fills each work's content. Keeps compiled templates, by version."""

    def __init__(self, spec: RenderSpec, site: Site) -> None:
        self._most = spec.max_bytes - ENVELOPE if spec.max_bytes else 0
        self._cuts = spec.overflow == "cut"
        self._carry = spec.carry
        self._site = site
        self._typesetter = Typesetter()
        self._compiled: dict[tuple[str, str, str, str], Text | TextError] = {}

    def process(self, batch: Batch[Work], io: Io, now: int) -> None:
        """Set ``content``; dead-letter what can't be rendered."""
        found: dict[tuple[str, str, str], Text | TextError] = {}
        kept: list[Work] = []
        for work in batch.items:
            delivery, profile = work.delivery, work.profile
            asked = (delivery.template, delivery.channel, profile.locale if profile else "")
            text = found.get(asked)
            if text is None:
                text = found[asked] = self._text(*asked, io)
            try:
                if isinstance(text, TextError):
                    raise text
                work.content = self._content(text, delivery.data)
            except TextError as error:
                batch.dead(work, error.reason, error, self._site)
                continue
            kept.append(work)
        batch.items = kept

    def _text(self, template_id: str, channel: str, locale: str, io: Io) -> Text | TextError:
        template = io.templates.find(template_id, channel, locale)
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
        if self._most and (carried or 6 * sum(map(len, parts.values())) + 100 > self._most):
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
