"""Senders over HTTP/1.1 connect before there is a message: counted by nginx."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from tidings.operators.senders import sendgrid, ses, sns, twilio
from tidings.sender import Provable, Sender
from tidings.services.nginx import Nginx
from tidings.services.process import LOOPBACK, free_port
from tidings.stores.clock import SystemClock

# All four tell these words of a call that is refused.
REFUSAL = "<Code>Refused</Code><Message>there are $connections_active</Message>"


class Peer(NamedTuple):
    nginx: Nginx
    plain: str

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.nginx.certificate.certificate)

    async def reached(self, count: int) -> None:
        """Until there are so many connections beside this one."""
        async with aiohttp.ClientSession() as session, asyncio.timeout(10):
            while True:
                async with session.get(f"{self.nginx.url}/count", ssl=self.tls) as answer:
                    if int(await answer.text()) == count + 1:
                        return
                await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    plain = free_port()
    server = f"""
        listen {LOOPBACK}:{plain};
        location /count {{ return 200 "$connections_active"; }}
        location / {{ return 403 "{REFUSAL}"; }}
    """
    with Nginx(server) as nginx:
        yield Peer(nginx, f"http://{LOOPBACK}:{plain}")


def sender(name: str, folder: Path, peer: Peer, **changes: Any) -> Sender:
    (folder / "key").write_text("k" * 32)
    key = f"file:{folder}/key"
    here = {"endpoint": peer.nginx.url, "ca": peer.nginx.certificate.certificate}
    amazon = {"region": "eu-west-1", "access_key_id": "A", "secret_access_key": key}
    mail = {"sender": "hello@example.com"}
    texts = {"account": "AC" + "0" * 32, "auth_token": key, "from": "+15005550006"}
    clock = SystemClock()
    match name:
        case "ses":
            return ses.Ses(ses.Settings.model_validate(here | mail | amazon | changes), clock)
        case "sendgrid":
            given = here | mail | {"key": key} | changes
            return sendgrid.SendGrid(sendgrid.Settings.model_validate(given), clock)
        case "sns":
            given = amazon | {"endpoint": peer.plain} | changes
            return sns.Sns(sns.Settings.model_validate(given), clock)
        case _:
            given = texts | {"url": peer.nginx.url, "ca": here["ca"]} | changes
            return twilio.Twilio(twilio.Settings.model_validate(given), clock)


async def refusal(sender: Provable) -> str:
    try:
        await sender.prove()
    except ValueError as error:
        return str(error)
    raise AssertionError("it is refused")


@pytest.mark.parametrize(
    ("changes", "connections"),
    [({}, 2), ({"warm": 5}, 5), ({"warm": 5, "connections": 3}, 3), ({"warm": 0}, 0)],
    ids=["usual", "five", "no more than there may be", "none"],
)
@pytest.mark.parametrize("name", ["twilio", "ses", "sendgrid", "sns"])
def test_connections_stand_before_there_is_a_call_and_calls_go_over_them(
    name: str, changes: dict[str, int], connections: int, tmp_path: Path, peer: Peer
) -> None:
    async def run() -> None:
        made = sender(name, tmp_path, peer, **changes)
        await made.open(asyncio.get_running_loop())
        await peer.reached(connections)
        assert isinstance(made, Provable)
        # Of a connection nginx knows a moment before we do: a call may make one of its own.
        told = [await refusal(made) for _ in range(3)]
        found = {int(re.findall(r"there are (\d+)", each)[0]) for each in told}
        assert found <= {connections, connections + 1}
        await made.close()
        await peer.reached(0)

    asyncio.run(run())
