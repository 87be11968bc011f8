"""Every operator's example does what it says: it is what the reference shows.

An example is YAML. ``step`` is the step, ``in`` what comes in, ``out`` what goes down (of a
``deliver``: the deliveries), ``dropped`` what is let go, ``dead`` what could not be handled. Around
the step there may be ``people``, ``suppressions``, ``templates``, ``categories``, ``channel`` and
``now``. Events are plain maps; deliveries give only what matters. What is listed must be exactly
what comes, in this order; of a delivery, a work or a digest the given fields count.

A keyed step's events have ``at`` (after the start), ``id`` and ``data``, and all belong to one
person; instead of an event, a ``signal`` may come ``of`` one and its ``round``. Of a branch
``arms`` says which ways each event goes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.unit.operators.support import NOW, Outbox, item, phone, ports, work
from tidings.contract import Category, Item, Operator, Part, Shape, Site, Who, Work
from tidings.durations import parse_duration
from tidings.expressions import EvaluationError
from tidings.ids import wait_id
from tidings.load import Map, bind, read
from tidings.load.freedata import as_json
from tidings.load.nodes import to_python
from tidings.ports import Profile, Suppression, Template
from tidings.problems import Problems
from tidings.records import Kind, Signal, encode
from tidings.registry import operators
from tidings.sender import Content

KNOWN = {
    "step", "in", "out", "dropped", "dead", "arms", "now",
    "people", "suppressions", "templates", "categories", "channel",
}  # fmt: skip


@pytest.mark.parametrize("operator", operators().values(), ids=lambda operator: operator.name)
def test_the_example_does_what_it_says(operator: Operator[Any]) -> None:
    problems = Problems()
    node = read(operator.example, f"{operator.name}.yaml", {}, problems)
    problems.raise_if_any()
    assert isinstance(node, Map)
    example = as_json(to_python(node))
    assert isinstance(example, dict)
    assert set(example) <= KNOWN
    assert example.get("now", "2026-07-01T12:00:00Z") == "2026-07-01T12:00:00Z"
    step = node["step"]
    path = f"f.{operator.name}"
    if isinstance(step, Map):
        (entry,) = step.entries.values()
        assert entry.name == operator.name
        spec = bind(
            entry.value, operator.spec, path, problems, shorthand=operator.shorthand or None
        )
    else:
        spec = bind(Map({}, step.where, step.key), operator.spec, path, problems)
    problems.raise_if_any()
    assert spec is not None
    categories = {
        name: Category(name, **fields) for name, fields in example.get("categories", {}).items()
    }
    part = Part.LANE if operator.parts == {Part.LANE} else Part.TAIL
    channel = example.get("channel", "push")
    site = Site(path=path, scope="f", part=part, channel=channel, categories=categories)
    built = operator.build(spec, site)

    if operator.shape is Shape.BRANCH:
        _check_branch(built, example)
    elif operator.shape is Shape.KEYED:
        _check_keyed(built, example)
    elif part is Part.LANE:
        _check_lane(built, example, channel)
    else:
        _check_flow(built, example)


def _check_flow(step: Any, example: dict[str, Any]) -> None:
    given = [item(data, offset=number) for number, data in enumerate(example["in"])]
    outbox: Outbox[Item] = Outbox(given)
    step.process(outbox, _ports(example), NOW)

    out = example.get("out", [])
    if outbox.delivered:
        assert len(outbox.delivered) == len(out)
        for delivery, expected in zip(outbox.delivered, out, strict=True):
            made = msgspec.json.decode(encode(delivery))
            assert {name: made[name] for name in expected} == expected
    else:
        assert [each.data for each in (*outbox.items, *outbox.rest)] == out
    _check_dropped(outbox, example, lambda each: each.data)


def _check_lane(step: Any, example: dict[str, Any], channel: str) -> None:
    given = [_work(channel, fields) for fields in example["in"]]
    io = _ports(example)
    for each in given:
        each.profile = io.people.profiles([each.person()])[0]
        profile = each.profile or Profile(addresses=(phone(),))
        each.addresses = profile.addresses
        each.content = Content(parts={"title": "t", "body": "b"})
    outbox: Outbox[Work] = Outbox(given)
    step.process(outbox, io, NOW)

    assert [
        {name: _seen(each, name) for name in expected}
        for each, expected in zip(outbox.items, example["out"], strict=True)
    ] == example["out"]
    _check_dropped(outbox, example, lambda each: {"recipient_id": each.delivery.recipient_id})


def _work(channel: str, fields: dict[str, Any]) -> Work:
    return work(channel=channel, **{k: v for k, v in fields.items() if k != "addresses"})


def _seen(each: Work, name: str) -> Any:
    if name == "addresses":
        return [address.value for address in each.addresses]
    if name == "sends":
        return {send.address.value: send.provider for send in each.sends}
    if name == "parts":
        assert each.content is not None
        return dict(each.content.parts)
    return getattr(each.delivery, name)


def _check_dropped(
    outbox: Outbox[Any], example: dict[str, Any], shown: Callable[[Any], Any]
) -> None:
    assert [
        {"item": shown(each.item), "kind": each.kind, "reason": each.reason}
        for each in outbox.dropped
    ] == example.get("dropped", [])
    assert [{"item": shown(each.item), "reason": each.reason} for each in outbox.died] == (
        example.get("dead", [])
    )


def _check_branch(step: Any, example: dict[str, Any]) -> None:
    arms, dead = [], []
    for data in example["in"]:
        try:
            arms.append(list(step.arms(item(data))))
        except EvaluationError:
            dead.append({"item": data, "reason": "expression"})
    assert arms == example["arms"]
    assert dead == example.get("dead", [])


class _Down:
    """The ports of a keyed step."""

    def __init__(self) -> None:
        self.now = 0
        self.out: list[Item] = []
        self.dropped: list[dict[str, Any]] = []
        self.dead_: list[str] = []

    def down(self, passed: Item) -> None:
        self.out.append(passed)

    def drop(self, let_go: Item, kind: Kind, reason: str, detail: str = "") -> None:
        self.dropped.append(
            {"at": self.now, "members": list(let_go.covers()), "kind": str(kind), "reason": reason}
        )

    def dead(self, broken: Item, reason: str, error: BaseException | str) -> None:
        self.dead_.append(reason)

    def wake(self, at: int) -> None:
        """The driver asks ``horizon`` before every event, so it needs no calls."""


def _check_keyed(step: Any, example: dict[str, Any]) -> None:
    out, state = _Down(), None
    who = Who("default", "ana", "tidings.f", 0)
    end = NOW + parse_duration("10w")
    events = [(NOW + parse_duration(each["at"]), each) for each in example["in"]]
    for number, (at, event) in enumerate([*events, (end, None)]):
        while state is not None and 0 < (due := step.horizon(state).act_at) <= at:
            out.now = due
            state = step.on_time(state, who, due, out)
        if event is not None and "signal" in event:
            out.now = at
            signal = Signal(wait_id(event["of"], ""), event["signal"], event["round"] - 1)
            state = step.on_signal(state, signal, who, at, out)
        elif event is not None:
            out.now = at
            one = item(event["data"], number, event_id=event["id"], time=at, recipient_id="ana")
            state = step.on_item(state, one, at, out)

    seen = [
        {
            "at": each.time,
            "members": list(each.covers()),
            "data": each.data,
            "channel": each.channel,
        }
        for each in out.out
    ]
    _check_some(seen, example.get("out", []))
    _check_some(out.dropped, example.get("dropped", []))
    assert out.dead_ == [each["reason"] for each in example.get("dead", [])]


def _check_some(seen: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """The fields that are expected, of as many as came; of ``data`` those that are named."""
    assert len(seen) == len(expected)
    for each, wanted in zip(seen, expected, strict=True):
        for name, value in wanted.items():
            if name == "at":
                assert each["at"] == NOW + parse_duration(value)
            elif name == "data":
                assert {key: each["data"].get(key) for key in value} == value
            else:
                assert each[name] == value


def _ports(example: dict[str, Any]) -> Any:
    people = {
        name: msgspec.convert(fields, Profile) for name, fields in example.get("people", {}).items()
    }
    return ports(
        people,
        msgspec.convert(example.get("suppressions", []), list[Suppression]),
        msgspec.convert(
            [{"version": "v1", **each} for each in example.get("templates", [])], list[Template]
        ),
    )
