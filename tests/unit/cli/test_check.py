"""`tidings check`: everything that is wrong, at once, with its place and a hint."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.unit.cli.command import Command

FLOW = """\
flow: shop
source: {topic: shop.events, key: recipient_id}
steps:
  - deliver: {to: push, template: order_update, category: orders}
"""
SMTP = "{kind: smtp, host: mail.example.com, sender: news@example.com}"
LANE = """\
lane: push
steps:
  - addresses
  - render
  - send: {default: sandbox}
"""


@pytest.fixture
def flows(here: Path) -> Path:
    """A flow and a lane that are good."""
    folder = here / "flows"
    (folder / "lanes").mkdir(parents=True)
    (folder / "shop.yaml").write_text(FLOW)
    (folder / "lanes" / "push.yaml").write_text(LANE)
    return folder


def write(flows: Path, name: str, old: str, new: str) -> None:
    file = flows / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def set_up(here: Path, **providers: str) -> None:
    """A configuration with these providers."""
    (here / "config").mkdir(exist_ok=True)
    rows = [f"  {name}: {settings}\n" for name, settings in providers.items()]
    text = "categories: {orders: {}}\nproviders:\n" + "".join(rows)
    (here / "config" / "tidings.yaml").write_text(text)


def test_what_is_good_has_no_problems(tidings: Command, flows: Path) -> None:
    assert tidings("check") == (0, "2 files: no problems\n", "")


def test_what_is_shipped_is_good(tidings: Command) -> None:
    assert tidings("check") == (0, "10 files: no problems\n", "")


WATCH = """\
flow: watch
source: {topic: shop.events, key: recipient_id}
steps:
  - escalate:
      rounds: [{channel: push, sent_by: shop}, {channel: push, after: 30s}]
      until: delivered
  - deliver: {template: order_update, category: orders}
