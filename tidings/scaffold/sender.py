"""A package with a sender: installed, it is a kind of provider like any other."""

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "tidings-$dashed"
version = "0.1.0"
description = "The provider $name for lanes of Tidings"
requires-python = ">=3.11"
dependencies = ["tidings"]

[project.entry-points."tidings.senders"]
$name = "tidings_$name:SENDER"

[tool.hatch.build.targets.wheel]
only-include = ["tidings_$name.py"]
"""

MODULE = '''
"""$name: sends by appending to a file; `_ask` is the place for a provider's own call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tidings.ports import Clock
from tidings.sender import Answer, Done, Send, SenderKind, Verdict

PATIENCE = 10.0  # seconds; then it may have been delivered, or not


class Settings(BaseModel):
    """Settings of $name. This is what `tidings list` shows."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    file: Path
    """Where the messages go. The text under a field is its documentation."""


class $camel:
    """Lives on the lane's loop; decides nothing but what the provider's answer means."""

    name = "$name"

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make ready. Raises ValueError where the settings are of no use."""
        if not self._settings.file.parent.is_dir():
            raise ValueError(f"there is no folder {self._settings.file.parent}")

    def send(self, sends: Sequence[Send], done: Done) -> None:
        """Start these sends; each is answered once."""
        for send in sends:
            task = asyncio.get_running_loop().create_task(self._answer(send, done))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Finish what is under way."""
        await asyncio.gather(*self._tasks)

    async def _answer(self, send: Send, done: Done) -> None:
        try:
            answer = await asyncio.wait_for(self._ask(send), PATIENCE)
        except TimeoutError:
            answer = Answer(verdict=Verdict.AMB, code="timeout")
        except OSError as error:
            answer = Answer(verdict=Verdict.RETRY, code="io", detail=str(error))
        done(send, answer)

    async def _ask(self, send: Send) -> Answer:
        """Hand one message over; what comes back, as a verdict: ok, inv (a dead address), retry,
        cfg (it refuses us), drop (a bad message)."""
        line = json.dumps({"to": send.address.value, **send.content.parts})
        with self._settings.file.open("a") as file:
            file.write(f"{line}\\n")
        return Answer(verdict=Verdict.OK, provider_id=send.send_id)


SENDER = SenderKind("$name", Settings, $camel)
'''

PYTEST = '''
"""The sender sends, and says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tidings_$name import $camel, Settings

from tidings.ports import Address
from tidings.sender import Answer, Content, Send, Verdict
from tidings.stores.clock import ManualClock


def test_a_send_is_answered(tmp_path: Path) -> None:
    file = tmp_path / "sent.jsonl"
    send = Send(
        send_id="s1",
        channel="push",
        address=Address(kind="device", value="phone-ana"),
        content=Content(parts={"title": "Hello"}),
        tenant="default",
        category="news",
        priority="normal",
        attempt=1,
        now=0,
    )
    answers: list[Answer] = []

    async def run() -> None:
        sender = $camel(Settings(file=file), ManualClock())
        await sender.open(asyncio.get_running_loop())
        sender.send([send], lambda _, answer: answers.append(answer))
        await sender.close()

    asyncio.run(run())
    assert answers == [Answer(verdict=Verdict.OK, provider_id="s1")]
    assert file.read_text() == '{"to": "phone-ana", "title": "Hello"}\\n'
'''

CONFIG = """
categories:
  news: {}
providers:
  $name: {kind: $name, file: data/$name.jsonl}
"""

FLOW = """
# A flow whose messages go out by $name: tidings test flows/$name.yaml
flow: $name
source: {topic: $name.events, key: recipient_id, fields: [event_id, recipient_id, text]}
steps:
  - consent: {category: news}
  - deliver: {to: push, template: $name, expires: 1h}
"""

LANE = """
lane: push
steps:
  - expire
  - addresses
  - consent
  - suppress
  - render
  - send: {default: $name}
"""

TEST = """
given:
  people: {ana: {addresses: [{kind: device, value: phone-ana}]}}
  event: {event_id: e1, recipient_id: ana, text: hello}
  lanes: [push]

cases:
  - name: it goes out by $name
    in:
      - {at: 0s, event: {}}
    out:
      $name.deliver:
        - {at: 0s, to: ana, delivered: push}
      push.send:
        - {at: 0s, to: ana, sent: phone-ana, provider: $name, parts: {title: hello}}
"""

TEXT = """
--- title
{{ text }}
--- body
{{ text }}
"""

README = """
# tidings-$dashed

The kind of provider `$name` for lanes of Tidings.

    pip install -e .          # into the environment of Tidings; in a checkout: uv pip install -e .
    tidings list $name
    tidings check
    tidings test
    pip install pytest && pytest
"""

FILES = {
    "tidings-$dashed/pyproject.toml": PYPROJECT,
    "tidings-$dashed/tidings_$name.py": MODULE,
    "tidings-$dashed/test_tidings_$name.py": PYTEST,
    "tidings-$dashed/config/tidings.yaml": CONFIG,
    "tidings-$dashed/config/templates/$name/push.en.j2": TEXT,
    "tidings-$dashed/flows/$name.yaml": FLOW,
    "tidings-$dashed/flows/$name.test.yaml": TEST,
    "tidings-$dashed/flows/lanes/push.yaml": LANE,
    "tidings-$dashed/README.md": README,
}
"""By path; ``$name``, ``$camel`` and ``$dashed`` are to be filled in."""
