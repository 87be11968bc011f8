"""A package with an operator: installed, it is a step like any other."""

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "tidings-$dashed"
version = "0.1.0"
description = "The step $name for flows of Tidings"
requires-python = ">=3.11"
dependencies = ["tidings"]

[project.entry-points."tidings.operators"]
$name = "tidings_$name:OPERATOR"

[tool.hatch.build.targets.wheel]
only-include = ["tidings_$name.py"]
"""

MODULE = '''
"""$name: say in a line what it does to an event."""

from __future__ import annotations

from tidings.contract import Batch, Item, Operator, Part, Shape, Site, Spec, reads_expressions
from tidings.expressions import EvaluationError, Expression
from tidings.ports import Io


class ${camel}Spec(Spec):
    """Puts the length of a text into a field. This is what `tidings list` shows."""

    of: Expression
    """The text: a field or an expression. The text under a field is its documentation."""

    into: str = "length"
    """The field that gets the number."""


class $camel:
    """Works over a batch: no clock, no chance, no socket; ``now`` is given, questions go to
    ``io``."""

    def __init__(self, spec: ${camel}Spec, site: Site) -> None:
        self._of = spec.of.of
        self._into = spec.into
        self._site = site

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """Give each item its field; what can't be worked out goes to the dead letters."""
        kept = []
        for item in batch.items:
            try:
                text = self._of(item.data)
            except EvaluationError as error:
                batch.dead(item, "expression", error, self._site)
                continue
            item.data = {**item.data, self._into: len(str(text))}
            kept.append(item)
        batch.items = kept


OPERATOR = Operator(
    name="$name",
    spec=${camel}Spec,
    shape=Shape.MAP,
    parts=frozenset({Part.INTAKE, Part.TAIL}),
    build=$camel,
    shorthand="of",
    names=lambda spec: (spec.into,),
    reads=reads_expressions,
    changes=True,
    example="""
step: {$name: {of: text, into: size}}
in:
  - {text: hello}
  - {other: hello}
out:
  - {text: hello, size: 5}
dead:
  - {item: {other: hello}, reason: expression}
""",
)
'''

FLOW = """
# Shows the step $name at work: tidings test flows/$name.yaml
flow: $name
source: {topic: $name.events, key: recipient_id, fields: [event_id, recipient_id, text]}
steps:
  - $name: {of: text, into: size}
  - filter: {keep: size > 2, reason: too_short}
  - deliver: {to: push, template: $name}
"""

TEST = """
given:
  people: {ana: {addresses: [{kind: device, value: phone-ana}]}}
  event: {recipient_id: ana}

cases:
  - name: a text has its size
    in:
      - {at: 0s, event: {event_id: e1, text: hello}}
      - {at: 1s, event: {event_id: e2, text: hm}}
      - {at: 2s, event: {event_id: e3}}
    out:
      $name.deliver:
        - {at: 0s, to: ana, delivered: push, data: {text: hello, size: 5}}
      $name.filter:
        - {at: 1s, to: ana, dropped: too_short}
      $name.$name:
        - {at: 2s, dead: expression}
"""

TEXT = """
--- title
{{ text }}
--- body
{{ size }} letters
"""

README = """
# tidings-$dashed

The step `$name` for flows of Tidings.

    pip install -e .          # into the environment of Tidings; in a checkout: uv pip install -e .
    tidings list $name
    tidings check
    tidings test
"""

FILES = {
    "tidings-$dashed/pyproject.toml": PYPROJECT,
    "tidings-$dashed/tidings_$name.py": MODULE,
    "tidings-$dashed/flows/$name.yaml": FLOW,
    "tidings-$dashed/flows/$name.test.yaml": TEST,
    "tidings-$dashed/config/templates/$name/push.en.j2": TEXT,
    "tidings-$dashed/README.md": README,
}
"""By path; ``$name``, ``$camel`` and ``$dashed`` are to be filled in."""
