"""A reference is carried where there is room, and the message goes out without it where not."""

from __future__ import annotations

import json
from pathlib import Path

from tests.contract import apns_desk, fcm_desk
from tidings.ports import Address
from tidings.receipts import Reference
from tidings.records import Delivery, Origin
from tidings.sender import Content, Send, Verdict

KEY = "k" * 32
DELIVERY = Delivery(
    notif_id="n-1",
    recipient_id="ana",
    flow="social",
    step="social.deliver",
    version="v1",
    channel="push",
    template="hello",
    category="social",
    created_at=0,
    origin=Origin("tidings.social", 0, 7),
)
ORIGIN = Origin("deliveries.push.normal", 3, 42)


def both(folder: Path) -> tuple[str, Content, Content]:
    """The key, and a short and a long text."""
    file = folder / "reference.key"
    file.write_text(KEY)
    short, long = Content(parts={"body": "x"}), Content(parts={"body": "x" * 3_950})
    return f"file:{file}", short, long


def belongs(send: Send) -> Send:
    send.delivery, send.origin = DELIVERY, ORIGIN
    return send


def check(short: dict[str, str], long: dict[str, str]) -> None:
    found = Reference.read(short["reference"], [KEY.encode()])
    assert (found.recipient_id, found.notif_id, found.origin) == ("ana", "n-1", ORIGIN)
    assert "reference" not in long
    assert long["send_id"]


def test_an_iphone_is_given_a_reference_where_there_is_room(tmp_path: Path) -> None:
    key, short, long = both(tmp_path)

    async def test(desk: apns_desk.Desk) -> None:
        answers = await desk.send(
            belongs(apns_desk.a_send(1, content=short)), belongs(apns_desk.a_send(2, content=long))
        )
        assert {one.verdict for one in answers} == {Verdict.OK}
        check(*(json.loads(one.body) for one in desk.server.exchanges))

    apns_desk.run(tmp_path, test, reference_key=key, wait="20s")


def test_a_phone_on_fcm_is_given_a_reference_where_there_is_room(tmp_path: Path) -> None:
    key, short, long = both(tmp_path)

    async def test(desk: fcm_desk.Desk) -> None:
        for platform in ("android", "ios"):
            address = Address(kind="device", value=fcm_desk.TOKEN, platform=platform)
            sends = [belongs(fcm_desk.a_send(one, address=address)) for one in (short, long)]
            assert {one.verdict for one in await desk.send(*sends)} == {Verdict.OK}
        messages = [json.loads(one.body)["message"] for one in desk.server.exchanges]
        check(messages[0]["data"], messages[1]["data"])
        check(messages[2]["apns"]["payload"], messages[3]["apns"]["payload"])

    fcm_desk.run(tmp_path, test, reference_key=key)
