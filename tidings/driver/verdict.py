"""What was expected against what came: exact, step by step; an output nobody expected is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from tidings.contract import Spec
from tidings.driver.cases import WHATS, Expected
from tidings.driver.outputs import Output
from tidings.durations import format_duration

_PARTLY = ("data", "parts")  # maps of which only the named fields are compared
Shown = dict[str, Any]


class Mismatch(msgspec.Struct, frozen=True):
    """Something wrong at a step: ``expected`` is missing (``got`` is None), ``got`` was not
    expected (``expected`` is None), or the two differ in the fields of ``differing``.

    ``unused`` is something that was given in vain, and then ``step`` is where.
    """

    step: str
    expected: Shown | None
    got: Shown | None
    differing: Sequence[str] = ()
    unused: Shown | UnsetType = UNSET


def unused(where: str, given: Iterable[Spec]) -> Iterator[Mismatch]:
    """What no send came to: a test that would pass without it shows something else than it says."""
    for one in given:
        said = one.model_dump(mode="json", exclude_unset=True)
        yield Mismatch(where, None, None, unused=said)


def compare(
    expected: Mapping[str, Sequence[Expected]], outputs: Iterable[Output], start: int
) -> list[Mismatch]:
    """Everything in which they differ, by step in the order of the file, then of time."""
    by_step: dict[str, list[Output]] = {step: [] for step in expected}
    for output in outputs:
        by_step.setdefault(output.step, []).append(output)
    found: list[Mismatch] = []
    for step, came in by_step.items():
        found += _compare_step(step, expected.get(step, ()), came, start)
    return found


def _compare_step(
    step: str, expected: Sequence[Expected], came: list[Output], start: int
) -> list[Mismatch]:
    wanted = [_wanted(each) for each in expected]
    missing: list[Shown] = []
    rest = list(came)
    for want in wanted:
        match = next((one for one in rest if not _differing(want, one, start)), None)
        if match is None:
            missing.append(want)
        else:
            rest.remove(match)
    found: list[Mismatch] = []
    for want in missing:
        # The one that is most alike is what was meant, if anything but its kind is the same.
        ranked = sorted(rest, key=lambda one: len(_differing(want, one, start)))
        if ranked and len(differing := _differing(want, ranked[0], start)) < len(want):
            rest.remove(ranked[0])
            found.append(Mismatch(step, want, _shown(ranked[0], want, start), differing))
        else:
            found.append(Mismatch(step, want, None))
    found += [Mismatch(step, None, _shown(one, {}, start)) for one in rest]
    return found


def _wanted(expected: Expected) -> Shown:
    """What is said of an expected output, by name; times as durations."""
    what = expected.what()
    said: Shown = {"at": format_duration(expected.at)}
    if expected.to is not None:
        said["to"] = expected.to
    said[what] = getattr(expected, what)
    for name in expected.model_fields_set - {"at", "to", *WHATS}:
        value = getattr(expected, name)
        if value is not None:
            said[name] = _plain(name, value)
    order = list(type(expected).model_fields)
    return dict(
        sorted(said.items(), key=lambda each: (each[0] not in ("at", "to"), order.index(each[0])))
    )


def _came(output: Output, start: int) -> Shown:
    """All that is known of an output, in the form of ``_wanted``."""
    said: Shown = {"at": _since(output.at, start), "to": output.to, output.what: output.name}
    for name, value in output.fields.items():
        said[name] = _since(value, start) if name == "expires" else _plain(name, value)
    return said


def _differing(wanted: Shown, output: Output, start: int) -> list[str]:
    """The fields of ``wanted`` that the output does not have as wanted."""
    came = _came(output, start)
    names: list[str] = []
    for name, value in wanted.items():
        if name in _PARTLY:
            held = came.get(name) or {}
            names += [f"{name}.{key}" for key, each in value.items() if _lacks(held, key, each)]
        elif name not in came or came[name] != value:
            names.append(name)
    return names


def _lacks(held: Mapping[str, Any], key: str, value: Any) -> bool:
    return key not in held or held[key] != value or type(held[key]) is not type(value)


def _shown(output: Output, wanted: Shown, start: int) -> Shown:
    """The output with the fields that ``wanted`` speaks of, or those that tell what it is."""
    came = _came(output, start)
    names = {"at", "to", output.what} | set(wanted)
    shown = {name: value for name, value in came.items() if name in names and value != ""}
    for name in _PARTLY:
        if name in wanted and name in shown:
            shown[name] = {key: shown[name][key] for key in wanted[name] if key in shown[name]}
    return shown


def _plain(name: str, value: Any) -> Any:
    if name == "expires":
        return format_duration(value)
    return list(value) if isinstance(value, tuple) else msgspec.to_builtins(value)


def _since(at: int, start: int) -> str:
    if not at:
        return "never"
    return format_duration(at - start) if at >= start else f"-{format_duration(start - at)}"
