"""The functions of expressions: pure, total but for `Unfit`, bounded in what they make.

No regular expressions: their time has no bound.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import xxhash

from tidings.expressions.operations import MAX_TEXT, Unfit, bounded, kind_of, within
from tidings.expressions.tree import Kind

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Function:
    """A function: how it is used, what it does in a line, what it gives, and its code.

    `most` is None where any number of arguments is taken; `run` is None for the two functions
    that the compiler writes out, since they look at fields that may be missing.
    """

    usage: str
    about: str
    gives: Kind
    least: int
    most: int | None
    run: Callable[..., Any] | None

    def takes(self, count: int) -> bool:
        """Whether it can be called with so many arguments."""
        return self.least <= count and (self.most is None or count <= self.most)


def _text(value: Any, number: int = 0) -> str:
    if value.__class__ is not str:
        raise Unfit(f"{{{number}}} is {kind_of(value)}, not a text")
    return value


def _short(value: Any, number: int = 0) -> str:
    """A text that may be taken apart or put together."""
    if len(_text(value, number)) > MAX_TEXT:
        raise Unfit(f"{{{number}}} has more than {MAX_TEXT} characters")
    return str(value)


def _number(value: Any, number: int = 0) -> Any:
    if value.__class__ is not int and value.__class__ is not float:
        raise Unfit(f"{{{number}}} is {kind_of(value)}, not a number")
    return value


def _lower(text: Any) -> str:
    return _short(text).lower()


def _upper(text: Any) -> str:
    return _short(text).upper()


def _length(value: Any) -> int:
    if value.__class__ not in (str, list, dict):
        raise Unfit(f"{{0}} is {kind_of(value)}, and has no length")
    return len(value)


def _starts_with(text: Any, start: Any) -> bool:
    return _text(text).startswith(_text(start, 1))


def _ends_with(text: Any, end: Any) -> bool:
    return _text(text).endswith(_text(end, 1))


def _contains(container: Any, item: Any) -> bool:
    try:
        return within(item, container)
    except Unfit as unfit:
        swap = {"{0}": "{1}", "{1}": "{0}"}
        template = re.sub(r"\{[01]\}", lambda match: swap[match[0]], unfit.template)
        raise Unfit(template) from None


def _extreme(pick: Callable[[Any], Any]) -> Callable[..., Any]:
    def run(*values: Any) -> Any:
        listed = len(values) == 1 and values[0].__class__ is list
        candidates = values[0] if listed else values
        if not candidates:
            raise Unfit("{0} is empty")
        kinds = {"a number" if v.__class__ in (int, float) else kind_of(v) for v in candidates}
        if kinds not in ({"a number"}, {"a text"}):
            raise Unfit(f"{{self}} has to choose among {' and '.join(sorted(kinds))}")
        return pick(candidates)

    return run


def _absolute(value: Any) -> Any:
    return bounded(abs(_number(value)))


def _round(value: Any, digits: Any = 0) -> Any:
    if digits.__class__ is not int or not 0 <= digits <= 15:
        raise Unfit("{1} is not a number of digits from 0 to 15")
    if _number(value).__class__ is float and not math.isfinite(value):
        raise Unfit("{0} is too large for a number of 64 bits")
    return bounded(round(value, digits) if digits else round(value))


def _whole(value: Any) -> Any:
    if value.__class__ is str:
        if not _WHOLE.fullmatch(value):
            raise Unfit("{0} holds no whole number")
        return int(value)
    if _number(value).__class__ is float and not math.isfinite(value):
        raise Unfit("{0} is too large for a number of 64 bits")
    return bounded(int(value))


def _float(value: Any) -> Any:
    if value.__class__ is str:
        if not _NUMBER.fullmatch(value):
            raise Unfit("{0} holds no number")
        return bounded(float(value))
    return bounded(float(bounded(_number(value))))


def _as_text(value: Any) -> str:
    if value.__class__ is bool:
        return "true" if value else "false"
    if value.__class__ is str:
        return value
    return str(bounded(_number(value)))


def _join(items: Any, between: Any) -> str:
    if items.__class__ is not list:
        raise Unfit(f"{{0}} is {kind_of(items)}, not a list")
    for value in items:
        if value.__class__ is not str:
            raise Unfit(f"{{0}} holds {kind_of(value)}; only texts can be joined")
    total = sum(map(len, items)) + len(_text(between, 1)) * max(0, len(items) - 1)
    if total > MAX_TEXT:
        raise Unfit(f"{{self}} would make a text of more than {MAX_TEXT} characters")
    return str(between).join(items)


def _split(text: Any, between: Any) -> list[str]:
    if not _text(between, 1):
        raise Unfit("{1} is empty: nothing to split at")
    return _short(text).split(between)


def _hash(value: Any) -> int:
    if value.__class__ is int:
        value = str(bounded(value))
    return xxhash.xxh3_64_intdigest(_text(value).encode("utf-8", "surrogatepass")) >> 1


FUNCTIONS: dict[str, Function] = {
    function.usage.partition("(")[0]: function
    for function in (
        Function(
            "coalesce(a, b, …)",
            "the first that is there and not null, else null",
            "any",
            1,
            None,
            None,
        ),
        Function("exists(field)", "whether the field is there and not null", "boolean", 1, 1, None),
        Function("lower(text)", "in small letters", "text", 1, 1, _lower),
        Function("upper(text)", "in capitals", "text", 1, 1, _upper),
        Function("len(value)", "characters, items or keys", "number", 1, 1, _length),
        Function("starts_with(text, start)", "whether it does", "boolean", 2, 2, _starts_with),
        Function("ends_with(text, end)", "whether it does", "boolean", 2, 2, _ends_with),
        Function("contains(value, item)", "the same as: item in value", "boolean", 2, 2, _contains),
        Function("min(a, b, …)", "the least, of a list too", "any", 1, None, _extreme(min)),
        Function("max(a, b, …)", "the greatest, of a list too", "any", 1, None, _extreme(max)),
        Function("abs(number)", "without its sign", "number", 1, 1, _absolute),
        Function("round(number, digits)", "halves to the even neighbour", "number", 1, 2, _round),
        Function("int(value)", "of a text, or cut towards zero", "number", 1, 1, _whole),
        Function("float(value)", "of a text or a whole number", "number", 1, 1, _float),
        Function("str(value)", "of a number or a boolean", "text", 1, 1, _as_text),
        Function("join(list, between)", "texts with another between them", "text", 2, 2, _join),
        Function("split(text, between)", "the parts around a text", "list", 2, 2, _split),
        Function(
            "hash(value)",
            "63 bits of xxh3, of a text or a whole number; the same everywhere, for ever",
            "number",
            1,
            1,
            _hash,
        ),
    )
}
