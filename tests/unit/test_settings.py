"""What ``config/tidings.yaml`` may say, held by a golden file: a change there is a migration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tidings.problems import ProblemsError
from tidings.settings import Settings, load_settings

GOLDEN = Path(__file__).parents[1] / "golden" / "settings.json"


def test_the_schema_is_that_of_the_golden_file() -> None:
    assert Settings.model_json_schema() == json.loads(GOLDEN.read_text())


def test_the_shipped_settings_are_usable() -> None:
    settings = load_settings(None, env={})

    assert settings.category_table()["codes"].critical
    assert set(settings.types.values()) <= set(settings.categories)


def test_the_environment_outranks_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tidings.yaml"
    file.write_text("log: sqlite:here\n")

    assert load_settings(file, env={}).log == "sqlite:here"
    assert load_settings(file, env={"TIDINGS_LOG": "kafka:there:9092"}).log == "kafka:there:9092"


def test_a_tenant_reaches_the_steps_as_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "tidings.yaml"
    file.write_text("tenants: {acme: {off: [sms], categories: {social: no}}}\n")

    tenant = load_settings(file, env={}).tenant_table()["acme"]

    assert tenant.off == {"sms"}
    assert tenant.categories == {"social": False}


def test_a_tenants_zone_and_quiet_hours_reach_the_steps_as_text(tmp_path: Path) -> None:
    file = tmp_path / "tidings.yaml"
    file.write_text("tenants: {acme: {zone: Africa/Accra, quiet: 9:00-17:00}, other: {}}\n")

    tenants = load_settings(file, env={}).tenant_table()

    assert (tenants["acme"].zone, tenants["acme"].quiet) == ("Africa/Accra", "09:00-17:00")
    assert (tenants["other"].zone, tenants["other"].quiet) == ("", "")


@pytest.mark.parametrize(
    ("tenant", "message"),
    [
        ("{zone: Africa/Wakanda}", "there is no time zone `Africa/Wakanda`"),
        ("{quiet: at night}", "`at night` are no hours of the day"),
    ],
)
def test_a_tenants_zone_and_hours_that_are_none_are_refused(
    tmp_path: Path, tenant: str, message: str
) -> None:
    file = tmp_path / "tidings.yaml"
    file.write_text(f"tenants: {{acme: {tenant}}}\n")

    with pytest.raises(ProblemsError) as raised:
        load_settings(file, env={})

    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("payloads", "message"),
    [
        ("{url: 'https://p.example.com'}", "`payloads` needs `key` as well"),
        ("{key: env:KEY}", "`payloads` needs `url` as well"),
        ("{url: p.example.com, key: env:KEY}", "url"),
    ],
)
def test_payloads_need_an_address_and_a_key(tmp_path: Path, payloads: str, message: str) -> None:
    file = tmp_path / "tidings.yaml"
    file.write_text(f"payloads: {payloads}\n")

    with pytest.raises(ProblemsError) as raised:
        load_settings(file, env={})

    assert message in str(raised.value)


def test_a_mistake_is_shown_in_its_place(tmp_path: Path) -> None:
    file = tmp_path / "tidings.yaml"
    file.write_text("topics: {entries_partitons: 4}\n")

    with pytest.raises(ProblemsError) as raised:
        load_settings(file, env={})

    assert f"{file}:1:10  error[unknown-field]  tidings.topics" in str(raised.value)
    assert "entries_partitions" in str(raised.value)
