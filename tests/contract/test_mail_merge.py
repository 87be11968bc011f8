"""Which mails go in one call, and how long one waits for others."""

from __future__ import annotations

import asyncio

from tests.peers.mail_desk import a_send
from tidings.operators.senders.mail.mail import Mail, Writer
from tidings.operators.senders.mail.mail_merge import Gatherer, merged
from tidings.operators.senders.mail.mail_settings import MailSettings


def mails(count: int, text: str = "Hello") -> list[Mail]:
    writer = Writer(MailSettings(sender="hello@example.com"))
    parts = {"subject": "Hi", "text": text}
    made = [writer.write(a_send(number, parts=parts), print) for number in range(count)]
    return [mail for mail in made if isinstance(mail, Mail)]


def test_a_call_holds_no_more_mails_and_no_more_bytes_than_it_may() -> None:
    some = mails(10, "x" * 1_000)  # 2,702 bytes each, about
    assert [len(call) for call in merged(some, lambda _: 0, most=4, largest=1_000_000)] == [4, 4, 2]
    assert [len(call) for call in merged(some, lambda _: 0, most=50, largest=9_000)] == [3, 3, 3, 1]


def test_mails_wait_for_each_other_until_a_call_is_full() -> None:
    async def test() -> None:
        calls: list[int] = []
        gatherer = Gatherer(lambda found: calls.append(len(found)), most=4, linger=60.0)
        three, two = mails(3), mails(2)
        gatherer.add(three)
        assert calls == [], "they wait for others"
        gatherer.add(two)
        assert calls == [5], "more than a call holds: at once, to be merged"
        gatherer.add(two)
        gatherer.flush()
        assert calls == [5, 2], "who closes waits no longer"

    asyncio.run(test())


def test_where_none_go_together_none_waits() -> None:
    async def test() -> None:
        calls: list[int] = []
        alone = Gatherer(lambda found: calls.append(len(found)), most=1, linger=60.0)
        alone.add(mails(1))
        at_once = Gatherer(lambda found: calls.append(len(found)), most=50, linger=0.0)
        at_once.add(mails(2))
        assert calls == [1, 2]

    asyncio.run(test())
