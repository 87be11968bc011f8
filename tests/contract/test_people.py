"""What every People adapter must answer: the file, the function."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tidings.ports import A_DAY, Address, People, Person, Profile, Success
from tidings.stores.clock import ManualClock
from tidings.stores.people import FilePeople, FunctionPeople

ANA, BOB, CY = Person("default", "ana"), Person("default", "bob"), Person("acme", "ana")
NOW = 1_760_000_000_000

PHONE = Address(kind="device", value="tok-1", platform="ios", app="shop", registered_at=1_000)
TABLET = Address(kind="device", value="tok-2", platform="android", zone="Asia/Tokyo", quiet="none")
MAIL = Address(kind="email", value="ana@example.com")
PROFILES = {
    ANA: Profile(
        locale="es-AR",
        zone="America/Argentina/Buenos_Aires",
        addresses=(PHONE, TABLET, MAIL),
        channels={"sms": False},
        categories={"promo": False},
        pairs={"social/email": True},
        types={"like": False},
        muted={"actor_id": frozenset({"bob", "7"})},
        quiet="21:00-07:30",
    ),
    BOB: Profile(erased=True),
    CY: Profile(locale="en"),
}
LINES: list[Mapping[str, Any]] = [
    {
        "recipient_id": "ana",
        "locale": "es-AR",
        "zone": "America/Argentina/Buenos_Aires",
        "addresses": [
            {
                "kind": "device",
                "value": "tok-1",
                "platform": "ios",
                "app": "shop",
                "registered_at": 1_000,
            },
            {
                "kind": "device",
                "value": "tok-2",
                "platform": "android",
                "zone": "Asia/Tokyo",
                "quiet": "none",
            },
            {"kind": "email", "value": "ana@example.com"},
        ],
        "channels": {"sms": False},
        "categories": {"promo": False},
        "pairs": {"social/email": True},
        "types": {"like": False},
        "muted": {"actor_id": ["bob", "7"]},
        "quiet": "21:00-07:30",
    },
    {"recipient_id": "bob", "erased": True},
    {"recipient_id": "ana", "tenant": "acme", "locale": "en"},
]


def write(folder: Path, *lines: Mapping[str, Any] | str) -> Path:
    path = folder / "people.jsonl"
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{line}\n" for line in text))
    return path


@pytest.fixture(params=["file", "function"])
def people(request: pytest.FixtureRequest, tmp_path: Path) -> People:
    if request.param == "function":
        return FunctionPeople(PROFILES.get, PROFILES)
    write(tmp_path, *LINES)
    return FilePeople(tmp_path, ManualClock(NOW))


def test_profiles_come_in_the_order_asked(people: People) -> None:
    assert people.profiles([CY, ANA, BOB, ANA]) == [
        PROFILES[CY],
        PROFILES[ANA],
        PROFILES[BOB],
        PROFILES[ANA],
    ]


def test_a_person_nobody_knows_is_none(people: People) -> None:
    assert people.profiles([Person("acme", "bob"), Person("default", "")]) == [None, None]


def test_nobody_asked_is_nobody_answered(people: People) -> None:
    assert people.profiles([]) == []


def test_removing_an_address_leaves_the_others(people: People) -> None:
    assert people.remove_address(ANA, "device", "tok-1", "Unregistered")
    (ana,) = people.profiles([ANA])
    assert ana is not None
    assert ana.addresses == (TABLET, MAIL)
    assert ana.locale == "es-AR"


@pytest.mark.parametrize(
    ("person", "kind", "value"),
    [
        pytest.param(ANA, "device", "tok-9", id="another token"),
        pytest.param(ANA, "email", "tok-1", id="another kind"),
        pytest.param(CY, "device", "tok-1", id="another tenant's"),
        pytest.param(Person("default", "zoe"), "device", "tok-1", id="nobody"),
    ],
)
def test_an_address_that_is_not_there_is_not_removed(
    people: People, person: Person, kind: str, value: str
) -> None:
    assert not people.remove_address(person, kind, value, "Unregistered")
    assert people.profiles([ANA, BOB, CY]) == [PROFILES[ANA], PROFILES[BOB], PROFILES[CY]]


def test_a_second_removal_finds_nothing(people: People) -> None:
    people.remove_address(ANA, "device", "tok-1", "Unregistered")
    assert not people.remove_address(ANA, "device", "tok-1", "Unregistered")


# ── Whose an address is ───────────────────────────────────────────────────────────────────────


def test_whose_an_address_is_comes_in_the_order_asked(people: People) -> None:
    assert people.find("device", ["tok-2", "tok-9", "tok-1"]) == [(ANA,), (), (ANA,)]
    assert people.find("email", [MAIL.value, "tok-1"]) == [(ANA,), ()]
    assert people.find("phone", []) == []


def test_an_address_may_be_several_peoples_and_is_nobodys_who_is_erased(people: People) -> None:
    assert people.find("device", ["shared"]) == [()]
    for who in (ANA, BOB, CY):
        people.register(who, a_device("shared", 5_000))
    [found] = people.find("device", ["shared"])
    assert sorted(found) == [CY, ANA]


def test_an_address_that_went_or_came_is_found_so(people: People) -> None:
    assert people.find("device", ["tok-1", "tok-9"]) == [(ANA,), ()]
    people.register(ANA, a_device("tok-9", 5_000), replaces="tok-1")
    assert people.find("device", ["tok-1", "tok-9"]) == [(), (ANA,)]
    people.remove_address(ANA, "device", "tok-9", "Unregistered")
    assert people.find("device", ["tok-1", "tok-9"]) == [(), ()]


# ── Registrations, and successes ──────────────────────────────────────────────────────────────


def devices(people: People) -> list[tuple[str, int, int]]:
    """Of Ana's addresses the value, when it registered, and its last success."""
    (ana,) = people.profiles([ANA])
    assert ana is not None
    return [(one.value, one.registered_at, one.last_success_at) for one in ana.addresses]


