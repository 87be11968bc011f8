"""What every People adapter must answer: the file, the function."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.people_known import (
    ANA,
    BOB,
    CY,
    LINES,
    MAIL,
    NOW,
    PROFILES,
    TABLET,
    TOKENS,
    a_device,
    devices,
    write,
)
from tidings.ports import A_DAY, People, Person, Success
from tidings.stores.clock import ManualClock
from tidings.stores.people import FilePeople
from tidings.stores.people_made import FunctionPeople


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
