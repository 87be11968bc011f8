"""Which processes one machine has, and how each is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidings.running.house import House
from tidings.settings import Settings

TWILIO = {"kind": "twilio", "account": "AC" + "0" * 32, "from": "+15005550006"}


@pytest.mark.parametrize(
    ("provider", "processes"),
    [({"kind": "sandbox"}, []), (TWILIO | {"auth_token": "env:TOKEN"}, ["receipts"])],
)
def test_who_calls_back_is_read(
    tmp_path: Path, provider: dict[str, str], processes: list[str]
) -> None:
    house = House([], Settings(providers={"one": provider}), tmp_path, Path("t.yaml"))

    assert [each.name for each in house.packs] == processes
    for each in house.packs:
        verb, *_, config, file = house._command(each)[3:]
        assert (verb, config, file) == ("receipts", "--config", "t.yaml")