TOKENS = [("tok-1", 1_000, 0), ("tok-2", 0, 0), (MAIL.value, 0, 0)]


def a_device(value: str, registered_at: int) -> Address:
    return Address(kind="device", value=value, platform="ios", registered_at=registered_at)


def test_a_new_token_takes_the_place_of_the_one_that_it_replaces(people: People) -> None:
    assert people.register(ANA, a_device("tok-9", 5_000), replaces="tok-1")
    assert devices(people) == [("tok-9", 5_000, 0), *TOKENS[1:]]


def test_a_new_token_that_replaces_none_comes_last(people: People) -> None:
    assert people.register(ANA, a_device("tok-9", 5_000))
    assert people.register(ANA, a_device("tok-8", 6_000), replaces="unknown")
    assert devices(people) == [*TOKENS, ("tok-9", 5_000, 0), ("tok-8", 6_000, 0)]


def test_a_device_that_registers_again_keeps_its_place_and_its_successes(people: People) -> None:
    people.note_successes([Success(ANA, "device", "tok-1", NOW)])
    assert people.register(ANA, a_device("tok-1", 5_000))
    assert devices(people) == [("tok-1", 5_000, NOW), *TOKENS[1:]]
    assert not people.register(ANA, a_device("tok-1", 5_000)), "told before"


def test_an_older_registration_changes_nothing(people: People) -> None:
    assert not people.register(ANA, a_device("tok-1", 500))
    assert devices(people) == TOKENS


def test_a_token_that_has_registered_since_is_not_replaced(people: People) -> None:
    assert people.register(ANA, a_device("tok-9", 500), replaces="tok-1")
    assert devices(people) == [*TOKENS, ("tok-9", 500, 0)]


def test_two_tokens_become_one_where_the_new_one_is_known(people: People) -> None:
    assert people.register(ANA, a_device("tok-2", 5_000), replaces="tok-1")
    assert devices(people) == [("tok-2", 5_000, 0), TOKENS[2]]


def test_nobody_registers_for_a_person_nobody_knows(people: People) -> None:
    assert not people.register(Person("default", "zoe"), a_device("tok-9", 5_000))
    assert people.profiles([Person("default", "zoe")]) == [None]


def test_the_last_success_is_kept_to_the_day(people: People) -> None:
    def note(at: int) -> None:
        people.note_successes([Success(ANA, "device", "tok-2", at)])

    note(NOW)
    assert devices(people) == [TOKENS[0], ("tok-2", 0, NOW), TOKENS[2]]
    note(NOW + A_DAY - 1)
    assert devices(people)[1] == ("tok-2", 0, NOW)
    note(NOW + A_DAY)
    assert devices(people)[1] == ("tok-2", 0, NOW + A_DAY)
    note(NOW)
    assert devices(people)[1] == ("tok-2", 0, NOW + A_DAY), "it never goes back"


