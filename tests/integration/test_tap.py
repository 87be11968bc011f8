"""`tidings tap` beside a running flow."""

from __future__ import annotations

import json
import signal

from tests.integration.installation import Installation, ends
from tests.integration.test_run import files
from tidings.services.process import wait_for

LIKE = {
    "event_id": "e1",
    "type": "like",
    "recipient_id": "bob",
    "actor_id": "ana",
    "actor_name": "Ana",
    "photo_id": "p",
    "photo_title": "mail me at ana@example.com",
    "text": "",
}


def test_a_digest_is_watched_from_its_entry_to_what_is_delivered(
    installation: Installation,
) -> None:
    flow = installation.start("run", *files("social"), "--create-topics")
    installation.wait_until_said('"event": "ready"')
    tap = installation.start("tap", "social.digest", *files("social"))
    installation.wait_until_said("watching social.digest")
    installation.emit("social.events", LIKE)
    wait_for(lambda: installation.out().count("\n") >= 2, timeout=60, what="two lines")
    entered, told = map(json.loads, installation.out().splitlines())
    assert (entered["seen"], entered["value"]["event"]["event_id"]) == ("in", "e1")
    assert entered["value"]["event"]["photo_title"] == "mail me at a…@example.com"
    assert (told["seen"], told["value"]["step"]) == ("past", "social.deliver")
    assert told["value"]["members"] == ["e1"]
    assert [ends(process, signal.SIGINT) for process in (tap, flow)] == [0, 0]
