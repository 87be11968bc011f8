"""A steady blast of deliveries, as many of each class, written straight into the lanes' topics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tidings.log.port import Append, Log
from tidings.records import Delivery, Origin, Priority, encode
from tidings.topics import deliveries

HOUR = 3_600_000  # ms


class Blast:
    """``count`` deliveries of each class over ``seconds``. ``make`` gives one by its class,
    its number and now (epoch ms)."""

    def __init__(
        self,
        log: Log,
        classes: Sequence[Priority],
        count: int,
        seconds: float,
        make: Callable[[Priority, int, int], Delivery],
    ) -> None:
        self._producer = log.producer()
        self._classes = classes
        self._count, self._seconds, self._make = count, seconds, make
        self._since = time.monotonic()
        self._written = 0
        self._failed: list[object] = []

    @property
    def over(self) -> bool:
        """Whether all are written."""
        return self._written == self._count

    def go_on(self) -> dict[str, Delivery]:
        """Write what is due by now; gives it by the notification's id."""
        due = int(min(1.0, (time.monotonic() - self._since) / self._seconds) * self._count)
        numbers, self._written = range(self._written, due), due
        written: dict[str, Delivery] = {}
        for priority in self._classes:
            now = round(time.time() * 1_000)
            made = [self._make(priority, number, now) for number in numbers]
            written |= {one.notif_id: one for one in made}
            topic = deliveries("push", priority)
            self._producer.append(
                [Append(topic, one.notif_id.encode(), encode(one)) for one in made],
                lambda error, _: self._failed.append(error) if error else None,
            )
        self._producer.poll()
        return written

    def close(self) -> None:
        """See that all are confirmed."""
        assert self._producer.flush(30.0)
        self._producer.close()
        assert not self._failed, self._failed[:3]


def a_delivery(
    priority: Priority, number: int, now: int, *, recipient: str, template: str, life: int
) -> Delivery:
    """One that lives for ``life`` ms; its name, which its text shows, is ``<class>-<number>``."""
    name = f"{priority}-{number:06d}"
    return Delivery(
        notif_id=name,
        recipient_id=recipient,
        flow="social",
        step="social.deliver",
        version="1",
        channel="push",
        priority=str(priority),
        template=template,
        category="social",
        created_at=now,
        origin=Origin("tidings.social", 0, number),
        data={"name": name},
        expires_at=now + life,
    )
