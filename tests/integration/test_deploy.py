"""A flow is rolled out and back while events come, as docs/deploying.md says: nothing is lost."""

from __future__ import annotations

import json
import signal
import threading
from subprocess import Popen

import pytest

from tests.integration.installation import Installation, ends
from tidings.log.address import open_log
from tidings.log.port import Append, Slot
from tidings.services.kafka import Kafka
from tidings.services.process import wait_for

FLOW = """\
flow: shop
source: {topic: shop.events, key: recipient_id}
steps:
  - digest: {by: [type], window: 1s}
  - deliver: {to: push, template: shop, category: orders}
"""
CHANGED = FLOW.replace("  - deliver", "  - limit: {at_most: 10000, within: 1d}\n  - deliver")
RENAMED = FLOW.replace("- digest: {by: [type], window: 1s}", "- {id: pile, digest: {window: 1s}}")
LANE = "lane: push\nsteps:\n  - addresses: {kind: device}\n  - render\n  - send: {default: box}\n"
SETTINGS = """\
log: sqlite:data/log
claims: sqlite:data/claims.db
people: file:people
categories: {orders: {}}
providers: {box: {kind: sandbox, file: data/sandbox.jsonl, latency: 1ms}}
"""
PEOPLE = "".join(
    f'{{"recipient_id": "{name}", "addresses": [{{"kind": "device", "value": "phone-{name}"}}]}}\n'
    for name in ("ana", *(f"p{number}" for number in range(100)))
)


@pytest.fixture
def shop(installation: Installation) -> Installation:
    here = installation.folder
    for folder in ("flows/lanes", "config/templates/shop", "people"):
        (here / folder).mkdir(parents=True)
    (here / "flows/lanes/push.yaml").write_text(LANE)
    (here / "config/tidings.yaml").write_text(SETTINGS)
    (here / "config/templates/shop/push.en.j2").write_text("--- title\nx\n--- body\n{{ count }}\n")
    (here / "people/people.jsonl").write_text(PEOPLE)
    return installation


def put(shop: Installation, text: str) -> str:
    file = shop.folder / "flows/shop.yaml"
    file.write_text(text)
    return str(file)


def ran(shop: Installation, *arguments: str) -> tuple[int, str]:
    """What a verb that ends by itself came to, and said."""
    code = shop.start(*arguments).wait(60)
    return code, shop.said()


@pytest.mark.timeout(240)
def test_a_flow_rolled_out_and_back_in_a_blast_loses_nothing(
    shop: Installation, kafka: Kafka
) -> None:
    """On Kafka, two processes of the flow; events come all the while."""
    settings = shop.folder / "config/tidings.yaml"
    settings.write_text(
        SETTINGS.replace("sqlite:data/log", f"kafka:{kafka.bootstrap}?session.timeout.ms=6000")
        + "channels: {rollout: device}\n"
    )
    (shop.folder / "flows/lanes/rollout.yaml").write_text(
        LANE.replace("lane: push", "lane: rollout")
    )
    templates = shop.folder / "config/templates/shop"
    (templates / "rollout.en.j2").write_text((templates / "push.en.j2").read_text())
    flow = put(shop, on_kafka(FLOW))
    assert ran(shop, "topics", "apply", "--sources")[0] == 0
    lane = shop.start("run", str(shop.folder / "flows/lanes/rollout.yaml"), "--priority", "normal")
    shop.wait_until_said('"event": "ready"')
    running = started(shop, flow)
    with Blast(f"kafka:{kafka.bootstrap}") as blast:
        for version in (CHANGED, FLOW):
            blast.wait_for(500)
            put(shop, on_kafka(version))
            code, said = ran(shop, "deploy", "--plan", flow)
            # Rolled back, the counts of the limit that came with the new version have no home.
            back = version is FLOW
            assert (code, "dropped rollout.limit" in said) == (int(back), back), said
            assert "kept    rollout.digest" in said
            assert [ends(process, signal.SIGTERM) for process in running] == [0, 0]
            blast.wait_for(500)  # nobody reads them yet
            running = started(shop, flow)
        blast.wait_for(500)
    assert blast.sent >= 2_500
    wait_for(lambda: counted(shop) >= blast.sent, timeout=60.0, what=f"{blast.sent} events counted")
    assert counted(shop) == blast.sent
    assert [ends(process, signal.SIGTERM) for process in (*running, lane)] == [0, 0, 0]


