"""An event, and what an expression gives for it."""

from typing import Any

from tidings.expressions import (
    parse,
)

EVENT: dict[str, Any] = {
    "actor_id": "ada",
    "recipient_id": "bob",
    "type": "like",
    "amount": 120,
    "zero": 0,
    "rate": 1.5,
    "public": True,
    "hidden": False,
    "note": None,
    "photo": {"owner": {"id": "p1"}, "a b": 1},
    "tags": ["x", "y"],
    "numbers": [3, 1, 2],
    "user-id": "u1",
}


def value(text: str) -> Any:
    return parse(text).of(EVENT)
