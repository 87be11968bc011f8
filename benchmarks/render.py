"""Rendering a title and a body: CPU-µs a notification, beside what Jinja takes as it comes.

    python -m benchmarks.render [--runs N] [--json]

All say the same, with three variables. "two renders" is title and body as two Jinja templates, "one
render" both in one, "empty" is what `Template.render` takes for a template that says nothing: all
of that is its context. Ours keeps the sandbox and adds bounds (`tidings.text.texts`).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from benchmarks.harness import print_table
from tidings.ports import Template
from tidings.text.texts import Text, Typesetter

TITLE = "{{ name }} liked your photo"
BODY = "{{ count }} likes on {{ title }} so far"
DATA = {"type": "like", "photo_id": "p1", "name": "Alice", "count": 49, "title": "Sunset"}

DIGEST_TITLE = "{{ actors|others(actor_count) }} liked {{ items[0].photo_title }}"
DIGEST_BODY = "{{ count }} {{ count|plural('like', 'likes') }}{% if count > 9 %}!{% endif %}"
DIGEST = {
    "type": "like",
    "photo_id": "p1",
    "count": 49,
    "actors": ["Alice", "Bob"],
    "actor_count": 42,
    "items": [{"photo_title": "Sunset", "actor_name": "Alice"}],
}

ROUND = 20_000


def main() -> None:
    """Measure all, a round of each in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    candidates = _candidates()
    found: dict[str, list[float]] = {what: [] for what in candidates}
    for _ in range(given.runs):
        for what, render in candidates.items():
            found[what].append(_round(render))
    medians = {what: statistics.median(each) for what, each in found.items()}
    ours = medians["ours"]
    rows: list[dict[str, Any]] = [
        {"what": what, "µs": round(each, 2), "of ours": round(each / ours, 1)}
        for what, each in medians.items()
    ]
    print_table("render: title and body", rows, as_json=given.json)


def _candidates() -> dict[str, Callable[[], Any]]:
    plain = Environment(autoescape=True, undefined=StrictUndefined)
    sandbox = ImmutableSandboxedEnvironment(autoescape=True, undefined=StrictUndefined)
    two = [plain.from_string(text) for text in (TITLE, BODY)]
    two_boxed = [sandbox.from_string(text) for text in (TITLE, BODY)]
    one_boxed = sandbox.from_string(f"{TITLE}\x1f{BODY}")
    empty = sandbox.from_string("")
    ours = _text({"title": TITLE, "body": BODY})
    digest = _text({"title": DIGEST_TITLE, "body": DIGEST_BODY})
    return {
        "Jinja, two renders": lambda: [each.render(DATA) for each in two],
        "Jinja sandboxed, two renders": lambda: [each.render(DATA) for each in two_boxed],
        "Jinja sandboxed, one render": lambda: one_boxed.render(DATA).split("\x1f"),
        "Jinja sandboxed, empty": lambda: empty.render(DATA),
        "ours": lambda: ours.render(DATA),
        "ours, the text of a digest": lambda: digest.render(DIGEST),
    }


def _text(parts: dict[str, str]) -> Text:
    template = Template(id="bench", channel="push", locale="en", version="1", parts=parts)
    return Typesetter().compile(template)


def _round(render: Callable[[], Any]) -> float:
    began = time.process_time()
    for _ in range(ROUND):
        render()
    return (time.process_time() - began) / ROUND * 1e6


if __name__ == "__main__":
    main()
