"""Twilio's messages and calls, its status callbacks and what people text back, with its own
signature."""

from __future__ import annotations

import re
from base64 import b64encode
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tidings.ids import id_of
from tidings.receipts import Webhook
from tidings.sender import Verdict
from tidings.simulator.scenario import ProviderName
from tidings.simulator.wire import Asked, Fate, Reply, Request, Told, as_json, wording

_path = re.compile(r"/2010-04-01/Accounts/(AC[0-9a-f]{32})/(Messages|Calls)\.json").fullmatch
_number = re.compile(r"\+[1-9]\d{6,14}").fullmatch
_LONGEST = 1_600  # characters of a message
_KEPT = 50  # the newest to a number
_MOST_NUMBERS = 100_000
_STATUSES = {"20003": 401, "20404": 404, "20429": 429, "20500": 500, "20503": 503}
_USUAL = {
    Verdict.INV: "21211",
    Verdict.RETRY: "20503",
    Verdict.CFG: "20003",
    Verdict.DROP: "21617",
}
_MESSAGE = {
    "sent": "sent",
    "delivered": "delivered",
    "opened": "read",
    "bounced": "undelivered",
    "failed": "undelivered",
}
_CALL = {
    "sent": "ringing",
    "delivered": "completed",
    "opened": "completed",
    "bounced": "no-answer",
    "failed": "no-answer",
}
_USUAL_FAILURE = "30008"


