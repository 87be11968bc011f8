"""What every shelf of payloads must do, behind signed addresses: memory, SQLite, Valkey."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tidings.driver.ports import LocalShelf
from tidings.ports import Payload, Payloads, Unavailable
from tidings.receipts import Reference
from tidings.records import Origin
from tidings.signing import Forged
from tidings.stores.payloads import Shelf, SignedPayloads
from tidings.stores.payloads_sqlite import SqliteShelf
from tidings.stores.payloads_valkey import ValkeyShelf
from tidings.stores.valkey import Valkey

KEY, OTHER = b"k" * 32, b"o" * 32
URL = "https://push.example.com/payloads"
HOUR = 3_600_000


def now() -> int:
    return int(time.time() * 1_000)  # Valkey lets things go by its own clock


@pytest.fixture(params=["local", "sqlite", "valkey"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    if request.param == "local":
        yield LocalShelf()
    elif request.param == "sqlite":
        with closing(SqliteShelf(tmp_path / "payloads.db")) as file:
            yield file
    else:
        with closing(Valkey(request.getfixturevalue("valkey").url, timeout_ms=5_000)) as valkey:
            yield ValkeyShelf(valkey)


@pytest.fixture
def payloads(shelf: Shelf) -> Payloads:
    return SignedPayloads(shelf, URL, [KEY])


def reference_of(address: str) -> str:
    """What an app would hand back."""
    url, _, reference = address.rpartition("/")
    assert url == URL
    return reference


def test_what_is_put_is_found_under_its_address(payloads: Payloads) -> None:
    bodies = {
        "p1": b'{"body":"one"}',
        "p2": '{"body":"dos, ¡ñ! 📷"}'.encode(),
        "p3": b"x" * 100_000,
    }
    kept = [Payload(each, body, now() + HOUR) for each, body in bodies.items()]

    addresses = payloads.put(kept, now())

    assert [payloads.get(reference_of(one), now()) for one in addresses] == [*bodies.values()]


def test_no_payloads_are_no_addresses(payloads: Payloads) -> None:
    assert payloads.put([], now()) == []


def test_more_than_one_call_takes_goes_in_several(payloads: Payloads) -> None:
    kept = [Payload(f"large{n}", b"x" * 1_500_000, now() + HOUR) for n in range(5)]

    addresses = payloads.put(kept, now())

    found = [payloads.get(reference_of(one), now()) for one in addresses]
    assert [len(each or b"") for each in found] == [1_500_000] * 5


def test_put_again_after_a_kill_it_has_the_same_address_and_the_later_body(
    payloads: Payloads,
) -> None:
    ends = now() + HOUR
    [before] = payloads.put([Payload("again", b"first", ends)], now())
    [after] = payloads.put([Payload("again", b"second", ends)], now())

    assert before == after
    assert payloads.get(reference_of(before), now()) == b"second"


def test_it_ends_when_its_message_does(payloads: Payloads) -> None:
    at = now()
    short, long = payloads.put([Payload("s", b"s", at + 200), Payload("l", b"l", at + HOUR)], at)
    time.sleep(0.25)

    assert payloads.get(reference_of(short), now()) is None
    assert payloads.get(reference_of(long), now()) == b"l"
    assert payloads.get(reference_of(long), at + HOUR) is None


def test_what_has_ended_before_it_is_put_is_not_there(payloads: Payloads) -> None:
    [address] = payloads.put([Payload("late", b"late", now() - 1)], now())

    assert payloads.get(reference_of(address), now()) is None


def tampered(reference: str) -> str:
    return reference[:-2] + ("AA" if not reference.endswith("AA") else "BB")


@pytest.mark.parametrize(
    "change",
    [tampered, lambda text: "", lambda text: "é", lambda text: "abc", lambda text: text[4:]],
)
def test_a_reference_that_we_have_not_signed_is_refused(
    payloads: Payloads, change: Callable[[str], str]
) -> None:
    [address] = payloads.put([Payload("mine", b"mine", now() + HOUR)], now())

    with pytest.raises(Forged):
        payloads.get(change(reference_of(address)), now())


def test_another_key_is_refused_and_a_former_one_goes_on(shelf: Shelf) -> None:
    [address] = SignedPayloads(shelf, URL, [OTHER]).put([Payload("x", b"x", now() + HOUR)], now())

    with pytest.raises(Forged):
        SignedPayloads(shelf, URL, [KEY]).get(reference_of(address), now())
    assert SignedPayloads(shelf, URL, [KEY, OTHER]).get(reference_of(address), now()) == b"x"


def test_a_receipts_reference_under_the_same_key_is_none_of_ours(shelf: Shelf) -> None:
    payloads = SignedPayloads(shelf, URL, [KEY])
    receipt = Reference("t", "ana", "s", "n", "f", "push", "c", "", Origin("d", 0, 1)).signed(KEY)
    [address] = payloads.put([Payload("x", b"x", now() + HOUR)], now())

    with pytest.raises(Forged):
        payloads.get(receipt, now())
    with pytest.raises(Forged):
        Reference.read(reference_of(address), [KEY])


def test_sqlite_keeps_across_processes_and_lets_go_of_what_has_ended(tmp_path: Path) -> None:
    file = tmp_path / "payloads.db"
    with closing(SqliteShelf(file)) as first:
        first.put([Payload("old", b"x" * 1_000, 2_000), Payload("new", b"y", 200_000)], 1_000)
    with closing(SqliteShelf(file)) as second:
        assert second.get("old", 1_500) == b"x" * 1_000
        second.put([], 100_000)
        assert second.get("old", 1_500) is None
        assert second.get("new", 100_000) == b"y"


def test_a_server_that_is_away_is_unavailable(tmp_path: Path) -> None:
    with closing(Valkey(f"unix://{tmp_path}/nobody.sock")) as valkey:
        payloads = SignedPayloads(ValkeyShelf(valkey), URL, [KEY])
        with pytest.raises(Unavailable):
            payloads.put([Payload("x", b"x", now() + HOUR)], now())
