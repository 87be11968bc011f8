"""What may stand in the file of a flow or a lane, steps apart."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from tidings.contract import Spec
from tidings.expressions import Expression, FieldPath
from tidings.log.port import OutOfRange
from tidings.problems import ValueProblem


class SourceSpec(Spec):
    """What a flow reads."""

    topic: str = ""
    """The topic of events."""

    topics: tuple[str, ...] = ()
    """Several topics, instead of one."""

    key: FieldPath
    """The field that names the recipient; behind a ``split``, the field that it makes."""

    id: Expression | None = None
    """The field with the event's id, ``event_id`` by default; an event without one gets its
    coordinates in the log as its id."""

    tenant: Expression | None = None
    """The field that names the tenant; without it, all belong to ``default``."""

    fields: tuple[str, ...] = ()
    """The fields of an event. When given, an unknown name in an expression is an error."""

    on_out_of_range: OutOfRange = OutOfRange.FAIL
    """When the log no longer has what was not read yet: ``fail``, ``earliest`` or ``latest``."""

    @model_validator(mode="after")
    def _some_topic(self) -> SourceSpec:
        if bool(self.topic) == bool(self.topics):
            raise ValueProblem("bad-value", "a source takes either `topic` or `topics`")
        return self

    def names(self) -> tuple[str, ...]:
        """The topics, however they were given."""
        return self.topics or (self.topic,)


class FlowFile(Spec):
    """A flow: what it reads, and the steps from there to ``deliver``."""

    flow: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    """The flow's name: small letters, digits, `_` and `-`. Topics and step ids begin with it."""

    source: SourceSpec
    steps: tuple[Any, ...] = Field(min_length=1)
    """The steps, in order."""


class LaneFile(Spec):
    """A lane: how the deliveries of one channel are sent."""

    lane: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    """The channel."""

    steps: tuple[Any, ...] = Field(min_length=1)
    """The steps, in order; ``send`` is the last."""
