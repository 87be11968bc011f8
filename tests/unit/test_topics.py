from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tidings import topics
from tidings.log.address import open_log
from tidings.log.port import LogError, TopicSettings
from tidings.receipts import REPLIES
from tidings.records import Priority
from tidings.topics import Change, Step, TopicRule, plan, settings

GOLDEN = Path(__file__).parents[1] / "golden" / "topics.json"

SAMPLE = [
    "social.events",
    *topics.flow_topics("social", keyed=True),
    *topics.flow_topics("otp", keyed=False),
    *topics.lane_topics("push", Priority.HIGH),
    *topics.lane_topics("push", Priority.NORMAL),
    topics.notifications(Priority.LOW),
    REPLIES,
]
RULES = [
    TopicRule(pattern="*", replication=3),
    TopicRule(pattern="tidings.social", partitions=16),
    TopicRule(pattern="deliveries.push.high*", retention_ms=topics.DAY),
]


def existing(*names: str, rules: list[TopicRule] | None = None) -> dict[str, TopicSettings]:
    return {topic.name: topic for topic in settings(names, rules or [])}


def test_the_table_of_topics_is_held_by_the_golden_file() -> None:
    table = {
        "defaults": settings(SAMPLE),
        "with rules": settings(SAMPLE, RULES),
    }
    written = msgspec.json.format(msgspec.json.encode(table)).decode() + "\n"
    assert written == GOLDEN.read_text(), f"the table changed: {GOLDEN.name} holds a migration"


def test_names() -> None:
    assert topics.entries("social") == "tidings.social"
    assert topics.state("social") == "tidings.social.state"
    assert topics.notifications(Priority.HIGH) == "notifications.high"
    assert topics.deliveries("push", Priority.NORMAL) == "deliveries.push.normal"
    assert topics.retry("sms", Priority.LOW, "5m") == "deliveries.sms.low.retry.5m"
    assert topics.dead_letters("flow") == "notif_dlq.flow"
    assert topics.EVENTS == "notif_events"


def test_state_has_the_partitions_of_its_entries() -> None:
    rules = [TopicRule(pattern="tidings.a", partitions=3), TopicRule(pattern="*", replication=2)]
    found = {topic.name: topic.partitions for topic in settings([topics.state("a")], rules)}
    assert found == {"tidings.a.state": 3}


def test_the_last_rule_that_fits_wins() -> None:
    rules = [TopicRule(pattern="*", partitions=2), TopicRule(pattern="notif_*", partitions=5)]
    found = {topic.name: topic.partitions for topic in settings(["notif_events", "x"], rules)}
    assert found == {"notif_events": 5, "x": 2}


def test_what_is_as_wanted_needs_no_change() -> None:
    assert plan(existing(*SAMPLE), settings(SAMPLE)) == []


def test_what_is_missing_is_created() -> None:
    [change] = plan({}, settings(["notif_events"]))
    assert change == Change(
        Step.CREATE,
        settings(["notif_events"])[0],
        "8 partitions x 1, not compacted, kept for 7 days, records up to 1 MiB",
    )


def test_retention_and_record_size_are_altered() -> None:
    rule = TopicRule(pattern="*", retention_ms=1, max_record_bytes=5 << 20)
    [change] = plan(existing("notif_events"), settings(["notif_events"], [rule]))
    assert change.step is Step.ALTER
    assert change.why == "retention_ms 604800000 → 1, max_record_bytes 1048576 → 5242880"


def test_the_retention_of_a_compacted_topic_says_nothing() -> None:
    rule = TopicRule(pattern="*", retention_ms=5)
    assert plan(existing("tidings.a.state"), settings(["tidings.a.state"], [rule])) == []


def test_partitions_of_a_flow_are_refused_with_the_way_out() -> None:
    rule = TopicRule(pattern="tidings.a", partitions=16)
    changes = plan(existing("tidings.a"), settings(["tidings.a"], [rule]))
    assert [change.step for change in changes] == [Step.REFUSE]
    assert "8 partitions and would have 16" in changes[0].why
    assert "partitions: 8 in the table of topics" in changes[0].why


def test_compaction_is_not_switched_on_under_records() -> None:
    rule = TopicRule(pattern="*", compacted=True)
    [change] = plan(existing("notif_events"), settings(["notif_events"], [rule]))
    assert change.step is Step.REFUSE


def test_an_upstream_topic_is_left_as_it_is() -> None:
    rule = TopicRule(pattern="*", partitions=1, retention_ms=1)
    assert plan(existing("social.events"), settings(["social.events"], [rule])) == []


def test_apply_creates_and_alters(tmp_path: Path) -> None:
    admin = open_log(f"sqlite:{tmp_path}").admin()
    topics.apply(admin, plan(admin.topics(), settings(SAMPLE)))
    assert admin.topics() == existing(*SAMPLE)
    shorter = settings(SAMPLE, [TopicRule(pattern="deliveries.*", retention_ms=topics.DAY)])
    topics.apply(admin, plan(admin.topics(), shorter))
    assert plan(admin.topics(), shorter) == []
    assert admin.topics()["deliveries.push.high"].retention_ms == topics.DAY


def test_apply_does_nothing_where_one_change_is_refused(tmp_path: Path) -> None:
    admin = open_log(f"sqlite:{tmp_path}").admin()
    admin.create(settings(["tidings.a"]))
    wanted = settings(["tidings.a", "tidings.b"], [TopicRule(pattern="*", partitions=2)])
    with pytest.raises(LogError, match=r"none was:\n  tidings\.a: it has 8 partitions"):
        topics.apply(admin, plan(admin.topics(), wanted))
    assert list(admin.topics()) == ["tidings.a"]


def test_an_unknown_field_of_a_rule_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError, match="retention"):
        msgspec.convert({"pattern": "*", "retention": 5}, TopicRule)


@pytest.mark.parametrize("rule", [{"max_record_bytes": 1000}, {"partitions": 0}])
def test_a_rule_that_no_topic_can_follow_is_an_error(rule: dict[str, int]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"pattern": "*", **rule}, TopicRule)