@pytest.mark.parametrize(
    ("person", "kind", "value"),
    [(ANA, "device", "tok-9"), (ANA, "email", "tok-1"), (CY, "device", "tok-1")],
)
def test_a_success_of_an_address_that_is_not_there_is_passed_over(
    people: People, person: Person, kind: str, value: str
) -> None:
    people.note_successes([Success(person, kind, value, NOW)])
    assert people.profiles([ANA, BOB, CY]) == [PROFILES[ANA], PROFILES[BOB], PROFILES[CY]]


class TestFile:
    """What only the file-backed adapter has: files that change, other processes, mistakes."""

    def test_a_removal_is_durable(self, tmp_path: Path) -> None:
        write(tmp_path, *LINES)
        FilePeople(tmp_path, ManualClock(NOW)).remove_address(ANA, "email", MAIL.value, "bounced")
        (ana,) = FilePeople(tmp_path, ManualClock(NOW)).profiles([ANA])
        assert ana is not None
        assert ana.addresses == (PHONE, TABLET)

    def test_another_process_sees_a_removal_within_a_second(self, tmp_path: Path) -> None:
        write(tmp_path, *LINES)
        clock = ManualClock(NOW)
        one, other = FilePeople(tmp_path, clock), FilePeople(tmp_path, clock)
        one.remove_address(ANA, "email", MAIL.value, "bounced")
        clock.advance(1_000)
        (ana,) = other.profiles([ANA])
        assert ana is not None
        assert ana.addresses == (PHONE, TABLET)

    def test_the_journal_may_be_elsewhere(self, tmp_path: Path) -> None:
        write(tmp_path, *LINES)
        journal = tmp_path / "data" / "people.journal.jsonl"
        people = FilePeople(tmp_path, ManualClock(NOW), journal)
        people.remove_address(ANA, "email", MAIL.value, "bounced")
        assert [path.name for path in tmp_path.iterdir()].count("people.journal.jsonl") == 0
        (ana,) = FilePeople(tmp_path, ManualClock(NOW), journal).profiles([ANA])
        assert ana is not None
        assert ana.addresses == (PHONE, TABLET)

    def test_a_removal_outlives_a_change_of_the_file(self, tmp_path: Path) -> None:
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

    def test_an_address_that_registered_anew_is_back(self, tmp_path: Path) -> None:
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
    def test_a_change_is_seen_after_a_second_and_not_before(self, tmp_path: Path, how: str) -> None:
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

    def test_whose_an_address_is_changes_with_the_file(self, tmp_path: Path) -> None:
        def phones(value: str) -> Mapping[str, Any]:
            return {"recipient_id": "ana", "addresses": [{"kind": "phone", "value": value}]}

        write(tmp_path, phones("+1"))
        clock = ManualClock(NOW)
        people = FilePeople(tmp_path, clock)
        assert people.find("phone", ["+1", "+22"]) == [(ANA,), ()]
        write(tmp_path, phones("+22"))
        clock.advance(1_000)
        assert people.find("phone", ["+1", "+22"]) == [(), (ANA,)]

    def test_a_file_that_is_gone_holds_nobody(self, tmp_path: Path) -> None:
        path = write(tmp_path, *LINES)
        clock = ManualClock(NOW)
        people = FilePeople(tmp_path, clock)
        path.unlink()
        clock.advance(1_000)
        assert people.profiles([ANA]) == [None]

    def test_comments_and_empty_lines_are_skipped(self, tmp_path: Path) -> None:
        write(tmp_path, "# who we know", "", '{"recipient_id":"ana","locale":"en"}')
        assert FilePeople(tmp_path, ManualClock()).profiles([ANA]) == [Profile(locale="en")]

    def test_the_last_line_needs_no_newline(self, tmp_path: Path) -> None:
        (tmp_path / "people.jsonl").write_text('{"recipient_id":"ana","locale":"en"}')
        assert FilePeople(tmp_path, ManualClock()).profiles([ANA]) == [Profile(locale="en")]

    def test_a_line_that_is_still_being_written_is_read_when_it_is_whole(
        self, tmp_path: Path
    ) -> None:
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

    def test_every_mistake_is_named_with_its_line(self, tmp_path: Path) -> None:
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

    def test_a_file_that_turns_wrong_changes_nothing_until_it_is_right(
        self, tmp_path: Path
    ) -> None:
        write(tmp_path, {"recipient_id": "ana", "locale": "es"})
        clock = ManualClock(NOW)
        people = FilePeople(tmp_path, clock)
        write(tmp_path, {"recipient_id": "ana", "locale": "fr"}, "not json")
        clock.advance(1_000)
        assert people.profiles([ANA]) == [Profile(locale="es")]
        write(tmp_path, {"recipient_id": "ana", "locale": "fr"}, {"recipient_id": "bob"})
        clock.advance(1_000)
        assert people.profiles([ANA, BOB]) == [Profile(locale="fr"), Profile()]

    def test_a_torn_line_in_the_journal_costs_only_itself(self, tmp_path: Path) -> None:
        write(tmp_path, *LINES)
        (tmp_path / "people.journal.jsonl").write_text('{"recipient_id":"ana","tena')
        people = FilePeople(tmp_path, ManualClock(NOW))
        people.remove_address(ANA, "email", MAIL.value, "bounced")
        (ana,) = FilePeople(tmp_path, ManualClock(NOW)).profiles([ANA])
        assert ana is not None
        assert ana.addresses == (PHONE, TABLET)

    # ── Registrations and successes ───────────────────────────────────────────────────────────

    def test_a_registration_outlives_a_change_of_the_file_that_knows_the_old_token(
        self, tmp_path: Path
    ) -> None:
        write(tmp_path, *LINES)
        clock = ManualClock(NOW)
        people = FilePeople(tmp_path, clock)
        people.register(ANA, a_device("tok-9", 5_000), replaces="tok-1")
        write(tmp_path, *LINES, {"recipient_id": "zoe"})
        clock.advance(1_000)
        for found in (people, FilePeople(tmp_path, clock)):
            assert devices(found) == [("tok-9", 5_000, 0), *TOKENS[1:]]

    def test_a_token_that_is_removed_and_registers_again_is_back(self, tmp_path: Path) -> None:
        write(tmp_path, *LINES)
        people = FilePeople(tmp_path, ManualClock(NOW))
        people.remove_address(ANA, "device", "tok-1", "Unregistered")
        people.register(ANA, a_device("tok-1", 5_000))
        again = FilePeople(tmp_path, ManualClock(NOW))
        assert devices(again) == [*TOKENS[1:], ("tok-1", 5_000, 0)]

    def test_the_journal_of_an_older_version_is_read(self, tmp_path: Path) -> None:
        write(tmp_path, *LINES)
        (tmp_path / "people.journal.jsonl").write_text(
            '{"recipient_id":"ana","tenant":"default","kind":"device","value":"tok-1",'
            '"registered_at":1000,"reason":"provider_says_gone","at":5}\n'
        )
        assert devices(FilePeople(tmp_path, ManualClock(NOW))) == TOKENS[1:]

    def test_successes_are_durable_and_told_once_a_day_by_all_processes(
        self, tmp_path: Path
    ) -> None:
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

    def test_successes_outlive_a_change_of_the_file(self, tmp_path: Path) -> None:
        write(tmp_path, *LINES)
        clock = ManualClock(NOW)
        people = FilePeople(tmp_path, clock)
        people.note_successes([Success(ANA, "device", "tok-1", NOW)])
        write(tmp_path, *LINES, {"recipient_id": "zoe"})
        clock.advance(1_000)
        assert people.profiles([Person("default", "zoe")]) == [Profile()]
        assert devices(people)[0] == ("tok-1", 1_000, NOW)

    def test_silent_devices_are_pruned_for_all_processes(self, tmp_path: Path) -> None:
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

    def test_nobody_is_silent_before_anybody_has_listened_for_so_long(self, tmp_path: Path) -> None:
        write(tmp_path, *LINES)
        people = FilePeople(tmp_path, ManualClock(NOW))
        assert people.prune(NOW) == 0, "no success was ever kept"
        people.note_successes([Success(ANA, "device", "tok-1", NOW)])
        assert people.prune(NOW) == 0
        assert [one.value for _, one in people.silent(NOW + 1)] == ["tok-1", "tok-2"]

    def test_a_device_that_was_pruned_and_registers_again_is_back(self, tmp_path: Path) -> None:
        write(tmp_path, *LINES)
        people = FilePeople(tmp_path, ManualClock(NOW))
        for at in (NOW, NOW + A_DAY):
            people.note_successes([Success(ANA, "device", "tok-1", at)])
        assert people.prune(NOW + 1) == 1
        people.register(ANA, a_device("tok-2", NOW + 2))
        assert [one for one, _, _ in devices(people)] == ["tok-1", MAIL.value, "tok-2"]

    def test_successes_added_by_a_process_after_another_compacted_them_are_seen(
        self, tmp_path: Path
    ) -> None:
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
