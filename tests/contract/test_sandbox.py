from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tidings.operators.senders.sandbox import Sandbox, Settings, received
from tidings.ports import Address
from tidings.script import Rule
from tidings.sender import Answer, Content, Send, Verdict


class StillClock:
    def __init__(self, at: int = 1_000_000) -> None:
        self.at = at

    def now(self) -> int:
        return self.at


def a_send(
    number: int = 1, *, address: str = "token", attempt: int = 1, platform: str = ""
) -> Send:
    return Send(
        send_id=f"{number:032x}",
        channel="push",
        address=Address(kind="device", value=address, platform=platform),
        content=Content(parts={"title": "Hello", "body": "Alice and 49 others"}),
        tenant="default",
        category="social",
        priority="normal",
        attempt=attempt,
        now=0,
    )


def answers(
    settings: Settings, *batches: list[Send], clock: StillClock | None = None
) -> list[Answer]:
    """What the sends of ``batches`` are answered, in their order."""

    async def run() -> list[Answer]:
        sandbox = Sandbox(settings, clock or StillClock())
        await sandbox.open(asyncio.get_running_loop())
        sends = [send for batch in batches for send in batch]
        got: dict[int, Answer] = {}
        everything = asyncio.Event()

        def done(send: Send, answer: Answer) -> None:
            assert id(send) not in got, "answered twice"
            got[id(send)] = answer
            if len(got) == len(sends):
                everything.set()

        for batch in batches:
            sandbox.send(batch, done)
        await everything.wait()
        await sandbox.close()
        return [got[id(send)] for send in sends]

    return asyncio.run(run())


def test_it_accepts_and_keeps_what_it_got(tmp_path: Path) -> None:
    file = tmp_path / "sandbox" / "push.jsonl"
    assert answers(Settings(file=file), [a_send(7, address="t7", platform="ios")]) == [
        Answer(verdict=Verdict.OK, provider_id=f"{7:032x}")
    ]
    [kept] = received(file)
    assert (kept.send_id, kept.address, kept.platform, kept.at) == (
        f"{7:032x}",
        "t7",
        "ios",
        1_000_000,
    )
    assert (kept.verdict, kept.accepted, kept.attempt) == (Verdict.OK, True, 1)
    assert kept.parts == {"title": "Hello", "body": "Alice and 49 others"}


def test_the_first_rule_that_fits_decides(tmp_path: Path) -> None:
    script = (
        Rule(address="dead-*", answer=Verdict.INV, code="Unregistered"),
        Rule(platform="android", answer=Verdict.RETRY, code="429", limited=True, retry_after=2_000),
        Rule(attempts=1, answer=Verdict.RETRY, code="503"),
    )
    sends = [
        a_send(1, address="dead-1", platform="android"),
        a_send(2, platform="android"),
        a_send(3),
        a_send(3, attempt=2),
    ]
    dead, slow_down, first, second = answers(
        Settings(file=tmp_path / "s.jsonl", script=script), sends
    )
    assert (dead.verdict, dead.code) == (Verdict.INV, "Unregistered")
    assert (slow_down.limited, slow_down.retry_after_ms) == (True, 2_000)
    assert (first.verdict, first.retry_after_ms) == (Verdict.RETRY, -1)
    assert second.verdict is Verdict.OK
    assert [one.accepted for one in received(tmp_path / "s.jsonl")] == [False, False, False, True]


def test_a_time_out_after_it_accepted_is_in_the_file_as_accepted(tmp_path: Path) -> None:
    settings = Settings(
        file=tmp_path / "s.jsonl", script=(Rule(answer=Verdict.AMB, accepted=True),)
    )
    assert answers(settings, [a_send()])[0].verdict is Verdict.AMB
    [kept] = received(settings.file)
    assert (kept.verdict, kept.accepted) == (Verdict.AMB, True)


