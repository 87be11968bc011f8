"""What there is to see of a demo, and how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table

from tidings.content import content_root
from tidings.demo.cast import STAR, Cast
from tidings.demo.scene import Arrival, Pace, Scene, quantile
from tidings.demo.screen import line_of, screen
from tidings.operators.senders.sandbox import Received
from tidings.records import Kind, Outcome, Stage
from tidings.sender import Verdict

CAST = Cast(content_root() / "config" / "people" / "people.jsonl")
NOW = 1_760_000_000_000


def received(
    channel: str,
    address: str,
    parts: Mapping[str, str],
    *,
    accepted: bool = True,
    platform: str = "",
) -> Received:
    verdict = Verdict.OK if accepted else Verdict.INV
    return Received(
        "s1", NOW, channel, address, "normal", 1, verdict, accepted, parts, platform=platform
    )


def outcome(stage: Stage, kind: Kind, **fields: object) -> Outcome:
    given: dict[str, object] = {"outcome_id": "o", "at": NOW, "flow": "social", "step": "s"}
    return Outcome(stage=stage, kind=kind, recipient_id="ana", **given, **fields)  # type: ignore[arg-type]


@pytest.fixture
def scene() -> Scene:
    return Scene(CAST)


def test_the_cast_has_its_star_first_and_knows_whose_an_address_is() -> None:
    assert CAST.ids[0] == STAR
    assert len(CAST.ids) == len(set(CAST.ids)) == 36
    assert CAST.name_at("bob@example.com") == "Bob"
    assert CAST.name_at("gone-goran", "android") == "Goran · Android"
    assert CAST.name_at("nobody@example.com") == "Somebody"


def test_messages_are_seen_as_their_readers_see_them(scene: Scene) -> None:
    arrivals = scene.receive(
        [
            received("push", "gone-goran", {"title": "T", "body": "B"}, platform="android"),
            received("email", "bob@example.com", {"subject": "S", "text": "a\n\nb", "html": "<p>"}),
            received("sms", "+447700900101", {"body": "123 is your code"}),
        ]
    )
    assert arrivals == [
        Arrival(NOW, "Goran · Android", "T", "B"),
        Arrival(NOW, "Bob", "S", "a b"),
        Arrival(NOW, "Bob", "", "123 is your code"),
    ]
    assert scene.got == {"push": 1, "email": 1, "sms": 1}
    assert [line_of("sms", arrivals[2]), line_of("push", arrivals[0])] == [
        "sms    Bob                 123 is your code",
        "push   Goran · Android     T / B",
    ]


def test_what_a_provider_refused_is_not_seen(scene: Scene) -> None:
    assert scene.receive([received("push", "gone-goran", {"body": "B"}, accepted=False)]) == []


def test_digests_and_what_was_held_are_told_from_the_outcomes(scene: Scene) -> None:
    scene.hear(outcome(Stage.DECISION, Kind.QUEUED, members=("a", "b", "c")))
    scene.hear(outcome(Stage.DECISION, Kind.QUEUED, members=("d",)))
    scene.hear(outcome(Stage.DECISION, Kind.SUPPRESSED, reason="limit"))
    assert (scene.formed, scene.gathered) == (1, 3)
    assert [(each.who, each.events) for each in scene.digests] == [("Ana", 3)]
    assert scene.reasons == {"limit": 1}


def test_a_pace_is_about_the_last_half_minute() -> None:
    pace = Pace()
    pace.add(NOW - 40_000, 9_999)
    for number in range(20):
        pace.add(NOW - 20_000 + number * 1_000, 10 + number)
    rate, middle, most = pace.recent(NOW)
    assert (rate, middle, most) == (1.0, 20, 29)
    assert Pace().recent(NOW) == (0.0, None, None)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([7], 0.99, 7), ([3, 1, 2], 0.5, 2), (list(range(100)), 0.99, 99)],
)
def test_quantiles_are_values_that_were_seen(
    values: list[int], share: float, expected: int | None
) -> None:
    assert quantile(values, share) == expected


def test_the_picture_shows_people_above_and_the_machine_below(scene: Scene) -> None:
    scene.receive([received("sms", "+447700900101", {"body": "123 is your code"})])
    scene.hear(outcome(Stage.DECISION, Kind.QUEUED, members=("a", "b")))
    scene.hear(outcome(Stage.DECISION, Kind.SUPPRESSED, reason="limit"))
    scene.hear(outcome(Stage.END, Kind.SENT, priority="high", latency_ms=42))
    text = drawn(scene, 150)
    head = " ".join(text.splitlines()[0].split())
    assert head == "Tidings live 3 s Ctrl-C stops 12 events in (4/s) 1 messages out"
    for words in (
        *("Phones  0", "Handsets  1", "123 is your code", "Digests  2 → 1"),
        *("Ana: 2 events, one message", "Held  1", "Ana  social: limit", "42 ms"),
    ):
        assert words in text
    assert "Processes" in text


def test_at_a_narrow_terminal_nothing_is_squeezed_to_its_first_letter(scene: Scene) -> None:
    scene.hear(outcome(Stage.END, Kind.SENT, priority="high", latency_ms=42))
    text = drawn(scene, 60)
    assert "Ctrl-C stops" in text.splitlines()[0]
    [pace] = [line for line in text.splitlines() if "high" in line]
    assert pace.split("│")[-2].split() == ["high", "1.0", "42", "ms", "42", "ms"]
    assert "Processes" not in text


def drawn(scene: Scene, columns: int) -> str:
    """The picture as a terminal of so many columns shows it."""
    console = Console(width=columns, height=30, file=StringIO())
    console.print(
        screen(
            scene,
            state="live",
            seconds=3.2,
            events=12,
            rate=4.0,
            now=NOW,
            processes=Table("process"),
            columns=columns,
        )
    )
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()