def on_kafka(text: str) -> str:
    """The flow under a name that the session's Kafka has for this test alone."""
    return (
        text.replace("shop.events", "rollout.events")
        .replace("flow: shop", "flow: rollout")
        .replace("to: push", "to: rollout")
    )


def started(shop: Installation, flow: str) -> list[Popen[str]]:
    """Two processes of a flow, ready."""
    processes = []
    for _ in range(2):
        processes.append(shop.start("run", flow))
        shop.wait_until_said('"event": "ready"')
    return processes


class Blast:
    """Events for a hundred people, some hundred a second, until the block ends; all confirmed."""

    def __init__(self, log: str) -> None:
        self.sent = 0
        self._log = log
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> Blast:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def wait_for(self, more: int) -> None:
        """Wait until so many more were sent."""
        goal = self.sent + more
        wait_for(lambda: self.sent >= goal, timeout=60.0, what=f"{more} events more")

    def _send(self) -> None:
        producer = open_log(self._log).producer()
        while not self._over.is_set():
            numbers = range(self.sent, self.sent + 25)
            events = [_event(number, f"p{number % 100}") for number in numbers]
            refused: list[object] = []

            def confirmed(error: object, receipt: object, refused: list[object] = refused) -> None:
                refused += [error] if error is not None else []

            producer.append(
                [
                    Append(
                        "rollout.events", each["recipient_id"].encode(), json.dumps(each).encode()
                    )
                    for each in events
                ],
                confirmed,
            )
            assert producer.flush(30.0)
            assert refused == []
            self.sent = numbers.stop
            self._over.wait(0.05)
        producer.close()


def counted(shop: Installation) -> int:
    """The events that the digests which were sent count; one that was sent again counts once."""
    return sum({each.send_id: int(each.parts["body"]) for each in shop.accepted()}.values())


def entered(shop: Installation) -> int:
    """The entries that the flow's intake has written."""
    reader = open_log(f"sqlite:{shop.data}/log").reader()
    held = sum(reader.span(Slot("tidings.shop", number)).end for number in range(8))
    reader.close()
    return held


def _event(number: int, recipient: str = "ana") -> dict[str, str]:
    return {"event_id": f"e{number}", "type": "order", "recipient_id": recipient}


@pytest.mark.timeout(120)
def test_what_is_open_is_counted_and_a_rename_drops_it(shop: Installation) -> None:
    flow = put(shop, FLOW.replace("window: 1s", "window: 1d"))
    assert ran(shop, "topics", "apply", "--sources")[0] == 0
    code, said = ran(shop, "deploy", "--plan", flow)
    assert (code, said) == (0, "shop: has nothing open\n\ntopics: all as wanted\n")
    running = shop.start("run", flow)
    shop.wait_until_said('"event": "ready"')
    shop.emit("shop.events", _event(1), {**_event(2), "type": "refund"}, _event(3))
    wait_for(lambda: entered(shop) >= 3, timeout=30.0, what="three entries")
    assert ends(running, signal.SIGTERM) == 0
    code, said = ran(shop, "deploy", "--plan", flow)
    assert code == 0
    assert "kept    shop.digest  2 open digests of 1 person" in said
    put(shop, RENAMED)
    code, said = ran(shop, "deploy", "--plan", flow)
    assert code == 1
    assert "dropped shop.digest  2 states of 1 person" in said
    (shop.folder / "before").mkdir()
    (shop.folder / "before/shop.yaml").write_text(FLOW)
    (shop.folder / "flows/shop.yaml").unlink()
    code, said = ran(shop, "deploy", "--plan", flow, "--against", "before")
    assert code == 1
    assert "dropped shop.digest  2 open digests of 1 person" in said
    assert "warning[flow-gone]  shop" in said
    code, said = ran(shop, "deploy", "--plan", "flows/never.yaml", "--against", "before")
    assert (code, said) == (1, "there is no flows/never.yaml, here or at before\n")