def test_a_share_is_drawn_by_seed_send_and_attempt(tmp_path: Path) -> None:
    def retried(seed: int, file: str) -> list[int]:
        script = (Rule(share=0.25, answer=Verdict.RETRY),)
        settings = Settings(file=tmp_path / file, seed=seed, script=script)
        found = answers(settings, [a_send(number) for number in range(400)])
        return [number for number, one in enumerate(found) if one.verdict is Verdict.RETRY]

    first = retried(1, "a")
    assert 60 <= len(first) <= 140
    assert retried(1, "b") == first
    assert retried(2, "c") != first


def test_an_outage_has_a_beginning_and_an_end(tmp_path: Path) -> None:
    clock = StillClock()
    settings = Settings(
        file=tmp_path / "s.jsonl",
        script=(Rule(since=5_000, until=10_000, answer=Verdict.RETRY),),
    )

    async def at(seconds: int) -> Verdict:
        got: list[Answer] = []
        clock.at = 1_000_000 + seconds * 1000
        sandbox.send([a_send()], lambda send, answer: got.append(answer))
        return got[0].verdict

    async def run() -> list[Verdict]:
        await sandbox.open(asyncio.get_running_loop())
        found = [await at(seconds) for seconds in (4, 5, 9, 10)]
        await sandbox.close()
        return found

    sandbox = Sandbox(settings, clock)
    assert asyncio.run(run()) == [Verdict.OK, Verdict.RETRY, Verdict.RETRY, Verdict.OK]


def test_with_a_latency_it_keeps_at_once_and_answers_later(tmp_path: Path) -> None:
    settings = Settings(file=tmp_path / "s.jsonl", latency=(20, 40))

    async def run() -> None:
        loop = asyncio.get_running_loop()
        sandbox = Sandbox(settings, StillClock())
        await sandbox.open(loop)
        started, answered, everything = loop.time(), list[float](), asyncio.Event()

        def done(send: Send, answer: Answer) -> None:
            answered.append(loop.time() - started)
            if len(answered) == 50:
                everything.set()

        sandbox.send([a_send(number) for number in range(50)], done)
        assert (len(received(settings.file)), answered) == (50, [])
        await everything.wait()
        assert min(answered) >= 0.02
        assert len(set(answered)) > 1
        await sandbox.close()

    asyncio.run(run())


def test_closing_answers_what_is_open(tmp_path: Path) -> None:
    async def run() -> list[Answer]:
        got: list[Answer] = []
        sandbox = Sandbox(Settings(file=tmp_path / "s.jsonl", latency=60_000), StillClock())
        await sandbox.open(asyncio.get_running_loop())
        sandbox.send([a_send(1), a_send(2)], lambda send, answer: got.append(answer))
        await sandbox.close()
        return got

    assert [answer.verdict for answer in asyncio.run(run())] == [Verdict.OK, Verdict.OK]


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    program = """
        import asyncio, sys
        from pathlib import Path
        from tests.contract.test_sandbox import StillClock, a_send
        from tidings.operators.senders.sandbox import Sandbox, Settings

        async def run():
            sandbox = Sandbox(Settings(file=Path(sys.argv[1])), StillClock())
            await sandbox.open(asyncio.get_running_loop())
            for number in range(1_000_000):
                sandbox.send([a_send(number)], lambda send, answer: print(send.send_id, flush=True))

        asyncio.run(run())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(file)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    answered = [process.stdout.readline().strip() for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    answered += [line.strip() for line in process.stdout.readlines() if line.endswith("\n")]
    process.stdout.close()
    process.wait()
    assert len(answered) >= 200
    assert {one.send_id for one in received(file)} >= set(answered)


def test_a_line_cut_short_by_a_death_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    file.write_bytes(b'{"send_id":"cut sho')
    answers(Settings(file=file), [a_send(1)])
    assert [one.send_id for one in received(file)] == [f"{1:032x}"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(file=tmp_path / "file" / "s.jsonl")
    with pytest.raises(ValueError, match=r"can't write .*file/s\.jsonl: .*set `file`"):
        answers(settings, [a_send()])
