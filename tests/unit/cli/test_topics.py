"""`tidings topics`: the topics that flows and lanes need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.command import Command
from tidings.log.address import open_log
from tidings.log.port import TopicSettings

OTP = """\
flow: otp
source: {topic: otp.events, key: recipient_id, id: request_id}
steps:
  - deliver: {to: sms, priority: high, template: otp_code, category: codes}
"""


@pytest.fixture
def flow(here: Path) -> str:
    (here / "otp.yaml").write_text(OTP)
    return "otp.yaml"


def topics(here: Path) -> dict[str, int]:
    """The partitions of what exists."""
    there = open_log(f"sqlite:{here}/data/log").admin().topics()
    return {name: settings.partitions for name, settings in there.items()}


def test_a_plan_shows_what_would_be_made_and_makes_nothing(
    here: Path, tidings: Command, flow: str
) -> None:
    said = tidings("topics", "plan", flow)
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        "create  deliveries.sms.high  8 partitions x 1, not compacted, kept for 7 days, "
        "records up to 2 MiB\n"
        "create  notif_dlq.flow       4 partitions x 1, not compacted, kept for 30 days, "
        "records up to 16 MiB\n"
        "create  notif_events         8 partitions x 1, not compacted, kept for 7 days, "
        "records up to 1 MiB\n"
        "\n"
        f"sqlite:{here}/data/log: 3 to create, 0 as wanted\n"
    )
    assert topics(here) == {}


def test_apply_makes_them_once(here: Path, tidings: Command, flow: str) -> None:
    assert tidings("topics", "apply", flow).code == 0
    assert topics(here) == {"deliveries.sms.high": 8, "notif_dlq.flow": 4, "notif_events": 8}
    assert tidings("topics", "apply", flow) == (0, f"sqlite:{here}/data/log: 3 as wanted\n", "")


def test_the_upstreams_topics_are_made_on_demand(here: Path, tidings: Command, flow: str) -> None:
    tidings("topics", "apply", "--sources", flow)
    assert topics(here)["otp.events"] == 8


def test_a_change_of_partitions_is_refused_and_then_nothing_is_done(
    here: Path, tidings: Command, flow: str
) -> None:
    open_log(f"sqlite:{here}/data/log").admin().create(
        [TopicSettings(name="notif_events", partitions=3)]
    )
    planned = tidings("topics", "plan", flow)
    assert planned.code == 1
    assert "refuse  notif_events" in planned.out
    assert planned.out.endswith("2 to create, 1 refused, 0 as wanted\n")
    applied = tidings("topics", "apply", flow)
    assert applied.code == 1
    assert "notif_events: it has 3 partitions and would have 8" in applied.err
    assert topics(here) == {"notif_events": 3}


def test_without_files_what_providers_call_back_has_its_topic(here: Path, tidings: Command) -> None:
    assert tidings("topics", "apply").code == 0
    assert topics(here)["provider_events"] == 8
    assert topics(here)["replies"] == 8
    assert tidings("topics", "plan").out.startswith("sqlite:")


def test_a_flow_that_reads_replies_has_their_topic(here: Path, tidings: Command) -> None:
    (here / "asks.yaml").write_text(
        "flow: asks\nsource: {topics: [visits, replies], key: recipient_id}\nsteps:\n"
        "  - deliver: {to: sms, template: otp_code, category: codes}\n"
    )
    tidings("topics", "apply", "asks.yaml")

    assert topics(here)["replies"] == 8
    assert "visits" not in topics(here)


def test_a_flow_that_waits_has_its_topics_where_its_deliveries_come_from(
    here: Path, tidings: Command
) -> None:
    (here / "codes.yaml").write_text(
        "flow: codes\nsource: {topic: codes, key: recipient_id}\nsteps:\n"
        "  - deliver: {to: sms, template: otp_code, category: codes, reply_to: watch}\n"
    )
    tidings("topics", "apply", "codes.yaml")

    assert topics(here) == {
        "deliveries.sms.normal": 8,
        "notif_dlq.flow": 4,
        "notif_events": 8,
        "tidings.watch": 8,
        "tidings.watch.state": 8,
    }


def test_the_settings_say_how_many_partitions(here: Path, tidings: Command, flow: str) -> None:
    (here / "tidings.yaml").write_text(
        f"log: sqlite:{here}/data/log\n"
        "topics: {deliveries_partitions: 2, source_partitions: 3, entries_partitions: 5}\n"
    )
    tidings("topics", "apply", "--sources", "--config", "tidings.yaml", flow)
    assert topics(here) == {
        "deliveries.sms.high": 2,
        "notif_dlq.flow": 4,
        "notif_events": 8,
        "otp.events": 3,
    }


def test_a_lane_needs_its_ladder_at_every_priority(here: Path, tidings: Command) -> None:
    (here / "sms.yaml").write_text(
        "lane: sms\nsteps:\n  - send: {default: sandbox, retry: {ladder: [10s]}}\n"
    )
    tidings("topics", "apply", "sms.yaml")
    assert sorted(topics(here)) == [
        *sorted(
            name
            for priority in ("high", "low", "normal")
            for name in (f"deliveries.sms.{priority}", f"deliveries.sms.{priority}.retry.10s")
        ),
        "notif_alerts",
        "notif_dlq.released",
        "notif_dlq.sms",
        "notif_events",
    ]
