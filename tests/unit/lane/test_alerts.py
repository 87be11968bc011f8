"""What people have to see to: said once when it begins, once when it is over."""

from __future__ import annotations

from tests.unit.lane.paper import Paper
from tidings.operators.send import BreakerSpec, SendSpec
from tidings.records import Alert, decode_alert
from tidings.runtime.alerts import Alerts, Cause
from tidings.sender import Verdict
from tidings.topics import ALERTS

SPEC = SendSpec(default="sandbox", in_flight=4, breaker=BreakerSpec(volume=4, probes=1))


def alerts(paper: Paper) -> list[Alert]:
    return [decode_alert(record.value or b"") for record in paper.of(ALERTS)]


def told(paper: Paper) -> list[tuple[str, str, str, str, str]]:
    return [(one.kind, one.state, one.where, one.provider, one.code) for one in alerts(paper)]


def test_a_provider_that_refuses_us_is_told_of_once_and_once_more_when_it_works_again() -> None:
    paper = Paper()
    lane = paper.lane(SPEC)
    for number in range(10):
        paper.deliver(f"n{number}", "phone")
    for _ in range(5):
        lane.turn(2)
        lane.answer_all(Verdict.CFG, code="InvalidProviderToken", detail="ana@example.com")
        lane.turn()
        paper.confirm()
        paper.clock.advance(30_000)
    assert told(paper) == [
        ("provider_stopped", "open", "push.normal", "sandbox", "InvalidProviderToken")
    ]
    assert "providers.sandbox in config/tidings.yaml" in alerts(paper)[0].fix
    lane.turn(2)
    lane.answer_all()
    lane.turn()
    paper.confirm()
    first, second = alerts(paper)
    assert (second.state, second.alert_id) == ("closed", first.alert_id)
    assert not any(b"ana@" in (record.value or b"") for record in paper.of(ALERTS))


def test_so_is_one_whose_breaker_opens() -> None:
    paper = Paper()
    lane = paper.lane(SPEC)
    for number in range(10):
        paper.deliver(f"n{number}", "phone")
    lane.turn()
    lane.answer_all(Verdict.RETRY, code="503")
    for _ in range(3):  # probes fail for a while
        lane.turn(2_500)
        lane.answer_all(Verdict.RETRY, code="503")
        lane.turn()
        paper.confirm()
    assert told(paper) == [("provider_down", "open", "push.normal", "sandbox", "503")]
    lane.turn(6_000)
    lane.answer_all()
    lane.turn()
    paper.confirm()
    assert [one.state for one in alerts(paper)] == ["open", "closed"]


def test_alerts_that_the_log_does_not_take_stop_nothing() -> None:
    paper = Paper()
    lane = paper.lane(SPEC)
    paper.deliver("n1", "phone")
    lane.serve(Verdict.CFG)
    lane.confirm(1)  # the attempt
    lane.confirm(error="no such topic")
    assert alerts(paper) == []
    paper.clock.advance(30_000)
    lane.turn(2)
    assert len(lane.in_flight) == 1


def test_two_troubles_are_two_alerts_and_what_is_quiet_is_over() -> None:
    book = Alerts("receipts", "p1")
    filtered, blocked = Cause("receipts", "twilio/30007"), Cause("receipts", "ses/Reject")
    book.opened(filtered, 1_000, provider="twilio", code="30007")
    book.opened(blocked, 2_000, provider="ses", code="Reject")
    book.opened(filtered, 3_000, provider="twilio", code="30007")
    book.close_quiet(12_500, quiet_ms=10_000)
    said = [decode_alert(append.value or b"") for append in book.take()]
    assert [(one.code, one.state, one.at) for one in said] == [
        ("30007", "open", 1_000),
        ("Reject", "open", 2_000),
        ("Reject", "closed", 12_500),
    ]
    assert said[1].alert_id == said[2].alert_id != said[0].alert_id
    assert book.take() == []
