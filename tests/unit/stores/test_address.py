"""The stores by their addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidings.ports import (
    Count,
    Io,
    Lease,
    Leased,
    Payload,
    Person,
    Profile,
    Unavailable,
    Verdict,
)
from tidings.services.valkey import Valkey as Server
from tidings.stores.address import Fetching, open_io
from tidings.stores.clock import ManualClock

NOW = 1_760_000_000_000


def ask_everything(io: Io) -> None:
    """Asks each port something; all but the profile are asked in an empty world."""
    assert io.people.profiles([Person("default", "ana")]) == [Profile(locale="es")]
    assert io.suppressions.check([], NOW) == []
    template = io.templates.find("otp", "sms", "fr")
    assert template is not None
    assert template.locale == "es"
    assert io.claims.first([("event-1", "o1")], 1_000) == ["o1"]
    assert io.claims.round([Lease("s1", "o1", "lane-a")], [], [], [], NOW, 1_000, 1_000) == [
        Leased(Verdict.LEASED)
    ]
    assert io.caps.count([Count("ana", "n1", 1, 60_000)] * 2, NOW) == [True, True]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "people.jsonl").write_text('{"recipient_id":"ana","locale":"es"}\n')
    (tmp_path / "otp").mkdir()
    (tmp_path / "otp" / "sms.es.j2").write_text("--- body\n{{ code }}\n")
    return tmp_path


@pytest.mark.parametrize("sheltered", [False, True])
def test_files_and_sqlite(folder: Path, sheltered: bool) -> None:
    with open_io(
        people=f"file:{folder}",
        suppressions=f"file:{folder / 'list'}",
        templates=str(folder),
        claims=f"sqlite:{folder / 'data' / 'claims.db'}",
        default_locale="es",
        sheltered=sheltered,
        clock=ManualClock(NOW),
    ) as io:
        ask_everything(io)


def test_removed_addresses_may_be_kept_elsewhere(folder: Path) -> None:
    (folder / "people.jsonl").write_text(
        '{"recipient_id":"ana","addresses":[{"kind":"phone","value":"+34600000000"}]}'
    )
    with open_io(
        people=f"file:{folder}?journal={folder / 'data' / 'removed.jsonl'}",
        suppressions=f"file:{folder}",
        templates=str(folder),
        claims=f"sqlite:{folder / 'claims.db'}",
    ) as io:
        assert io.people.remove_address(Person("default", "ana"), "phone", "+34600000000", "21211")
    assert '"21211"' in (folder / "data" / "removed.jsonl").read_text()


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_files_and_valkey(folder: Path, valkey: Server, scheme: str) -> None:
    with open_io(
        people=f"file:{folder}",
        suppressions=f"file:{folder}",
        templates=str(folder),
        claims=valkey.url.replace("redis", scheme),
        default_locale="es",
    ) as io:
        ask_everything(io)


@pytest.mark.parametrize("store", ["", "sqlite"])
@pytest.mark.parametrize("claims", ["sqlite", "valkey"])
def test_payloads_are_where_claims_are_or_where_it_is_said(
    folder: Path, valkey: Server, store: str, claims: str
) -> None:
    addresses = {"sqlite": f"sqlite:{folder / 'claims.db'}", "valkey": valkey.url}
    own = f"sqlite:{folder / 'payloads.db'}" if store else ""
    fetching = Fetching("https://push.example.com", b"k" * 32, own)
    with open_io(
        people=f"file:{folder}",
        suppressions=f"file:{folder}",
        templates=str(folder),
        claims=addresses[claims],
        fetching=fetching,
    ) as io:
        now = io.clock.now()
        [address] = io.payloads.put([Payload(f"{store} {claims}", b"whole", now + 60_000)], now)
        assert io.payloads.get(address.rpartition("/")[2], now) == b"whole"
    assert (folder / "payloads.db").exists() == bool(own)


def test_without_an_address_for_apps_no_payload_is_kept(folder: Path) -> None:
    with (
        open_io(
            people=f"file:{folder}",
            suppressions=f"file:{folder}",
            templates=str(folder),
            claims=f"sqlite:{folder / 'claims.db'}",
        ) as io,
        pytest.raises(Unavailable, match="is not set"),
    ):
        io.payloads.put([Payload("p", b"whole", NOW)], NOW)


def test_a_sheltered_process_goes_on_without_valkey(folder: Path) -> None:
    with open_io(
        people=f"file:{folder}",
        suppressions=f"file:{folder}",
        templates=str(folder),
        claims="valkey://127.0.0.1:1/0",
        sheltered=True,
    ) as io:
        assert io.claims.first([("event-1", "o1"), ("event-1", "o2")], 1_000) == ["o1", "o1"]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"people": "config/people"}, "people: 'config/people' is no address: write file:FOLDER"),
        ({"suppressions": "file:"}, "suppressions: 'file:' is no address"),
        ({"claims": "postgres://db"}, "claims: 'postgres://db' is no address: write sqlite:FILE"),
        ({"claims": "sqlite:"}, "claims: 'sqlite:' is no address"),
        ({"claims": "redis:6379"}, "'redis:6379' is no server's URL"),
        (
            {"fetching": Fetching("https://push.example.com", b"k", "s3://bucket")},
            "payloads: 's3://bucket' is no address: write sqlite:FILE, or valkey://HOST:PORT/0",
        ),
    ],
)
def test_another_form_is_refused(folder: Path, changed: dict[str, Any], problem: str) -> None:
    addresses = {
        "people": f"file:{folder}",
        "suppressions": f"file:{folder}",
        "templates": str(folder),
        "claims": f"sqlite:{folder / 'claims.db'}",
    }
    with pytest.raises(ValueError, match="is no") as caught, open_io(**{**addresses, **changed}):
        pass
    assert problem in str(caught.value)