"""


def test_a_flow_that_waits_and_one_that_replies_must_mean_each_other(
    tidings: Command, flows: Path
) -> None:
    (flows / "watch.yaml").write_text(WATCH)
    said = tidings("check", "--strict")
    assert "watch.yaml:4:5  warning[no-reply]  watch.escalate" in said.out
    assert "`shop` does not tell `watch` what becomes of its deliveries" in said.out

    write(flows, "shop.yaml", "category: orders}", "category: orders, reply_to: watch}")
    assert tidings("check", "--strict").out == "3 files: no problems\n"

    write(flows, "watch.yaml", "sent_by: shop", "sent_by: other")
    said = tidings("check")
    assert "shop.yaml:4:5  error[no-wait]  shop.deliver" in said.out
    assert "an `escalate` there begins with {channel: …, sent_by: shop}" in said.out


def test_a_lane_that_asks_is_told_which_provider_can_not_be_asked(
    tidings: Command, here: Path, flows: Path
) -> None:
    set_up(here, sandbox="{kind: sandbox}", mail=SMTP)
    asks = "default: [sandbox, mail], on_uncertain: ask"
    write(flows, "lanes/push.yaml", "default: sandbox", asks)
    said = tidings("check", "--strict")
    assert said.code == 1
    assert said.out == (
        "flows/lanes/push.yaml:5:52  warning[cannot-ask]  push.send\n"
        "  `mail` can't be asked whether it has a message: what it does not answer for ends as "
        "`unknown`\n"
        "     5 |   - send: {default: [sandbox, mail], on_uncertain: ask}\n"
        "       |                                                    ^^^\n"
        "  hint: a receipt turns that into sent or failed where the provider sends one; `resend` "
        "tries again, where silence is worse than a duplicate\n"
        "\n"
        "2 files: 1 warning\n"
    )


def test_a_flow_that_has_its_provider_asked_is_told_where_it_can_not_be(
    tidings: Command, here: Path, flows: Path
) -> None:
    set_up(here, sandbox=SMTP)
    write(flows, "shop.yaml", "deliver: {", "deliver: {on_uncertain: ask, ")
    said = tidings("check", "--strict")
    assert said.code == 1
    assert re.findall(r"(\S+)  warning\[cannot-ask\]  (\S+)\n(.*)\n", said.out) == [
        (
            "flows/shop.yaml:4:29",
            "shop.deliver",
            "  `sandbox` can't be asked whether it has a message: what it does not answer for ends "
            "as `unknown`",
        )
    ]


def test_a_file_of_tests_is_checked_and_not_run(tidings: Command, flows: Path) -> None:
    case = "cases: [{name: a, in: [{event: {}}], out: {shop.delivr: [{at: 0s, delivered: push}]}}]"
    (flows / "shop.test.yaml").write_text(case)
    said = tidings("check", str(flows / "shop.yaml"), str(flows / "shop.test.yaml"))
    assert said.code == 1
    assert re.findall(r"(shop\S+)  error\[([a-z-]+)\]", said.out) == [
        ("shop.test.yaml:1:44", "unknown-step")
    ]
    assert said.out.endswith("2 files: 1 error\n")


def test_all_problems_of_all_files_are_told_at_once(tidings: Command, flows: Path) -> None:
    write(flows, "shop.yaml", "order_update", "order_updat")
    write(flows, "lanes/push.yaml", "default: sandbox", "default: sandbx")
    said = tidings("check")
    assert (said.code, said.err) == (1, "")
    assert said.out == (
        "flows/lanes/push.yaml:5:21  error[unknown-provider]  push.send\n"
        "  there is no provider `sandbx` in the settings\n"
        "     5 |   - send: {default: sandbx}\n"
        "       |                     ^^^^^^\n"
        "  hint: did you mean `sandbox`?\n"
        "\n"
        "flows/shop.yaml:4:35  error[unknown-template]  shop.deliver\n"
        "  there is no template `order_updat` in config/templates\n"
        "     4 |   - deliver: {to: push, template: order_updat, category: orders}\n"
        "       |                                   ^^^^^^^^^^^\n"
        "  hint: did you mean `order_update`?\n"
        "\n"
        "2 files: 2 errors\n"
    )


def test_a_lane_that_renders_nothing_above_its_send_is_told_so(
    tidings: Command, flows: Path
) -> None:
    write(flows, "lanes/push.yaml", "  - render\n", "")
    said = tidings("check", str(flows / "lanes" / "push.yaml"))
    assert said.code == 1
    assert "flows/lanes/push.yaml:4:5  error[no-content]  push.send\n" in said.out
    assert "  there is nothing to send: no step above makes a text of the delivery\n" in said.out
    assert "  hint: put `- render` above it\n" in said.out


def test_tools_get_json(tidings: Command, flows: Path) -> None:
    write(flows, "shop.yaml", "category: orders", "category: order")
    said = tidings("check", "--format", "json")
    assert said.code == 1
    assert json.loads(said.out) == {
        "files": 2,
        "errors": 1,
        "warnings": 0,
        "problems": [
            {
                "severity": "error",
                "code": "unknown-category",
                "message": "there is no category `order` in the configuration",
                "path": "shop.deliver",
                "hint": "did you mean `orders`?",
                "file": "flows/shop.yaml",
                "line": 4,
                "column": 59,
                "length": 5,
            }
        ],
    }


def codes(tidings: Command, *arguments: str) -> list[str]:
    """The codes and places of what `check` finds."""
    problems = json.loads(tidings("check", "--format", "json", *arguments).out)["problems"]
    return [f"{found['file']}:{found['line']} {found['code']}" for found in problems]


def test_only_the_files_that_are_named_are_checked(tidings: Command, flows: Path) -> None:
    write(flows, "shop.yaml", "order_update", "nowhere")
    assert codes(tidings, "flows/lanes/push.yaml") == []


def test_a_channel_without_a_text_is_an_error(tidings: Command, flows: Path) -> None:
    write(flows, "shop.yaml", "to: push", "first_of: [push, sms]")
    assert codes(tidings) == ["flows/shop.yaml:4 missing-text"]


@pytest.mark.parametrize(("rate", "code"), [("1/6m", 1), ("1/4m", 0), ("10/m", 0)])
def test_a_rate_that_makes_a_message_wait_longer_than_it_lives_is_an_error(
    tidings: Command, flows: Path, rate: str, code: int
) -> None:
    write(flows, "shop.yaml", "category: orders", "category: orders, expires: 5m")
    write(flows, "lanes/push.yaml", "{default: sandbox}", f"{{default: sandbox, rate: {rate}}}")
    said = tidings("check")
    assert said.code == code
    assert ("push.yaml:5:36  error[slow-rate]  push.send" in said.out) == bool(code)
    wrong = "`sandbox` gets one message each 6m, and those of `shop.deliver` live for 5m"
    assert (wrong in said.out) == bool(code)


def test_a_lane_of_an_unknown_channel_is_an_error(tidings: Command, flows: Path) -> None:
    write(flows, "lanes/push.yaml", "lane: push", "lane: pusch")
    assert codes(tidings) == ["flows/lanes/push.yaml:1 unknown-channel"]


def test_two_flows_of_one_name_are_an_error_in_the_second(tidings: Command, flows: Path) -> None:
    (flows / "other.yaml").write_text("# another\n" + FLOW)
    assert codes(tidings) == ["flows/shop.yaml:1 duplicate-flow"]


@pytest.mark.parametrize("topic", ["notif_events", "notif_dlq.flow", "deliveries.push.normal"])
def test_a_flow_may_not_read_what_it_causes(tidings: Command, flows: Path, topic: str) -> None:
    write(flows, "shop.yaml", "shop.events", topic)
    assert codes(tidings) == ["flows/shop.yaml:2 own-topic"]


def test_flows_may_not_feed_each_other_in_a_circle(tidings: Command, flows: Path) -> None:
    limited = FLOW.replace("steps:", "steps:\n  - limit: {at_most: 1, within: 1d}")
    (flows / "shop.yaml").write_text(limited.replace("shop.events", "tidings.club"))
    (flows / "club.yaml").write_text(
        limited.replace("shop.events", "tidings.shop").replace("flow: shop", "flow: club")
    )
    assert codes(tidings) == ["flows/club.yaml:2 own-topic", "flows/shop.yaml:2 own-topic"]


def test_the_settings_are_checked_too(tidings: Command, flows: Path, here: Path) -> None:
    (here / "config").mkdir()
    (here / "config" / "tidings.yaml").write_text(
        "categories: {orders: {}}\n"
        "types: {order: oders}\n"
        "providers:\n"
        "  sandbox: {kind: sandbox, latency: soon}\n"
        "  other: {kind: sandbocks}\n"
    )
    assert codes(tidings) == [
        "config/tidings.yaml:2 unknown-category",
        "config/tidings.yaml:4 bad-duration",
        "config/tidings.yaml:5 unknown-kind",
    ]


def test_a_template_that_does_not_compile_is_an_error(
    tidings: Command, flows: Path, here: Path
) -> None:
    texts = here / "config" / "templates" / "order_update"
    texts.mkdir(parents=True)
    (texts / "push.en.j2").write_text("--- title\n{{ oops\n--- body\nb\n")
    assert codes(tidings) == ["flows/shop.yaml:4 bad-text"]


def test_a_file_that_is_not_there_is_an_error(tidings: Command) -> None:
    said = tidings("check", "flows/nowhere.yaml")
    assert said.code == 1
    assert "flows/nowhere.yaml" in said.out


def test_warnings_alone_are_errors_only_to_the_strict(tidings: Command, flows: Path) -> None:
    write(
        flows, "shop.yaml", "steps:\n", "steps:\n  - cap: {channel: sms, at_most: 1, within: 1d}\n"
    )
    assert (tidings("check").code, tidings("check", "--strict").code) == (0, 1)
    assert tidings("check").out.endswith("2 files: 1 warning\n")


DIGEST = "digest: {window: 1m, by: [type]}"
SECURITY = "deliver: {to: push, template: social_digest, category: security}"
SOCIAL = "deliver: {to: push, template: social_digest, category: social}"
HOLD = "hold: {quiet: 22:00-08:00, zone: \"'UTC'\", category: security}"


def switch(then: str, *otherwise: str) -> str:
    case = f"{{name: one, when: type == 'a', steps: [{then}]}}"
    return f"switch: {{cases: [{case}], else: [{', '.join(otherwise)}]}}"


@pytest.mark.parametrize(
    ("steps", "warnings"),
    [
        ([DIGEST, SOCIAL], 0),
        ([DIGEST, "consent: {category: security}", SOCIAL], 1),
        ([DIGEST, switch(SECURITY, SOCIAL)], 1),
        ([switch("set: {n: 1}", DIGEST), f"{{id: by, {switch(SECURITY, SOCIAL)}}}"], 0),
        ([switch("set: {n: 1}", DIGEST, HOLD), SOCIAL], 1),
    ],
)
def test_a_digest_that_what_is_critical_can_not_go_past_is_warned_of(
    tidings: Command, flows: Path, steps: list[str], warnings: int
) -> None:
    head = "flow: shop\nsource: {topic: shop.events, key: recipient_id}\nsteps:\n"
    (flows / "shop.yaml").write_text(head + "".join(f"  - {step}\n" for step in steps))

    found = [each.split()[1] for each in codes(tidings)]
    assert found == ["digest-of-critical"] * warnings


def test_what_may_be_missing_is_no_variable_that_a_flow_must_bring(
    tidings: Command, flows: Path, here: Path
) -> None:
    texts = here / "config" / "templates" / "order_update"
    texts.mkdir(parents=True)
    write(flows, "shop.yaml", "key: recipient_id", "key: recipient_id, fields: [recipient_id, id]")
    text = (
        "--- title\n{{ id }}\n--- body\n{{ w|default(1) }}{% if x is defined %}{{ x }}{% endif %}"
    )
    (texts / "push.en.j2").write_text(text)
    assert codes(tidings) == []
    (texts / "push.en.j2").write_text(text + "{{ eta }}")
    assert codes(tidings) == ["flows/shop.yaml:4 missing-variable"]
    write(flows, "shop.yaml", "to: push", "to: push, fields: [id]")
    (texts / "push.en.j2").write_text("--- title\n{{ recipient_id }}\n--- body\n{{ type }}")
    assert codes(tidings) == ["flows/shop.yaml:4 missing-variable"]


@pytest.mark.parametrize("named", [".", "flows", "flows/"])
def test_a_folder_stands_for_the_flows_and_lanes_in_it(
    tidings: Command, flows: Path, named: str
) -> None:
    assert tidings("check", named) == (0, "2 files: no problems\n", "")
    assert tidings("check", "flows/lanes").out == "1 file: no problems\n"


@pytest.mark.parametrize(
    ("named", "hint"),
    [
        ("shop", "did you mean flows/shop.yaml?"),
        ("shop.yaml", "did you mean flows/shop.yaml?"),
        ("empty", "there is no flow in this folder: name a file"),
    ],
)
def test_what_is_no_file_is_told_with_what_was_meant(
    tidings: Command, flows: Path, named: str, hint: str
) -> None:
    (flows.parent / "empty").mkdir()
    said = tidings("check", named)
    assert said.code == 1
    assert said.out.startswith(f"{named}:1:1  error[unreadable-file]\n")
    assert f"  hint: {hint}\n" in said.out