class Twilio:
    """One account; ``called`` is its name in the settings, ``url`` where people's answers go.

    ``number`` is the one that its messaging services send from.
    """

    name: ProviderName = "twilio"
    bounces = False

    def __init__(self, account: str, token: str, number: str, called: str, url: str) -> None:
        self._account = account
        self._number = number
        self._token = token
        self._called = called
        self._url = url
        self._taken: dict[str, deque[dict[str, Any]]] = {}
        credentials = b64encode(f"{account}:{token}".encode()).decode()
        self._authorization = f"Basic {credentials}"

    def knows(self, path: str) -> bool:
        """Whether it is one of the API's."""
        return path.startswith("/2010-04-01/")

    def read(self, request: Request, now: int) -> Sequence[Asked] | Reply:
        """The message or the call, or what Twilio says to one that is wrong."""
        if request.headers.get("authorization") != self._authorization:
            return _error(401, 20003, "Authenticate")
        if (request.method, request.path) == ("GET", f"/2010-04-01/Accounts/{self._account}.json"):
            return as_json(200, {"sid": self._account, "status": "active", "type": "Full"})
        path, _, query = request.path.partition("?")
        found = _path(path)
        if found is not None and found[1] == self._account and request.method == "GET":
            return self._listed(found[2], dict(parse_qsl(query)))
        if found is None or found[1] != self._account or request.method != "POST":
            return _error(404, 20404, f"The requested resource {request.path} was not found")
        form = dict(parse_qsl(request.body.decode(errors="replace"), keep_blank_values=True))
        message = found[2] == "Messages"
        to, text = form.get("To", ""), form.get("Body" if message else "Twiml", "")
        if not to:
            return _error(400, 21604, "A 'To' phone number is required.")
        if not _number(to):
            return _error(400, 21211, f"The 'To' number {to} is not a valid phone number.")
        if not (form.get("From") or form.get("MessagingServiceSid")):
            return _error(400, 21603, "A 'From' phone number is required.")
        if not text and not form.get("Url"):
            return _error(400, 21602 if message else 21205, "Message body is required.")
        if message and len(text) > _LONGEST:
            return _error(400, 21617, "The concatenated message body exceeds the 1600 limit.")
        key = id_of("twilio", to, text, form.get("StatusCallback", ""))
        return [Asked(key, to, {"body": text}, "", {"form": form, "message": message})]

    def reply(self, asked: Sequence[Asked], fates: Sequence[Fate], now: int) -> Reply:
        """The resource that was made, or the error."""
        fate = fates[0]
        if fate.verdict is Verdict.OK:
            return as_json(201, self._resource(asked[0], fate.id, now))
        status, code = wording(fate, _STATUSES, _USUAL, "20429")
        number = int(code) if code.isdigit() else 20500
        return _error(status, number, "as the script says", fate)

    def keep(self, asked: Asked, name: str, now: int) -> None:
        """It is listed from now on; the oldest number's are forgotten when there are too many."""
        newest = self._taken.pop(asked.address, None) or deque(maxlen=_KEPT)
        newest.appendleft(self._resource(asked, name, now))
        self._taken[asked.address] = newest
        if len(self._taken) > _MOST_NUMBERS:
            del self._taken[next(iter(self._taken))]

    def _listed(self, resource: str, query: Mapping[str, str]) -> Reply:
        """The newest messages, or calls, to a number."""
        listed = [
            one
            for one in self._taken.get(query.get("To", ""), ())
            if ("body" in one) == (resource == "Messages")
        ]
        page = listed[: int(query.get("PageSize", "50"))]
        return as_json(200, {resource.lower(): page, "page": 0, "next_page_uri": None})

    def webhook(self, told: Told, now: int) -> Webhook | None:
        """The status callback, or what a person texts back."""
        form, message = told.asked.more["form"], told.asked.more["message"]
        url = form.get("StatusCallback", "")
        if told.event.event in ("replied", "unsubscribed"):
            url = self._url or _without_reference(url)
            fields = self._answer(told, form)
        else:
            fields = self._status(told, form, message)
        if not url or not fields:
            return None
        from twilio.request_validator import RequestValidator

        signature = RequestValidator(self._token).compute_signature(url, fields)
        headers = {
            "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
            "x-twilio-signature": signature,
            "i-twilio-idempotency-token": id_of("callback", told.id, str(told.number)),
        }
        body = urlencode(fields).encode()
        return Webhook(provider=self._called, url=url, headers=headers, body=body)

    def _status(self, told: Told, form: Mapping[str, str], message: bool) -> dict[str, str]:
        status = (_MESSAGE if message else _CALL).get(told.event.event, "")
        if not status:
            return {}
        fields = self._common(form) | {"To": told.asked.address, "From": self._sender(form)}
        if not message:
            return fields | {"CallSid": f"CA{told.id}", "CallStatus": told.event.code or status}
        sid = f"SM{told.id}"
        fields |= {"MessageSid": sid, "SmsSid": sid, "MessageStatus": status, "SmsStatus": status}
        if status == "undelivered":
            fields["ErrorCode"] = told.event.code or _USUAL_FAILURE
        return fields

    def _answer(self, told: Told, form: Mapping[str, str]) -> dict[str, str]:
        sid = f"SM{id_of('answer', told.id, str(told.number))}"
        return self._common(form) | {
            "MessageSid": sid,
            "SmsSid": sid,
            "SmsMessageSid": sid,
            "SmsStatus": "received",
            "From": told.asked.address,
            "To": self._sender(form),
            "Body": told.event.text or told.event.code or "STOP",
            "NumMedia": "0",
            "NumSegments": "1",
        }

    def _common(self, form: Mapping[str, str]) -> dict[str, str]:
        fields = {"AccountSid": self._account, "ApiVersion": "2010-04-01"}
        if service := form.get("MessagingServiceSid"):
            fields["MessagingServiceSid"] = service
        return fields

    def _sender(self, form: Mapping[str, str]) -> str:
        """Who sends: of a messaging service, the number that it has."""
        return form.get("From") or self._number

    def _resource(self, asked: Asked, name: str, now: int) -> dict[str, Any]:
        form = asked.more["form"]
        when = format_datetime(datetime.fromtimestamp(now / 1000, UTC))
        common = {
            "account_sid": self._account,
            "api_version": "2010-04-01",
            "date_created": when,
            "date_updated": when,
            "direction": "outbound-api",
            "from": form.get("From"),
            "to": asked.address,
            "price": None,
            "price_unit": "USD",
            "status": "queued",
            "subresource_uris": {},
        }
        if not asked.more["message"]:
            uri = f"/2010-04-01/Accounts/{self._account}/Calls/CA{name}.json"
            return common | {"sid": f"CA{name}", "uri": uri}
        service = form.get("MessagingServiceSid")
        return common | {
            "sid": f"SM{name}",
            "body": asked.parts["body"],
            "date_sent": None,
            "error_code": None,
            "error_message": None,
            "messaging_service_sid": service,
            "num_media": "0",
            "num_segments": "0" if service else "1",
            "status": "accepted" if service else "queued",
            "uri": f"/2010-04-01/Accounts/{self._account}/Messages/SM{name}.json",
        }


def _without_reference(url: str) -> str:
    """The webhook's own address, of a message's: its tenant stays, if it names one."""
    parts = urlsplit(url)
    kept = [one for one in parts.query.split("&") if one and not one.startswith("ref=")]
    return parts._replace(query="&".join(kept)).geturl()


def _error(status: int, code: int, message: str, fate: Fate | None = None) -> Reply:
    more = f"https://www.twilio.com/docs/errors/{code}"
    said = {"code": code, "message": message, "more_info": more, "status": status}
    headers = fate.waits if fate is not None else ()
    return as_json(status, said, code=str(code), headers=headers)
