"""What a lane tells the flow that waits for a delivery, and what it does not send any more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.lane.paper import NOW, Paper, PaperLane, a_delivery, id_of
from tidings.log.port import Append
from tidings.operators.send import SendSpec
from tidings.ports import Address
from tidings.records import Signal, decode_entry, encode
from tidings.sender import Verdict

WATCH = "tidings.alerts"
WAITED: dict[str, Any] = {"reply_to": WATCH, "wait": "w1", "round": 1}
LISTED = SendSpec(default=("one", "two", "three"))


def told(paper: Paper) -> list[Signal | None]:
    return [decode_entry(record.value or b"").signal for record in paper.of(WATCH)]


def kinds(paper: Paper) -> list[str]:
    return [signal.kind for signal in told(paper) if signal is not None]


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [(Verdict.OK, "sent"), (Verdict.DROP, "failed"), (Verdict.AMB, "unknown")],
)
def test_the_flow_that_waits_is_told_what_became_of_it(verdict: Verdict, kind: str) -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone", **WAITED)
    lane.turn()
    lane.answer(0, verdict)
    lane.turn()
    paper.confirm()

    assert told(paper) == [Signal("w1", kind, 1)]
    assert [record.key for record in paper.of(WATCH)] == [b"person-of-n1"]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"data": {"suppressed": True}}, "suppressed"),
        ({"expires_at": NOW}, "expired"),
        ({"data": {"broken": True}}, "failed"),
    ],
)
def test_of_what_was_never_sent_too(fields: dict[str, Any], kind: str) -> None:
    paper = Paper()
    paper.deliver("n1", "phone", **WAITED, **fields)
    paper.lane().turn(3)
    paper.confirm()

    assert kinds(paper) == [kind]


def test_a_delivery_that_nobody_waits_for_tells_nobody() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.serve()
    paper.confirm()

    assert [topic for topic, _ in paper.records if topic.startswith("tidings.")] == []


def test_the_first_device_that_takes_it_is_told_at_once() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone", "tablet", **WAITED)
    lane.turn()
    lane.answer(1, Verdict.OK)
    lane.answer(0, Verdict.RETRY)
    lane.turn()
    paper.confirm()

    assert (kinds(paper), paper.ends()) == (["sent"], {})


def test_a_channel_that_hands_over_has_not_failed_yet() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone", chain=("email",), **WAITED)
    lane.turn()
    lane.answer(0, Verdict.DROP)
    lane.turn()
    paper.confirm()

    assert told(paper) == []
    (following,) = paper.deliveries("deliveries.email.normal")
    assert (following.reply_to, following.wait, following.round) == (WATCH, "w1", 1)


def test_it_is_settled_when_the_flow_has_heard() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone", **WAITED)
    lane.serve()
    lane.confirm(1)  # of a signal and the outcome
    lane.turn(5, pass_ms=300)
    assert not paper.settled()(0)
    paper.confirm()
    lane.turn(5, pass_ms=300)

    assert paper.settled()(0)


def test_after_a_kill_it_is_told_again_in_the_same_words() -> None:
    paper = Paper()
    first = paper.lane()
    paper.deliver("n1", "phone", **WAITED)
    first.turn()
    first.answer_all()
    first.turn(2)  # marked, and nothing confirmed
    first.producer.unconfirmed.clear()
    second = paper.lane()
    second.turn(2)
    paper.confirm()

    assert told(paper) == [Signal("w1", "sent", 1)]
    assert paper.accepted == {first_send(WAITED["round"]): 1}


def first_send(round: int) -> str:
    from tidings.ids import send_id

    return send_id("n1", "push", "phone", round)


def test_what_would_reply_to_anything_but_a_flow_is_no_delivery() -> None:
    paper = Paper()
    for topic in ("notif_events", "tidings.alerts.state", "orders"):
        paper.write(Append(paper.topic, b"k", encode(a_delivery("n1", reply_to=topic))))
    paper.lane().turn(2)
    paper.confirm()

    assert len(paper.of("notif_dlq.push")) == 3


# ── Another provider ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("detour", "provider"), [(0, "one"), (1, "two"), (2, "three"), (3, "one"), (7, "two")]
)
def test_a_later_round_begins_with_the_next_provider_of_the_list(
    detour: int, provider: str
) -> None:
    paper = Paper()
    lane = paper.lane(LISTED)
    paper.deliver("n1", Address(kind="device", value="phone"), detour=detour)
    lane.turn()

    assert [send.provider for send in lane.in_flight] == [provider]


# ── A newer one ───────────────────────────────────────────────────────────────────────────────


def code(paper: Paper, number: int, **fields: Any) -> None:
    """A code of a person; the higher the number, the newer."""
    given = {"created_at": NOW + number, "wait": f"w{number}", "supersedes": "ana's code"}
    paper.deliver(f"n{number}", "phone", **{**given, **fields})


def turned(lane: PaperLane) -> list[str]:
    lane.turn(2)
    return [send.send_id for send in lane.in_flight]


def test_an_older_code_that_waits_for_a_retry_is_not_sent_any_more() -> None:
    paper = Paper()
    lane = paper.lane()
    code(paper, 1)
    lane.turn()
    lane.answer(0, Verdict.RETRY)
    lane.turn()
    code(paper, 2)
    assert turned(lane) == [id_of("n2", "phone")]
    paper.clock.advance(2_000)
    assert turned(lane) == [id_of("n2", "phone")]
    lane.answer_all()
    lane.turn(2)
    paper.confirm()

    assert paper.ends() == {("n1", "push"): ["cancelled"], ("n2", "push"): ["sent"]}
    reasons = {one.notif_id: one.reason for one in paper.outcomes("end")}
    assert reasons == {"n1": "superseded", "n2": ""}
    assert paper.of("notif_dlq.push") == []


def test_a_later_round_of_an_older_code_is_not_sent_however_young_it_is() -> None:
    paper = Paper()
    lane = paper.lane()
    code(paper, 1)
    code(paper, 2)
    lane.serve()
    code(paper, 3, wait="w1", round=1, reply_to=WATCH, chain=("email",))
    code(paper, 4, wait="w2", round=1)
    lane.turn(2)
    sent = [send.delivery.wait for send in lane.in_flight if send.delivery is not None]
    paper.confirm()

    assert sent == ["w2"]
    assert paper.ends()["n3", "push"] == ["cancelled"]
    assert kinds(paper) == ["cancelled"]
    assert paper.of("deliveries.email.normal") == []


def test_another_process_knows_which_is_the_newest() -> None:
    paper = Paper()
    first = paper.lane()
    code(paper, 2)
    first.serve()
    second = paper.lane(take=[])
    code(paper, 1)
    second.consumer.pending.append(lambda: second.consumer.take(paper.slots()))
    second.turn(3)

    assert second.in_flight == []
