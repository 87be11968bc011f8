"""Free data in a file: values that no schema names, typed as JSON would type them.

For sample events and the like. An unquoted `20` is a number, `true` and `false` are booleans,
`null`, `~` and nothing are null; all else, and all that is quoted, is text: `no`, `on`, `22:00`,
`0123`, `1_000`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from tidings.problems import SourceText

JsonData = None | bool | int | float | str | list[Any] | dict[str, Any]

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


def as_json(value: Any) -> JsonData:
    """The value with every text typed; what is no text, list or dict comes back as it is."""
    if isinstance(value, dict):
        return {str(name): as_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if not isinstance(value, SourceText):
        return value  # type: ignore[no-any-return]
    text = str(value)
    if not value.plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    return float(text) if number[1] or number[2] else int(text)


Json = Annotated[Any, BeforeValidator(as_json)]
"""The schema type of a field with free data."""
