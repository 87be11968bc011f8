"""`tidings schema`: what editors are told is what the loader takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.cli.command import Command
from tidings.schema import KINDS, schema_of

CHECKOUT = Path(__file__).parents[3]
FLOWS = sorted((CHECKOUT / "flows").glob("*.yaml"))
LANES = sorted((CHECKOUT / "flows" / "lanes").glob("*.yaml"))


def kind_of(file: Path) -> str:
    if file.parent.name == "lanes":
        return "lane"
    return "test" if file.name.endswith(".test.yaml") else "flow"


def complaints(kind: str, document: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema_of(kind))
    return [error.message for error in validator.iter_errors(document)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_checked_in_is_what_the_specs_say(kind: str, tidings: Command) -> None:
    said = tidings("schema", kind).out
    written = (CHECKOUT / "docs" / "schema" / f"{kind}.json").read_text()
    assert written == said, "write it anew: make reference"
    jsonschema.Draft202012Validator.check_schema(json.loads(said))


@pytest.mark.parametrize("file", [*FLOWS, *LANES], ids=lambda file: file.name)
def test_every_shipped_file_is_as_its_schema_says(file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    assert complaints(kind_of(file), document) == []


FLOW = """
flow: shop
source: {topic: shop.events, key: recipient_id}
steps:
  - filter: amount > 5
  - switch:
      cases:
        - {when: urgent, steps: [{deliver: {to: sms, template: promo}}]}
      else:
        - {id: often, limit: {at_most: "${MOST:5}", within: 1d}}
  - deliver: {to: push, template: promo, expires: "${LIFE:6h}"}
"""


def test_the_shorter_ways_of_writing_are_known() -> None:
    assert complaints("flow", yaml.safe_load(FLOW)) == []
    lane = "{lane: push, steps: [expire, addresses:, render, send: sandbox]}"
    assert complaints("lane", yaml.safe_load(lane)) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("template: promo, expires", "templat: promo, expires"),
        ("within: 1d", "within: 1 day"),
        ("at_most:", "atmost:"),
        ("- filter:", "- filtr:"),
        ("when: urgent,", ""),
        ("topic: shop.events", "topic: [shop]"),
        ("to: sms", "to: {sms: 1}"),
    ],
)
def test_what_the_loader_refuses_is_underlined(right: str, wrong: str) -> None:
    assert right in FLOW
    assert complaints("flow", yaml.safe_load(FLOW.replace(right, wrong))) != []


def test_every_field_says_what_it_is() -> None:
    flow = schema_of("flow")
    digest = flow["$defs"]["digest"]["properties"]
    assert digest["window"]["description"] == (
        "How long a fixed window stays open, from its first event."
    )


def test_all_of_them_are_written_into_a_folder(tidings: Command, here: Path) -> None:
    assert tidings("schema", "--write", "schema").code == 0
    assert sorted(file.name for file in (here / "schema").iterdir()) == [
        "flow.json",
        "lane.json",
        "test.json",
    ]
    said = tidings("schema")
    assert (said.code, said.err[:9]) == (2, "say which")
