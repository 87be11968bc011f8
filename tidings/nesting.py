"""How deep JSON may nest.

Decoders stop at Python's own limit, of which the stack at hand is a part: what could just be read
in one place can't be written, or read again, in another. So it is judged where it comes in.
"""

from __future__ import annotations

import re

import msgspec

DEEPEST = 500  # levels of an event
WRAPPED = DEEPEST + 10  # of an entry or a delivery, which has it inside
_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)


def check_depth(value: bytes, deepest: int = DEEPEST) -> None:
    """Raises DecodeError for valid JSON that nests deeper than ``deepest``."""
    if len(value) <= 2 * deepest or value.count(91) + value.count(123) <= deepest:  # [ and {
        return
    level = 0
    for token in _TOKENS.finditer(value):
        if token[0] in (b"[", b"{"):
            level += 1
            if level > deepest:
                raise msgspec.DecodeError(f"it is nested deeper than {deepest} levels")
        elif token[0] in (b"]", b"}"):
            level -= 1
