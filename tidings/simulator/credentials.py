"""The credentials of the pretended accounts: made once in a folder, and used again from there.

A simulator that is started again in the same folder knows the clients of the one before; what
stands in their settings goes on to fit, where its ports are the same.
"""

from __future__ import annotations

import datetime
import json
import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tidings.services.certificate import Certificate, self_signed
from tidings.services.process import LOOPBACK
from tidings.simulator.apns import Apns
from tidings.simulator.authority import Authority
from tidings.simulator.fcm import TOKEN_PATH, Fcm
from tidings.simulator.scenario import ProviderName, Scenario
from tidings.simulator.sendgrid import SendGrid
from tidings.simulator.ses import Ses
from tidings.simulator.twilio import Twilio
from tidings.simulator.wire import Service

KEY_ID, TEAM_ID, APP = "SIMULATED0", "SIMULATED1", "com.example.app"
MDM = "com.apple.mgmt.External.51515151-5151-5151-5151-515151515151"
PROJECT = "simulated-project"
ACCESS_KEY = "AKIASIMULATED0000000"
TOPIC_ARN = "arn:aws:sns:us-east-1:000000000000:simulated-ses-events"
ACCOUNT = "AC" + "51" * 16
NUMBER = "+15005550006"
_LIFE = datetime.timedelta(days=30)
_LEAST_LIFE = datetime.timedelta(days=1)


class Credentials:
    """All keys and certificates, in files of ``folder``."""

    def __init__(self, folder: Path, now: datetime.datetime) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate = self._tls(now)
        self.authority = Authority(folder, {"push.pem": APP, "mdm.pem": MDM}, now)
        self._apple = self._key("AuthKey.p8", lambda: ec.generate_private_key(ec.SECP256R1()))
        self._google = self._key("google.pem", _rsa)
        self._sns = self._key("sns.pem", _rsa)
        self._events = self._key("sendgrid.pem", lambda: ec.generate_private_key(ec.SECP256R1()))
        self._sns_certificate = self._sns_pem(now)
        for name in ("ses.secret", "sendgrid.key", "twilio.token", "callback.key"):
            self._secret(name)

    def services(self, scenario: Scenario) -> list[Service]:
        """All providers, as these credentials make them."""
        assert isinstance(self._apple, ec.EllipticCurvePrivateKey)
        assert isinstance(self._events, ec.EllipticCurvePrivateKey)
        assert isinstance(self._google, rsa.RSAPrivateKey)
        assert isinstance(self._sns, rsa.RSAPrivateKey)

        def called(name: ProviderName) -> tuple[str, str]:
            return scenario.names.get(name, name), scenario.urls.get(name, "")

        return [
            Apns({KEY_ID: self._apple.public_key()} if scenario.apple_by == "key" else {}),
            Fcm(PROJECT, self._google.public_key()),
            Ses(
                ACCESS_KEY,
                self._secret("ses.secret"),
                TOPIC_ARN,
                self._sns,
                self._sns_certificate,
                *called("ses"),
            ),
            SendGrid(self._secret("sendgrid.key"), self._events, *called("sendgrid")),
            Twilio(ACCOUNT, self._secret("twilio.token"), NUMBER, *called("twilio")),
        ]

    def settings(self, scenario: Scenario, port: int, plain_port: int) -> dict[str, dict[str, Any]]:
        """What `providers` in the settings say to get here, by name; writes Google's key file."""
        folder = self.folder.resolve()
        here = {"host": LOOPBACK, "port": port, "ca": str(self.certificate.certificate.resolve())}
        url = {"ca": here["ca"]}
        origin = f"https://{LOOPBACK}:{port}"
        self._write_google(plain_port)

        def callback(name: ProviderName) -> dict[str, Any]:
            usual = f"https://notify.example.com/webhooks/{scenario.names.get(name, name)}"
            public = scenario.urls.get(name, usual)
            return {"url": public, "key": f"file:{folder}/callback.key"}

        apple: dict[str, Any] = {
            "key": f"file:{folder}/AuthKey.p8", "key_id": KEY_ID, "team_id": TEAM_ID
        }  # fmt: skip
        by_certificate = scenario.apple_by == "certificate"
        if by_certificate:
            apple = {"certificate": f"{folder}/push.pem"}
        kinds: dict[ProviderName, dict[str, Any]] = {
            "apns": {**apple, "topic": APP, **here},
            "fcm": {"key": f"file:{folder}/firebase.json", **here},
            "ses": {
                "region": "us-east-1",
                "access_key_id": ACCESS_KEY,
                "secret_access_key": f"file:{folder}/ses.secret",
                "sender": "Example <hello@example.com>",
                "event_topic": TOPIC_ARN,
                "callback": callback("ses"),
                "endpoint": origin,
                **url,
            },
            "sendgrid": {
                "key": f"file:{folder}/sendgrid.key",
                "sender": "Example <hello@example.com>",
                "event_key": self._event_key(),
                "callback": callback("sendgrid"),
                "endpoint": origin,
                **url,
            },
            "twilio": {
                "account": ACCOUNT,
                "auth_token": f"file:{folder}/twilio.token",
                "from": NUMBER,
                "callback": callback("twilio"),
                "url": origin,
                **url,
            },
        }
        found = {
            scenario.names.get(kind, kind): {"kind": kind, **given} for kind, given in kinds.items()
        }
        calls = scenario.names.get("twilio", "twilio")
        found["voice"] = {**found[calls], "kind": "twilio_voice", "callback": callback("twilio")}
        if by_certificate:
            mdm = {"certificate": f"{folder}/mdm.pem", "topic": MDM, "push_type": "mdm"}
            found["mdm"] = {"kind": "apns", **mdm, **here}
        return found

    # ── Files ─────────────────────────────────────────────────────────────────────────────────

    def _tls(self, now: datetime.datetime) -> Certificate:
        found = Certificate(self.folder / "certificate.pem", self.folder / "key.pem")
        if found.certificate.exists() and found.key.exists():
            kept = x509.load_pem_x509_certificate(found.certificate.read_bytes())
            if kept.not_valid_after_utc - now > _LEAST_LIFE:
                return found
        return self_signed(self.folder, now=now, life=_LIFE)

    def _key(
        self, name: str, make: Callable[[], ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]
    ) -> Any:
        file = self.folder / name
        if not file.exists():
            _write(file, _pem(make()))
        return serialization.load_pem_private_key(file.read_bytes(), password=None)

    def _secret(self, name: str) -> str:
        file = self.folder / name
        if not file.exists():
            _write(file, secrets.token_hex(32).encode() + b"\n")
        return file.read_text().strip()

    def _sns_pem(self, now: datetime.datetime) -> bytes:
        file = self.folder / "sns.certificate.pem"
        if not file.exists():
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
            made = (
                x509.CertificateBuilder()
                .subject_name(name)
                .issuer_name(name)
                .public_key(self._sns.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + datetime.timedelta(days=3_650))
                .sign(self._sns, hashes.SHA256())
            )
            _write(file, made.public_bytes(serialization.Encoding.PEM))
        return file.read_bytes()

    def _event_key(self) -> str:
        public = self._events.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return b64encode(public).decode()

    def _write_google(self, plain_port: int) -> None:
        account: Mapping[str, str] = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "1",
            "private_key": _pem(self._google).decode(),
            "client_email": f"push@{PROJECT}.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"http://{LOOPBACK}:{plain_port}{TOKEN_PATH}",
        }
        _write(self.folder / "firebase.json", json.dumps(account, indent=2).encode())


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(file: Path, content: bytes) -> None:
    file.touch(mode=0o600)
    file.write_bytes(content)
