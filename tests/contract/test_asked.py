"""What providers say of a message that they did not answer for: Twilio against Prism, the simulator
and a server of ours, the sandbox against its file, and a lane that asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from tests.contract.simulated import Peer, a_send, simulated
from tests.contract.sms_lane import Left, SmsLane
from tests.contract.test_twilio import NOW, SERVICE, calls, messages
from tests.contract.test_twilio import a_send as a_text
from tests.peers.prism.peer import Prism
from tests.peers.provider import Provider, Say
from tidings.operators.senders.sandbox import Sandbox
from tidings.operators.senders.sandbox import Settings as SandboxSettings
from tidings.operators.senders.text.twilio_listed import Entry, Page, Wanted, found
from tidings.script import Rule
from tidings.secret import Secret
from tidings.sender import Answer, Askable, Doubt, Send, Sender, Verdict
from tidings.simulator.credentials import ACCOUNT
from tidings.stores.clock import ManualClock

OK, RETRY, AMB, DROP = Verdict.OK, Verdict.RETRY, Verdict.AMB, Verdict.DROP
NUMBER = "+15005550006"


def doubtful(send: Send, since: int = NOW) -> Send:
    """The same, given up a moment after it left."""
    return msgspec.structs.replace(send, doubt=Doubt(1, since, since, since, send.attempt))


async def asked(sender: Sender, *sends: Send) -> list[Answer]:
    """What an open sender says of these."""
    assert isinstance(sender, Askable)
    got: dict[str, Answer] = {}
    all_of_them = asyncio.Event()

    def done(send: Send, answer: Answer) -> None:
        assert send.send_id not in got, "answered twice"
        got[send.send_id] = answer
        if len(got) == len(sends):
            all_of_them.set()

    sender.ask(sends, done)
    await asyncio.wait_for(all_of_them.wait(), 20)
    return [got[send.send_id] for send in sends]


def ask(sender: Sender, *sends: Send) -> list[Answer]:
    """The same, of one that is opened for it."""

    async def run() -> list[Answer]:
        await sender.open(asyncio.get_running_loop())
        try:
            return await asked(sender, *sends)
        finally:
            await sender.close()

    return asyncio.run(run())


# ── Twilio: what is looked for ────────────────────────────────────────────────────────────────


def at(seconds: float) -> str:
    """A date as a list tells it, so many seconds from `NOW`."""
    return formatdate(NOW / 1000 + seconds)


def listed(seconds: float = 1, body: str | None = "481516 is your code", **changes: Any) -> Entry:
    fields = {
        "sid": "SM1",
        "direction": "outbound-api",
        "messaging_service_sid": SERVICE,
        "body": body,
        "date_created": at(seconds),
        "num_segments": "1",
    }
    return Entry(**(fields | changes))


TEXT = Wanted(SERVICE, NOW, "481516 is your code")


@pytest.mark.parametrize(
    ("entries", "wanted", "verdict"),
    [
        ([listed()], TEXT, OK),
        ([listed(-4)], TEXT, OK),  # its clock is behind ours
        ([listed(-60)], TEXT, RETRY),  # the same words, a minute before
        ([], TEXT, RETRY),
        ([listed(body="Other words")], TEXT, RETRY),
        ([listed(messaging_service_sid=None, from_=NUMBER)], TEXT, RETRY),
        ([listed(messaging_service_sid=None, from_=NUMBER)], TEXT._replace(sender=NUMBER), OK),
        ([listed(direction="inbound")], TEXT, RETRY),
        ([listed(body="")], TEXT, DROP),  # bodies are redacted
        ([listed(body="It's 5")], TEXT._replace(body="It’s 5", rewritten=True), DROP),
        ([listed(body="Other"), listed()], TEXT._replace(rewritten=True), OK),
        ([listed(date_created=None)], TEXT, DROP),
        ([listed(direction="outbound-reply")], TEXT, OK),
    ],
)
def test_a_message_is_known_by_whom_from_whom_when_and_its_words(
    entries: list[Entry], wanted: Wanted, verdict: Verdict
) -> None:
    assert found(Page(messages=tuple(entries)), wanted).verdict is verdict


def test_where_a_page_is_full_of_newer_ones_nobody_can_tell() -> None:
    others = tuple(listed(body=f"Number {number}") for number in range(50))
    assert found(Page(messages=others, next_page_uri="/2010…"), TEXT).verdict is DROP
    older = (*others[:-1], listed(-60))
    assert found(Page(messages=older, next_page_uri="/2010…"), TEXT).verdict is RETRY


def a_page(*entries: dict[str, Any]) -> Say:
    return Say(200, json.dumps({"messages": entries, "next_page_uri": None}).encode())


def test_the_newest_to_its_number_are_asked_for(tmp_path: Path) -> None:
    entry = {
        "sid": "SM" + "7" * 32,
        "direction": "outbound-api",
        "messaging_service_sid": SERVICE,
        "body": "481516 is your code",
        "date_created": at(1),
        "num_segments": "2",
    }
    with Provider(lambda got: a_page(entry)) as provider:
        sender = messages(tmp_path, provider.url, prices={"+1": 0.0079})
        [answer] = ask(sender, doubtful(a_text()))
    [got] = provider.got
    assert got.method == "GET"
    assert parse_qs(urlsplit(got.path).query) == {"To": ["+12025550100"], "PageSize": ["50"]}
    assert answer == Answer(verdict=OK, provider_id="SM" + "7" * 32, segments=2, cost=15_800)


@pytest.mark.parametrize(
    ("said", "verdict", "code", "wait"),
    [
        (Say(0), AMB, "NoAnswer", -1),
        (Say(503), AMB, "503", -1),
        (Say(429, headers={"Retry-After": "7"}), AMB, "429", 7_000),
        (Say(401), DROP, "401", -1),  # a key that may send and not read
        (Say(200, b"<html>"), AMB, "NoAnswer", -1),
    ],
    ids=["no answer", "503", "429", "401", "no list"],
)
def test_what_is_no_list_tells_nothing(
    tmp_path: Path, said: Say, verdict: Verdict, code: str, wait: int
) -> None:
    with Provider(lambda got: said) as provider:
        [answer] = ask(messages(tmp_path, provider.url), doubtful(a_text()))
    assert (answer.verdict, answer.code, answer.retry_after_ms) == (verdict, code, wait)
    assert answer.limited == (code == "429")


# ── Against what we did not write ─────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prism]:
    """With the links of lists as any text: Twilio's own examples of them are no URIs."""
    text = Prism.twilios().read_text()
    description = tmp_path_factory.mktemp("twilio") / "api.json"
    description.write_text(json.dumps(json.loads(text, object_hook=_any_text)))
    with Prism(description) as server:
        yield server


