"""Which flows and lanes there are, and which of them share a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidings.content import content_root
from tidings.plan import load
from tidings.problems import Problems
from tidings.records import Priority
from tidings.running.footprint import footprint
from tidings.running.packing import Pack, pack
from tidings.running.roster import Role, roles, shipped_files

DELIVER = "steps:\n  - deliver: {{to: sms, template: t, priority: '{}', category: codes}}\n"
SOURCE = "source: {topic: a.events, key: recipient_id}\n"
CHANNELS = ("push", "email", "sms")


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    return file


def read(*files: Path) -> list[Role]:
    problems = Problems()
    found = roles(files, list(Priority), {}, problems)
    problems.raise_if_any()
    return found


def test_a_lane_plays_a_role_at_each_priority(tmp_path: Path) -> None:
    lane = write(tmp_path, "sms.yaml", "lane: sms\nsteps:\n  - send: {default: sandbox}\n")
    assert [(role.name, role.high()) for role in read(lane)] == [
        ("sms.high", True),
        ("sms.normal", False),
        ("sms.low", False),
    ]


def test_a_flow_is_one_role_unless_its_name_holds_the_priority(tmp_path: Path) -> None:
    one = write(tmp_path, "a.yaml", "flow: a\n" + SOURCE + DELIVER.format("high"))
    each = write(
        tmp_path,
        "b.yaml",
        "flow: b-${TIDINGS_PRIORITY}\n" + SOURCE + DELIVER.format("${TIDINGS_PRIORITY}"),
    )
    assert [(role.name, role.high()) for role in read(one, each)] == [
        ("a", True),
        ("b-high", True),
        ("b-normal", False),
        ("b-low", False),
    ]


@pytest.mark.parametrize(
    ("given", "topic", "high"),
    [
        (["high"], "deliveries.sms.high", True),
        (["low"], "deliveries.sms.low", False),
        (["low", "high"], "deliveries.sms.normal", False),
    ],
)
def test_a_flow_that_names_no_priority_has_that_of_a_process_with_one(
    tmp_path: Path, given: list[str], topic: str, high: bool
) -> None:
    deliver = "steps:\n  - deliver: {to: sms, template: t}\n"
    flow = write(tmp_path, "a.yaml", "flow: a\n" + SOURCE + deliver)
    problems = Problems()
    [role] = roles([flow], [Priority(each) for each in given], {}, problems)
    ours = footprint(role.plan, role.priority, CHANNELS).ours
    assert (topic in ours, role.high()) == (True, high)


def test_high_is_alone_and_a_flow_of_both_kinds_disturbs_neither(tmp_path: Path) -> None:
    codes = write(tmp_path, "codes.yaml", "flow: codes\n" + SOURCE + DELIVER.format("high"))
    news = write(tmp_path, "news.yaml", "flow: news\n" + SOURCE + DELIVER.format("low"))
    both = write(
        tmp_path,
        "both.yaml",
        "flow: both\n" + SOURCE + "steps:\n  - switch:\n      cases:\n"
        "        - when: a == 1\n          steps:\n"
        "            - deliver: {to: sms, template: t, priority: high, category: codes}\n"
        "      else:\n"
        "        - deliver: {to: sms, template: t, priority: low, category: codes}\n",
    )
    lane = write(tmp_path, "sms.yaml", "lane: sms\nsteps:\n  - send: {default: sandbox}\n")
    assert pack(read(codes, news, both, lane)) == [
        Pack("high", [codes, lane], [Priority.HIGH], ["codes", "sms.high"]),
        Pack(
            "rest",
            [news, lane],
            [Priority.NORMAL, Priority.LOW],
            ["news", "sms.normal", "sms.low"],
        ),
        Pack("both", [both], [], ["both"]),
    ]


def test_what_providers_call_back_has_a_process_of_its_own() -> None:
    assert pack([], receipts=True) == [Pack("receipts", roles=["receipts"])]


def test_what_is_shipped_packs_into_two_processes() -> None:
    packs = pack(read(*shipped_files(content_root() / "flows")))
    assert {each.name: sorted(each.roles) for each in packs} == {
        "high": [
            "alerts",
            "email.high",
            "notify-high",
            "otp",
            "push.high",
            "sms.high",
            "voice.high",
        ],
        "rest": [
            *("email.low", "email.normal", "notify-low", "notify-normal", "orders", "promo"),
            *("push.low", "push.normal", "sms.low", "sms.normal", "social"),
            *("voice.low", "voice.normal"),
        ],
    }


@pytest.mark.parametrize(
    ("file", "sources", "ours"),
    [
        (
            "otp",
            ["otp.events"],
            [
                *("deliveries.sms.high", "deliveries.voice.high"),
                *("notif_dlq.flow", "notif_events"),
            ],
        ),
        (
            "social",
            ["social.events"],
            [
                *("deliveries.email.normal", "deliveries.push.normal", "notif_dlq.flow"),
                *("notif_events", "tidings.social", "tidings.social.state"),
            ],
        ),
        (
            "notify",  # an event may name any channel
            ["notifications.low"],
            [
                *("deliveries.email.low", "deliveries.push.low", "deliveries.sms.low"),
                *("notif_dlq.flow", "notif_events"),
            ],
        ),
        (
            "lanes/push",
            [],
            [
                *("deliveries.push.low", "deliveries.push.low.retry.30m"),
                *("deliveries.push.low.retry.30s", "deliveries.push.low.retry.5m"),
                *("notif_alerts", "notif_dlq.push", "notif_dlq.released", "notif_events"),
            ],
        ),
    ],
)
def test_the_topics_of_what_is_shipped(file: str, sources: list[str], ours: list[str]) -> None:
    problems = Problems()
    env = {"TIDINGS_PRIORITY": "low"}
    plan = load(content_root() / "flows" / f"{file}.yaml", env, problems)
    assert plan is not None
    found = footprint(plan, Priority.LOW, CHANNELS)
    assert (sorted(found.sources), sorted(found.ours)) == (sources, ours)
