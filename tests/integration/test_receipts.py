"""The receipts as a process: what a provider called back before it started, and after."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator

from tests.engine import append, create, outcomes
from tidings.log.address import open_log
from tidings.receipts import PROVIDER_EVENTS, Reference, Webhook
from tidings.records import Origin
from tidings.services.process import spawn, wait_for

URL = "https://notify.example.com/twilio"


def called_back(number: int, **form: str) -> Webhook:
    reference = Reference(
        "default",
        "ana",
        f"s-{number}",
        f"n-{number}",
        "otp",
        "sms",
        "codes",
        "",
        Origin("deliveries.sms.high", 0, number),
    )
    url = f"{URL}?ref={reference.signed(b'k' * 32)}"
    form = {"MessageSid": f"SM{number}", "To": "+12025550100", **form}
    headers = {"x-twilio-signature": RequestValidator("12345").compute_signature(url, form)}
    return Webhook(provider="twilio", url=url, headers=headers, body=urlencode(form).encode())


def test_callbacks_become_outcomes_in_a_process_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("12345")
    (tmp_path / "key").write_text("k" * 32)
    (tmp_path / "people").mkdir()
    phone = {"kind": "phone", "value": "+12025550100"}
    known = {"recipient_id": "ana", "addresses": [phone]}
    (tmp_path / "people/people.jsonl").write_text(json.dumps(known) + "\n")
    settings = {
        "log": f"sqlite:{tmp_path}/log",
        "claims": f"sqlite:{tmp_path}/claims.db",
        "people": f"file:{tmp_path}/people",
        "suppressions": f"file:{tmp_path}/suppressions",
        "templates": f"{tmp_path}",
        "providers": {
            "twilio": {
                "kind": "twilio",
                "account": "AC" + "0" * 32,
                "auth_token": f"file:{tmp_path}/token",
                "from": "+15005550006",
                "callback": {"url": URL, "key": f"file:{tmp_path}/key"},
            }
        },
    }
    (tmp_path / "tidings.yaml").write_text(json.dumps(settings))
    log = open_log(str(settings["log"]))
    create(log, PROVIDER_EVENTS)
    append(log, called_back(1, MessageStatus="delivered").append())
    process = spawn(
        [
            *(sys.executable, "-m", "tidings.cli", "receipts", "--create-topics"),
            *("--config", str(tmp_path / "tidings.yaml")),
        ],
        log=tmp_path / "receipts.log",
        cwd=tmp_path,
    )

    def told(count: int) -> bool:
        return "notif_events" in log.admin().topics() and len(outcomes(log)) >= count

    try:
        wait_for(lambda: told(1), timeout=60.0, what="the first")
        gone = called_back(2, MessageStatus="undelivered", ErrorCode="30005")
        append(log, gone.append())
        wait_for(lambda: told(2), timeout=60.0, what="the second")
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert code == 0, (tmp_path / "receipts.log").read_text()
    said = {one.notif_id: (one.kind, one.reason) for one in outcomes(log)}
    assert said == {"n-1": ("delivered", ""), "n-2": ("failed", "invalid")}
    journal = (tmp_path / "people/people.journal.jsonl").read_text()
    assert "+12025550100" in journal