def _any_text(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if (key, value) != ("format", "uri")}


@pytest.mark.timeout(400)  # the first run fetches it
def test_the_question_is_as_twilio_describes_it(prism: Prism, tmp_path: Path) -> None:
    seen = ask(messages(tmp_path, prism.url), doubtful(a_text()))
    seen += ask(calls(tmp_path, prism.url), doubtful(a_text()))
    assert [answer.code for answer in seen] == ["NotThere", "NotThere"], "its examples are others'"


@pytest.mark.timeout(400)
def test_prism_refuses_a_question_that_twilio_does_not_describe(
    prism: Prism, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.operators.senders.text.twilio_api.PAGE", "many")
    [answer] = ask(messages(tmp_path, prism.url), doubtful(a_text()))
    assert answer.code == "422"


Use = Callable[[Peer], Coroutine[Any, Any, Any]]


def against(folder: Path, use: Use, *script: dict[str, Any]) -> Any:
    async def run() -> Any:
        async with simulated(folder, {"script": script}) as peer:
            return await use(peer)

    return asyncio.run(run())


def test_twilios_library_reads_the_simulators_list(tmp_path: Path) -> None:
    def talk(peer: Peer) -> None:
        token = Secret(peer.settings["twilio"]["auth_token"]).read().strip()
        http = TwilioHttpClient(timeout=10)
        client = Client(ACCOUNT, token, http_client=http)
        client.api.base_url = f"http://127.0.0.1:{peer.server.plain_port}"
        try:
            sent = client.messages.create(to="+12025550100", from_=NUMBER, body="Hello")
            client.messages.create(to="+12025550101", from_=NUMBER, body="Hello")
            call = client.calls.create(to="+12025550100", from_=NUMBER, twiml="<Response/>")
            [listed] = client.messages.list(to="+12025550100", limit=5)
            [rung] = client.calls.list(to="+12025550100", limit=5)
        finally:
            http.session.close()
        assert (listed.sid, listed.body, listed.from_) == (sent.sid, "Hello", NUMBER)
        assert listed.date_created is not None
        assert (rung.sid, rung.direction) == (call.sid, "outbound-api")

    async def use(peer: Peer) -> None:
        await asyncio.to_thread(talk, peer)

    against(tmp_path, use)


class Run:
    """A lane of codes over the simulator's Twilio, that asks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.left: Left
        self.accepted: list[int] = []

    async def __call__(self, peer: Peer) -> None:
        given = {"twilio": {**peer.settings["twilio"], "settles": "1s", "timeout": "300ms"}}
        retry = {"in_place": ["200ms"], "ladder": ["30s", "5m"]}
        spec = {"default": "twilio", "on_uncertain": "ask", "retry": retry}
        lane = SmsLane(self._folder, spec, given)
        people = {"ana": "+12025550100", "ben": "+12025550101"}
        self.left = await asyncio.to_thread(lane.run, people, lambda now: len(now.ends) == 2)
        self.accepted = [one.attempt for one in peer.got() if one.accepted]


def kinds(left: Left) -> list[tuple[str, int, str]]:
    return sorted((one.recipient_id, one.attempt, one.kind) for one in left.attempts)


def test_a_lane_sends_again_what_twilio_lacks_and_nothing_that_it_has(tmp_path: Path) -> None:
    run = Run(tmp_path)
    has = {"address": "*100", "attempts": 1, "answer": "amb", "accepted": True, "by": "reset"}
    lacks = {"address": "*101", "attempts": 1, "answer": "amb", "by": "reset"}
    against(tmp_path, run, has, lacks)
    assert {who: end.kind for who, end in run.left.ends.items()} == {"ana": "sent", "ben": "sent"}
    assert kinds(run.left) == [
        ("ana", 1, "sent"), ("ana", 1, "unknown"),
        ("ben", 1, "retried"), ("ben", 1, "unknown"), ("ben", 2, "sent"),
    ]  # fmt: skip
    assert sorted(run.accepted) == [1, 2], "one message each"
    assert run.left.unsettled == 0


# ── The sandbox ───────────────────────────────────────────────────────────────────────────────


def test_the_sandbox_says_what_its_file_holds_and_nothing_in_an_outage(tmp_path: Path) -> None:
    script = (
        Rule(address="lost-*", answer=AMB),
        Rule(address="taken-*", answer=AMB, accepted=True),
        Rule(since=60_000, until=90_000, answer=RETRY),
    )
    settings, clock = SandboxSettings(file=tmp_path / "s.jsonl", script=script), ManualClock(NOW)
    lost, taken, other = (a_send("apns", number) for number in (1, 2, 3))
    for name, send in (("lost-1", lost), ("taken-1", taken)):
        send.address = msgspec.structs.replace(send.address, value=name)

    async def run() -> tuple[list[Answer], list[Answer], list[Answer]]:
        sandbox = Sandbox(settings, clock)
        await sandbox.open(asyncio.get_running_loop())
        empty = await asked(sandbox, other)
        sandbox.send([lost, taken], lambda send, answer: None)
        heard = await asked(sandbox, lost, taken, other)
        clock.advance(70_000)
        silent = await asked(sandbox, taken)
        await sandbox.close()
        return empty, heard, silent

    empty, heard, silent = asyncio.run(run())
    assert [one.verdict for one in empty] == [RETRY]
    assert [one.verdict for one in heard] == [RETRY, OK, RETRY]
    assert [one.verdict for one in silent] == [AMB]
