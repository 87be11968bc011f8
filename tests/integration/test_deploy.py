"""A flow is rolled out and back while events come, as docs/deploying.md says: nothing is lost."""

from __future__ import annotations

import signal

import pytest

from tests.integration.installation import Installation, ends
from tidings.log.address import open_log
from tidings.log.port import Slot
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
PERSON = '{"recipient_id": "ana", "addresses": [{"kind": "device", "value": "phone-ana"}]}\n'


@pytest.fixture
def shop(installation: Installation) -> Installation:
    here = installation.folder
    for folder in ("flows/lanes", "config/templates/shop", "people"):
        (here / folder).mkdir(parents=True)
    (here / "flows/lanes/push.yaml").write_text(LANE)
    (here / "config/tidings.yaml").write_text(SETTINGS)
    (here / "config/templates/shop/push.en.j2").write_text("--- title\nx\n--- body\n{{ count }}\n")
    (here / "people/people.jsonl").write_text(PERSON)
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
    shop: Installation,
) -> None:
    flow = put(shop, FLOW)
    assert ran(shop, "topics", "apply", "--sources")[0] == 0
    lane = shop.start("run", str(shop.folder / "flows/lanes/push.yaml"), "--priority", "normal")
    shop.wait_until_said('"event": "ready"')
    sent = 0
    running = None
    for version in (FLOW, CHANGED, FLOW):
        put(shop, version)
        code, said = ran(shop, "deploy", "--plan", flow)
        # Rolled back, the counts of the limit that came with the new version have no home.
        back = version is FLOW and sent > 0
        assert (code, "dropped shop.limit" in said) == (int(back), back), said
        if running is not None:
            assert ends(running, signal.SIGTERM) == 0
        events = range(sent, sent + 300)  # some before it is there, the rest while it runs
        shop.emit("shop.events", *(_event(number) for number in events[:200]))
        running = shop.start("run", flow)
        shop.wait_until_said('"event": "ready"')
        shop.emit("shop.events", *(_event(number) for number in events[200:]))
        sent += len(events)
    assert running is not None
    wait_for(lambda: counted(shop) >= sent, timeout=60.0, what=f"{sent} events in digests")
    assert counted(shop) == sent
    assert [ends(process, signal.SIGTERM) for process in (running, lane)] == [0, 0]


def counted(shop: Installation) -> int:
    """The events that the digests which were sent count; one that was sent again counts once."""
    return sum({each.send_id: int(each.parts["body"]) for each in shop.accepted()}.values())


def entered(shop: Installation) -> int:
    """The entries that the flow's intake has written."""
    reader = open_log(f"sqlite:{shop.data}/log").reader()
    held = sum(reader.span(Slot("tidings.shop", number)).end for number in range(8))
    reader.close()
    return held


def _event(number: int) -> dict[str, str]:
    return {"event_id": f"e{number}", "type": "order", "recipient_id": "ana"}


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
    assert "kept    shop.digest  2 open digests of 1 people" in said
    put(shop, RENAMED)
    code, said = ran(shop, "deploy", "--plan", flow)
    assert code == 1
    assert "dropped shop.digest  2 states of 1 people" in said
