"""What units stand on, and the providers' senders, from the settings."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.peers.provider import Provider, Say
from tidings.holder import this_process
from tidings.ports import Io, Person, Query, Row, Unavailable
from tidings.problems import ValueProblem
from tidings.providers import sender_of
from tidings.running.ground import GroundError, open_ground
from tidings.services.process import wait_for
from tidings.settings import Settings, read_settings, settings_file
from tidings.stores.claims_sheltered import ShelteredClaims
from tidings.stores.clock import ManualClock


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The shipped settings, seen from an empty folder, with a data folder of their own."""
    monkeypatch.chdir(tmp_path)
    for name in ("TIDINGS_LOG", "TIDINGS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIDINGS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TIDINGS_CLAIMS", f"sqlite:{tmp_path}/data/claims.db")
    return read_settings(None)


def test_what_is_shipped_is_found_from_any_folder(settings: Settings) -> None:
    with open_ground(settings) as ground:
        [ana] = ground.io.people.profiles([Person("default", "ana")])
        assert ana is not None
        assert ana.locale == "es-AR"
        assert "social_digest" in ground.io.templates.ids()


def test_a_folder_here_goes_before_what_is_shipped(settings: Settings, tmp_path: Path) -> None:
    people = tmp_path / "config" / "people"
    people.mkdir(parents=True)
    (people / "people.jsonl").write_text('{"recipient_id": "zed"}\n')
    with open_ground(settings) as ground:
        persons = [Person("default", "ana"), Person("default", "zed")]
        assert [found is None for found in ground.io.people.profiles(persons)] == [True, False]


def test_addresses_that_die_are_noted_in_the_data_folder(
    settings: Settings, tmp_path: Path
) -> None:
    with open_ground(settings) as ground:
        person = Person("default", "bob")
        assert ground.io.people.remove_address(person, "email", "bob@example.com", "bounced")
    assert "bob@example.com" in (tmp_path / "data" / "people.journal.jsonl").read_text()


def test_the_high_class_has_sheltered_claims(settings: Settings) -> None:
    for sheltered in (True, False):
        with open_ground(settings, sheltered=sheltered) as ground:
            assert isinstance(ground.io.claims, ShelteredClaims) is sheltered


def test_its_leases_are_held_in_the_name_of_this_process(settings: Settings) -> None:
    with open_ground(settings) as ground:
        assert ground.holder == this_process()


def test_an_address_of_another_form_is_refused_with_the_form(settings: Settings) -> None:
    wrong = settings.model_copy(update={"suppressions": "ftp:somewhere"})
    with pytest.raises(GroundError, match="write file:FOLDER"), open_ground(wrong):
        pass


def test_the_settings_file_is_the_one_named_else_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings_file(None, {}) is None
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "tidings.yaml").touch()
    assert settings_file(None, {}) == Path("config/tidings.yaml")
    assert settings_file(None, {"TIDINGS_CONFIG": "b.yaml"}) == Path("b.yaml")
    assert settings_file(Path("a.yaml"), {"TIDINGS_CONFIG": "b.yaml"}) == Path("a.yaml")


def test_lookups_ask_the_systems_that_the_settings_name(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database and a service, opened as a process opens them, secrets included."""
    with closing(sqlite3.connect(tmp_path / "crm.db")) as database:
        database.execute("create table customers (id text, plan text)")
        database.execute("insert into customers values ('ana', 'gold')")
        database.commit()
    monkeypatch.setenv("SHOP_KEY", "open sesame")
    with Provider(lambda got: Say(200, b'{"ana": {"id": "ana", "size": 43}}')) as service:
        connections = {
            "crm": {"url": f"sqlite:///{tmp_path}/crm.db"},
            "shop": {"url": service.url, "headers": {"x-key": "env:SHOP_KEY"}},
        }
        given = Settings.model_validate(
            {**settings.model_dump(exclude={"connections"}), "connections": connections}
        )
        with open_ground(given) as ground:
            text = "select id, plan from customers where id in :keys"
            crm = Query("crm", text, "id", 5_000, 60_000)
            shop = Query("shop", "/sizes", "id", 5_000, 60_000)
            found = [answered(ground.io, query, ["ana", "bob"]) for query in (crm, shop)]
    assert found == [
        [{"id": "ana", "plan": "gold"}, None],
        [{"id": "ana", "size": 43}, None],
    ]
    [got] = service.got
    assert (got.headers["x-key"], json.loads(got.body)) == ("open sesame", {"keys": ["ana", "bob"]})


def answered(io: Io, query: Query, keys: list[str]) -> list[Row | None]:
    """The rows, when the answer is there."""
    found: list[list[Row | None]] = []

    def there() -> bool:
        with suppress(Unavailable):
            found.append(io.lookups.rows(query, keys))
        return bool(found)

    wait_for(there, timeout=30.0, what=query.connection)
    return found[0]


def test_a_sender_is_made_of_its_providers_settings(tmp_path: Path) -> None:
    providers = {"box": {"kind": "sandbox", "file": str(tmp_path / "got.jsonl")}}
    assert sender_of("box", providers, ManualClock()).name == "sandbox"


@pytest.mark.parametrize(
    ("name", "given", "code", "hint"),
    [
        ("sandbx", {"kind": "sandbox"}, "unknown-provider", "did you mean `sandbox`?"),
        ("sandbox", {"kind": "sandbocks"}, "unknown-kind", "did you mean `sandbox`?"),
        ("sandbox", {}, "unknown-kind", None),
    ],
)
def test_a_provider_that_there_is_not_is_said_so(
    name: str, given: dict[str, str], code: str, hint: str | None
) -> None:
    with pytest.raises(ValueProblem) as caught:
        sender_of(name, {"sandbox": given}, ManualClock())
    assert (caught.value.code, caught.value.hint) == (code, hint)
