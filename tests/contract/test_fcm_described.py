"""The sender of FCM against peers that we did not write: Google's own description, and nginx."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.contract.fcm_desk import FID, NOW, SECOND, Clock, Google, a_send, error, on, sends
from tests.peers.fcm.peer import PROXY, description
from tests.peers.prism.peer import Prism
from tidings.operators.senders.fcm import Fcm, Settings
from tidings.ports import Address
from tidings.sender import Answer, Content, Send, Verdict
from tidings.services.nginx import Nginx
from tidings.services.process import ServiceError


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """Prism, which holds each request against the description, behind HTTP/2."""
    with ExitStack() as stack:
        try:
            prism = stack.enter_context(Prism(description(tmp_path_factory.mktemp("fcm"))))
            yield stack.enter_context(Nginx(PROXY.format(port=prism.port)))
        except ServiceError as error:
            pytest.fail(str(error), pytrace=False)


def ask(nginx: Nginx, given: Sequence[Send], **changes: Any) -> list[Answer]:
    """What each send is answered."""

    async def whole() -> list[Answer]:
        clock = Clock()
        settings = Settings(
            host="127.0.0.1",
            port=nginx.port,
            ca=nginx.certificate.certificate,
            **{"wait": "20s", "timeout": "30s", **changes},
        )
        sender = Fcm(settings, clock, account=Google(clock).account)
        await sender.open(asyncio.get_running_loop())
        answers: dict[int, Answer] = {}
        everything = asyncio.Event()

        def done(send: Send, answer: Answer) -> None:
            answers[id(send)] = answer
            if len(answers) == len(given):
                everything.set()

        sender.send(given, done)
        await everything.wait()
        await sender.close()
        return [answers[id(one)] for one in given]

    return asyncio.run(whole())


RICH = Content(
    parts={
        "title": "T",
        "body": "B",
        "sound": "ping",
        "image": "https://cdn.example/7.jpg",
        "link": "https://example.com/photo/7",
    },
    data={"photo": 7, "aps": {"badge": 3}, "android": {"channelId": "likes", "color": "#ff0000"}},
)


@pytest.mark.parametrize("platform", ["android", "web", "ios", ""])
@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_a_message_is_as_google_describes_it(
    described: Nginx, platform: str, priority: str
) -> None:
    fields: dict[str, Any] = {
        "priority": priority,
        "collapse_key": "photo-7",
        "expires_at": NOW + 90 * SECOND,
    }
    given = [
        a_send(RICH, address=on(platform), **fields),
        a_send(RICH, address=Address(kind="device", value=FID, platform=platform), **fields),
        a_send(Content(parts={}, data={"sync": [1, 2]}), address=on(platform)),
        a_send(Content(parts={"body": "B"}), address=on(platform), category=""),
    ]
    answers = ask(described, given, dry_run=priority == "low")
    assert {(one.verdict, one.code) for one in answers} == {(Verdict.OK, "")}, answers


def test_a_push_to_nobody_is_as_google_describes_it(described: Nginx) -> None:
    async def proved() -> None:
        clock = Clock()
        ca = described.certificate.certificate
        given = Settings(host="127.0.0.1", port=described.port, ca=ca, wait="20s", timeout="30s")
        sender = Fcm(given, clock, account=Google(clock).account)
        await sender.open(asyncio.get_running_loop())
        try:
            await sender.prove()
        finally:
            await sender.close()

    asyncio.run(proved())


@pytest.mark.parametrize("own", [{"colour": "red"}, {"sticky": "yes"}, {"channelId": 7}])
def test_a_message_that_is_not_as_described_is_refused(
    described: Nginx, own: dict[str, Any]
) -> None:
    """So its yes above is one."""
    content = Content(parts={"body": "B"}, data={"android": own})
    [answer] = ask(described, [a_send(content)])
    assert (answer.verdict, answer.code) == (Verdict.DROP, "422")


def test_nginx_gets_every_send(start_nginx: Callable[..., Nginx], tmp_path: Path) -> None:
    gone = error(404, "UNREGISTERED").decode()
    nginx = start_nginx(
        f"""
        location /v1/projects/example-app/ {{
            return 200 '{{"name":"projects/example-app/messages/m-1"}}';
        }}
        location /v1/projects/gone/ {{ return 404 '{gone}'; }}
        """
    )
    assert set(ask(nginx, sends(3_000))) == {Answer(verdict=Verdict.OK, provider_id="m-1")}
    refused = ask(nginx, sends(1_500), project="gone")  # 300 bytes of body each: credit is given
    assert {(one.verdict, one.code) for one in refused} == {(Verdict.INV, "UNREGISTERED")}
