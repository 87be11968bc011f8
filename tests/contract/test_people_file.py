"""What only the file-backed People has: files that change, other processes, mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.contract.people_known import (
    ANA,
    BOB,
    LINES,
    MAIL,
    NOW,
    PHONE,
    TABLET,
    TOKENS,
    a_device,
    devices,
    write,
)
from tidings.ports import A_DAY, Address, Person, Profile, Success
from tidings.stores.clock import ManualClock
from tidings.stores.people import FilePeople


def test_a_removal_is_durable(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    FilePeople(tmp_path, ManualClock(NOW)).remove_address(ANA, "email", MAIL.value, "bounced")
    (ana,) = FilePeople(tmp_path, ManualClock(NOW)).profiles([ANA])
    assert ana is not None
    assert ana.addresses == (PHONE, TABLET)


def test_another_process_sees_a_removal_within_a_second(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    clock = ManualClock(NOW)
    one, other = FilePeople(tmp_path, clock), FilePeople(tmp_path, clock)
    one.remove_address(ANA, "email", MAIL.value, "bounced")
    clock.advance(1_000)
    (ana,) = other.profiles([ANA])
    assert ana is not None
    assert ana.addresses == (PHONE, TABLET)


def test_the_journal_may_be_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    journal = tmp_path / "data" / "people.journal.jsonl"
    people = FilePeople(tmp_path, ManualClock(NOW), journal)
    people.remove_address(ANA, "email", MAIL.value, "bounced")
    assert [path.name for path in tmp_path.iterdir()].count("people.journal.jsonl") == 0
    (ana,) = FilePeople(tmp_path, ManualClock(NOW), journal).profiles([ANA])
    assert ana is not None
    assert ana.addresses == (PHONE, TABLET)


def test_a_removal_outlives_a_change_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    clock = ManualClock(NOW)
    people = FilePeople(tmp_path, clock)
    people.remove_address(ANA, "email", MAIL.value, "bounced")
    write(tmp_path, *LINES, {"recipient_id": "zoe"})
    clock.advance(1_000)
    ana, zoe = people.profiles([ANA, Person("default", "zoe")])
    assert zoe == Profile()
    assert ana is not None
    assert ana.addresses == (PHONE, TABLET)


def test_an_address_that_registered_anew_is_back(tmp_path: Path) -> None:
    device = {"kind": "device", "value": "tok-1", "registered_at": 1_000}
    write(tmp_path, {"recipient_id": "ana", "addresses": [device]})
    clock = ManualClock(NOW)
    people = FilePeople(tmp_path, clock)
    people.remove_address(ANA, "device", "tok-1", "Unregistered")
    write(tmp_path, {"recipient_id": "ana", "addresses": [device | {"registered_at": 2_000}]})
    clock.advance(1_000)
    (ana,) = people.profiles([ANA])
    assert ana is not None
    assert ana.addresses == (Address(kind="device", value="tok-1", registered_at=2_000),)


@pytest.mark.parametrize("how", ["written anew", "replaced", "appended to", "created"])
def test_a_change_is_seen_after_a_second_and_not_before(tmp_path: Path, how: str) -> None:
    before: list[Mapping[str, Any]] = [] if how == "created" else [{"recipient_id": "ana"}]
    after: Mapping[str, Any] = {"recipient_id": "ana", "locale": "fr"}
    if before:
        write(tmp_path, *before)
    clock = ManualClock(NOW)
    people = FilePeople(tmp_path, clock)
    changes: dict[str, Callable[[], object]] = {
        "written anew": lambda: write(tmp_path, after),
        "created": lambda: write(tmp_path, after),
        "replaced": lambda: write(_folder(tmp_path / "new"), after).replace(
            tmp_path / "people.jsonl"
        ),
        "appended to": lambda: write(tmp_path, *before, after),
    }
    changes[how]()
    clock.advance(999)
    assert people.profiles([ANA]) == [Profile() if before else None]
    clock.advance(1)
    assert people.profiles([ANA]) == [Profile(locale="fr")]


def test_whose_an_address_is_changes_with_the_file(tmp_path: Path) -> None:
    def phones(value: str) -> Mapping[str, Any]:
        return {"recipient_id": "ana", "addresses": [{"kind": "phone", "value": value}]}

    write(tmp_path, phones("+1"))
    clock = ManualClock(NOW)
    people = FilePeople(tmp_path, clock)
    assert people.find("phone", ["+1", "+22"]) == [(ANA,), ()]
    write(tmp_path, phones("+22"))
    clock.advance(1_000)
    assert people.find("phone", ["+1", "+22"]) == [(), (ANA,)]


def test_a_file_that_is_gone_holds_nobody(tmp_path: Path) -> None:
    path = write(tmp_path, *LINES)
    clock = ManualClock(NOW)
    people = FilePeople(tmp_path, clock)
    path.unlink()
    clock.advance(1_000)
    assert people.profiles([ANA]) == [None]


def test_comments_and_empty_lines_are_skipped(tmp_path: Path) -> None:
    write(tmp_path, "# who we know", "", '{"recipient_id":"ana","locale":"en"}')
    assert FilePeople(tmp_path, ManualClock()).profiles([ANA]) == [Profile(locale="en")]


def test_the_last_line_needs_no_newline(tmp_path: Path) -> None:
    (tmp_path / "people.jsonl").write_text('{"recipient_id":"ana","locale":"en"}')
    assert FilePeople(tmp_path, ManualClock()).profiles([ANA]) == [Profile(locale="en")]


def test_a_line_that_is_still_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    path.write_text('{"recipient_id":"ana"}\n{"recipient_id":"bob","loc')
    clock = ManualClock(NOW)
    with pytest.raises(ValueError, match=r"people\.jsonl:2"):
        FilePeople(tmp_path, clock)
    path.write_text('{"recipient_id":"ana"}\n')
    people = FilePeople(tmp_path, clock)
    with path.open("a") as file:
        file.write('{"recipient_id":"bob","loc')
        file.flush()
        clock.advance(1_000)
        assert people.profiles([BOB]) == [None]
        file.write('ale":"en"}\n')
    clock.advance(1_000)
    assert people.profiles([ANA, BOB]) == [Profile(), Profile(locale="en")]


def test_every_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    write(
        tmp_path,
        '{"recipient_id":"ana"}',
        '{"recipient_id":"bob","adresses":[]}',
        "not json",
        '{"locale":"en"}',
    )
    with pytest.raises(ValueError, match="people") as caught:
        FilePeople(tmp_path, ManualClock())
    first, second, third = str(caught.value).splitlines()
    assert "people.jsonl:2: " in first
    assert "adresses" in first
    assert "people.jsonl:3: " in second
    assert "people.jsonl:4: " in third
    assert "recipient_id" in third


def test_a_file_that_turns_wrong_changes_nothing_until_it_is_right(tmp_path: Path) -> None:
    write(tmp_path, {"recipient_id": "ana", "locale": "es"})
    clock = ManualClock(NOW)
    people = FilePeople(tmp_path, clock)
    write(tmp_path, {"recipient_id": "ana", "locale": "fr"}, "not json")
    clock.advance(1_000)
    assert people.profiles([ANA]) == [Profile(locale="es")]
    write(tmp_path, {"recipient_id": "ana", "locale": "fr"}, {"recipient_id": "bob"})
    clock.advance(1_000)
    assert people.profiles([ANA, BOB]) == [Profile(locale="fr"), Profile()]


def test_a_torn_line_in_the_journal_costs_only_itself(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    (tmp_path / "people.journal.jsonl").write_text('{"recipient_id":"ana","tena')
    people = FilePeople(tmp_path, ManualClock(NOW))
    people.remove_address(ANA, "email", MAIL.value, "bounced")
    (ana,) = FilePeople(tmp_path, ManualClock(NOW)).profiles([ANA])
    assert ana is not None
    assert ana.addresses == (PHONE, TABLET)


# ── Registrations and successes ───────────────────────────────────────────────────────────


def test_a_registration_outlives_a_change_of_the_file_that_knows_the_old_token(
    tmp_path: Path,
) -> None:
    write(tmp_path, *LINES)
    clock = ManualClock(NOW)
    people = FilePeople(tmp_path, clock)
    people.register(ANA, a_device("tok-9", 5_000), replaces="tok-1")
    write(tmp_path, *LINES, {"recipient_id": "zoe"})
    clock.advance(1_000)
    for found in (people, FilePeople(tmp_path, clock)):
        assert devices(found) == [("tok-9", 5_000, 0), *TOKENS[1:]]


def test_a_token_that_is_removed_and_registers_again_is_back(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    people = FilePeople(tmp_path, ManualClock(NOW))
    people.remove_address(ANA, "device", "tok-1", "Unregistered")
    people.register(ANA, a_device("tok-1", 5_000))
    again = FilePeople(tmp_path, ManualClock(NOW))
    assert devices(again) == [*TOKENS[1:], ("tok-1", 5_000, 0)]


def test_the_journal_of_an_older_version_is_read(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    (tmp_path / "people.journal.jsonl").write_text(
        '{"recipient_id":"ana","tenant":"default","kind":"device","value":"tok-1",'
        '"registered_at":1000,"reason":"provider_says_gone","at":5}\n'
    )
    assert devices(FilePeople(tmp_path, ManualClock(NOW))) == TOKENS[1:]


def test_successes_are_durable_and_told_once_a_day_by_all_processes(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    one, other = (FilePeople(tmp_path, ManualClock(NOW)) for _ in range(2))
    one.note_successes([Success(ANA, "device", "tok-1", NOW)])
    other.note_successes([Success(ANA, "device", "tok-1", NOW + 1)])
    other.note_successes([Success(ANA, "device", "tok-2", NOW + 2)])
    assert devices(other)[:2] == [("tok-1", 1_000, NOW), ("tok-2", 0, NOW + 2)]
    kept = (tmp_path / "people.successes.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in kept] == [
        {"began": NOW},
        {"recipient_id": "ana", "kind": "device", "value": "tok-1", "at": NOW},
        {"recipient_id": "ana", "kind": "device", "value": "tok-2", "at": NOW + 2},
    ]


def test_successes_outlive_a_change_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    clock = ManualClock(NOW)
    people = FilePeople(tmp_path, clock)
    people.note_successes([Success(ANA, "device", "tok-1", NOW)])
    write(tmp_path, *LINES, {"recipient_id": "zoe"})
    clock.advance(1_000)
    assert people.profiles([Person("default", "zoe")]) == [Profile()]
    assert devices(people)[0] == ("tok-1", 1_000, NOW)


def test_silent_devices_are_pruned_for_all_processes(tmp_path: Path) -> None:
    """Of four: silent, heard, registered lately, and an address that is no device."""
    day = 100 * A_DAY
    addresses: list[dict[str, Any]] = [
        {"kind": "device", "value": "silent", "registered_at": 1_000},
        {"kind": "device", "value": "heard", "registered_at": 1_000},
        {"kind": "device", "value": "new", "registered_at": NOW + day - A_DAY},
        {"kind": "email", "value": "ana@example.com"},
    ]
    write(tmp_path, {"recipient_id": "ana", "addresses": addresses})
    clock = ManualClock(NOW + day)
    people = FilePeople(tmp_path, clock)
    people.note_successes([Success(ANA, "device", "silent", NOW)])
    people.note_successes([Success(ANA, "device", "heard", NOW + 20 * A_DAY)])
    people.note_successes([Success(ANA, "device", "heard", NOW + 30 * A_DAY)])
    before = NOW + 10 * A_DAY
    assert [(who, one.value) for who, one in people.silent(before)] == [(ANA, "silent")]
    assert people.prune(before) == 1
    other = FilePeople(tmp_path, clock)
    assert [one for one, _, _ in devices(other)] == ["heard", "new", "ana@example.com"]
    assert people.prune(before) == 0
    kept = (tmp_path / "people.successes.jsonl").read_text().splitlines()
    assert [json.loads(line).get("at") for line in kept] == [None, NOW + 30 * A_DAY]


def test_nobody_is_silent_before_anybody_has_listened_for_so_long(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    people = FilePeople(tmp_path, ManualClock(NOW))
    assert people.prune(NOW) == 0, "no success was ever kept"
    people.note_successes([Success(ANA, "device", "tok-1", NOW)])
    assert people.prune(NOW) == 0
    assert [one.value for _, one in people.silent(NOW + 1)] == ["tok-1", "tok-2"]


def test_a_device_that_was_pruned_and_registers_again_is_back(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    people = FilePeople(tmp_path, ManualClock(NOW))
    for at in (NOW, NOW + A_DAY):
        people.note_successes([Success(ANA, "device", "tok-1", at)])
    assert people.prune(NOW + 1) == 1
    people.register(ANA, a_device("tok-2", NOW + 2))
    assert [one for one, _, _ in devices(people)] == ["tok-1", MAIL.value, "tok-2"]


def test_successes_added_by_a_process_after_another_compacted_them_are_seen(tmp_path: Path) -> None:
    write(tmp_path, *LINES)
    one, other = (FilePeople(tmp_path, ManualClock(NOW)) for _ in range(2))
    one.note_successes([Success(ANA, "device", "tok-1", NOW)])
    other.note_successes([])
    one.prune(NOW)
    other.note_successes([Success(ANA, "device", "tok-2", NOW)])
    one.note_successes([])
    assert devices(one)[:2] == [("tok-1", 1_000, NOW), ("tok-2", 0, NOW)]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
