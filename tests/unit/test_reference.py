"""The reference is what the specs say."""

from __future__ import annotations

from pathlib import Path

from tidings.reference import page
from tidings.registry import operators

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def test_the_page_is_made_from_the_specs() -> None:
    assert PAGE.read_text() == page(), "write it anew: make reference"


def test_every_operator_is_on_it_with_every_field_and_its_example() -> None:
    text = page()
    for name, operator in operators().items():
        section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert operator.example.strip() in section
        for known, field in operator.spec.model_fields.items():
            assert f"| `{field.alias or known}` |" in section


def test_a_field_says_what_it_takes_and_what_goes_without_it() -> None:
    text = page()
    assert "| `window` | duration |  | How long a fixed window stays open" in text
    assert "| `keep` | condition | must be given |" in text
    assert "| `max_items` | number | `500` |" in text
    assert "| `by` | list of fields |  |" in text
