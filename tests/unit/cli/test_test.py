"""`tidings test`: exact outputs at exact times; what nobody expected fails."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.unit.cli.command import Command

FLOW = """\
flow: shop
source: {topic: shop.events, key: recipient_id, fields: [event_id, type, recipient_id, item]}
steps:
  - digest: {window: 30s, keep: last 2, fields: [item]}
  - deliver: {to: push, template: order_update, category: orders}
"""
LANE = """\
lane: push
steps:
  - addresses
  - render
  - send: {default: sandbox, retry: {in_place: [], ladder: [30s, 5m]}}
"""
TESTS = """\
given:
  people: {ana: {addresses: [{kind: device, value: phone}]}}
  event: {type: order, recipient_id: ana}
cases:
  - name: two become one
    in:
      - {at: 0s, event: {event_id: e1, item: pen}}
      - {at: 10s, event: {event_id: e2, item: ink}}
    out:
      shop.deliver:
        - {at: 30s, to: ana, delivered: push, members: [e1, e2], data: {count: 2}}
"""


@pytest.fixture
def tests(here: Path) -> Path:
    """The file of tests of a flow that has a lane."""
    folder = here / "flows"
    (folder / "lanes").mkdir(parents=True)
    (folder / "shop.yaml").write_text(FLOW)
    (folder / "lanes" / "push.yaml").write_text(LANE)
    file = folder / "shop.test.yaml"
    file.write_text(TESTS)
    return file


def change(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


def test_what_comes_out_as_listed_passes(tidings: Command, tests: Path) -> None:
    assert tidings("test") == (0, "1 test in 1 file: all passed\n", "")
    assert tidings("test", "flows/shop.yaml").code == 0


def test_the_tests_that_are_shipped_pass(tidings: Command) -> None:
    said = tidings("test")
    assert said.out.endswith("in 7 files: all passed\n")
    assert said.code == 0


def test_a_difference_is_shown_beside_what_was_expected(tidings: Command, tests: Path) -> None:
    change(tests, ("at: 30s", "at: 29999ms"), ("count: 2", "count: 3"))
    said = tidings("test")
    assert said.code == 1
    assert said.out == (
        "✗ two become one  flows/shop.test.yaml:5\n"
        "  shop.deliver\n"
        "    expected   - {at: 29s999ms, to: ana, delivered: push, members: [e1, e2], "
        "data: {count: 3}}\n"
        "    got        - {at: 30s, to: ana, delivered: push, members: [e1, e2], "
        "data: {count: 2}}\n"
        "    differs in at, data.count\n"
        "\n"
        "1 test in 1 file: 1 failed\n"
    )


def test_an_output_that_nobody_expected_fails(tidings: Command, tests: Path) -> None:
    change(tests, ("{at: 10s, event: {event_id: e2", "{at: 30s, event: {event_id: e2"))
    change(tests, ("members: [e1, e2], data: {count: 2}", "members: [e1]"))
    said = tidings("test")
    assert said.code == 1
    assert "  shop.deliver\n    unexpected - {at: 1m, to: ana, delivered: push}\n" in said.out


def test_an_output_that_does_not_come_fails(tidings: Command, tests: Path) -> None:
    change(tests, ("    out:\n", "    advance: 29999ms\n    out:\n"))
    said = tidings("test")
    assert said.code == 1
    assert "    missing    - {at: 30s, to: ana, delivered: push" in said.out


def test_a_number_is_not_its_text(tidings: Command, tests: Path) -> None:
    change(tests, ("{count: 2}", "{count: '2'}"))
    assert "    differs in data.count\n" in tidings("test").out


def test_a_name_that_leads_nowhere_is_an_error_with_its_place(
    tidings: Command, tests: Path
) -> None:
    change(tests, ("shop.deliver:", "shop.delivr:"), ("item: ink", "itm: ink"))
    said = tidings("test")
    assert said.code == 1
    assert said.out == (
        "flows/shop.test.yaml:8:41  error[unknown-field]  cases[0].in[1].event.itm\n"
        "  the flow's events have no field `itm`\n"
        "     8 |       - {at: 10s, event: {event_id: e2, itm: ink}}\n"
        "       |                                         ^^^\n"
        "  hint: did you mean `item`?\n"
        "\n"
        "flows/shop.test.yaml:10:7  error[unknown-step]  cases[0].out.shop.delivr\n"
        "  there is no step `shop.delivr` in the flow or the lanes of this case\n"
        "    10 |       shop.delivr:\n"
        "       |       ^^^^^^^^^^^\n"
        "  hint: did you mean `shop.deliver`?\n"
    )


@pytest.mark.parametrize(
    ("old", "new", "place", "code"),
    [
        ("members:", "memebrs:", "11:47", "unknown-field"),
        ("delivered: push", "delivered: push, dropped: limit", "11:11", "one-of"),
        ("at: 30s", "at: 30 sec", "11:16", "bad-duration"),
        ("at: 0s", "at: 11s", "8:14", "out-of-order"),
        ("event: {event_id: e1, item: pen}", "raw: x, topic: shop.evnts", "7:33", "unknown-topic"),
        ("given:\n", "given:\n  providers: {apns: [{answer: inv}]}\n", "2:15", "unknown-provider"),
        ("given:\n", "given:\n  lanes: [fax]\n", "1:1", "unreadable-file"),
        ("given:\n", "flow: lanes/push.yaml\ngiven:\n", "1:7", "no-flow"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_at_its_place(
    tidings: Command, tests: Path, old: str, new: str, place: str, code: str
) -> None:
    change(tests, (old, new))
    said = tidings("test")
    assert said.code == 1
    assert re.findall(r":(\d+:\d+)  error\[([a-z-]+)\]", said.out) == [(place, code)]


def test_providers_fail_as_they_are_told(tidings: Command, tests: Path) -> None:
    change(
        tests,
        (
            "    out:\n",
            "    given:\n"
            "      lanes: [push]\n"
            "      templates: {order_update: {push: {title: '{{ count }} orders', body: '-'}}}\n"
            "      providers: {sandbox: [{attempts: 1, answer: retry, code: '503'}]}\n"
            "    out:\n"
            "      push.send:\n"
            "        - {at: 30s, to: ana, sent: phone, answer: retry, attempt: 1}\n"
            "        - {at: 1m, to: ana, sent: phone, answer: ok, attempt: 2, "
            "parts: {title: 2 orders}}\n",
        ),
    )
    said = tidings("test")
    assert said.out == "1 test in 1 file: all passed\n"


def test_cases_can_be_chosen_by_their_name(tidings: Command, tests: Path) -> None:
    assert tidings("test", "-k", "become").out == "1 test in 1 file: all passed\n"
    said = tidings("test", "-k", "nothing")
    assert (said.code, said.err) == (1, "no case has 'nothing' in its name\n")


def test_tools_get_json(tidings: Command, tests: Path) -> None:
    change(tests, ("count: 2", "count: 3"))
    said = json.loads(tidings("test", "--format", "json").out)
    assert (said["tests"], said["failed"], said["problems"]) == (1, 1, [])
    assert said["cases"] == [
        {
            "file": "flows/shop.test.yaml",
            "line": 5,
            "name": "two become one",
            "passed": False,
            "mismatches": [
                {
                    "step": "shop.deliver",
                    "expected": {
                        "at": "30s",
                        "to": "ana",
                        "delivered": "push",
                        "members": ["e1", "e2"],
                        "data": {"count": 3},
                    },
                    "got": {
                        "at": "30s",
                        "to": "ana",
                        "delivered": "push",
                        "members": ["e1", "e2"],
                        "data": {"count": 2},
                    },
                    "differing": ["data.count"],
                }
            ],
        }
    ]


def test_ci_servers_get_junit(tidings: Command, tests: Path) -> None:
    change(tests, ("count: 2", "count: 3"))
    suite = ElementTree.fromstring(tidings("test", "--format", "junit").out)[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
    (case,) = suite
    assert (case.get("name"), case.get("classname")) == ("two become one", "shop")
    assert "expected {at: 30s" in str(case[0].get("message"))


def test_a_broken_file_is_an_error_in_junit(tidings: Command, tests: Path) -> None:
    change(tests, ("shop.deliver:", "shop.delivr:"))
    suite = ElementTree.fromstring(tidings("test", "--format", "junit").out)[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "0", "1")


def test_a_thousand_tests_are_many_times_the_same(tidings: Command, tests: Path) -> None:
    head, case = tests.read_text().split("cases:\n")
    copies = [case.replace("two become one", f"number {number}") for number in range(1_000)]
    tests.write_text(f"{head}cases:\n{''.join(copies)}")
    assert tidings("test").out == "1000 tests in 1 file: all passed\n"


def test_what_a_lookup_finds_is_given(tidings: Command, tests: Path) -> None:
    flow = tests.with_name("shop.yaml")
    change(
        flow,
        (
            "steps:\n",
            "steps:\n"
            "  - lookup: {sql: 'select id, plan from customers where id in :keys', match: id,\n"
            "             connection: crm, fields: [plan], otherwise: {plan: free}}\n"
            "  - filter: {keep: plan == 'gold', reason: not_gold}\n",
        ),
    )
    change(
        tests,
        ("given:\n", "given:\n  lookups: {crm: {ana: {id: ana, plan: gold}}}\n"),
        ("item: ink}", "item: ink, recipient_id: bob}"),
        ("[e1, e2], data: {count: 2}}", "[e1], data: {count: 1}}"),
        (
            "    out:\n",
            "    out:\n      shop.filter: [{at: 10s, to: bob, dropped: not_gold}]\n",
        ),
    )
    settings = tests.parents[1] / "config" / "tidings.yaml"
    settings.parent.mkdir()
    settings.write_text("connections: {crm: {url: 'sqlite:///crm.db'}}\ncategories: {orders: {}}\n")
    assert tidings("test").out == "1 test in 1 file: all passed\n"


def test_a_folder_stands_for_all_tests_in_it(tidings: Command, tests: Path) -> None:
    for named in (".", "flows"):
        assert tidings("test", named).out == "1 test in 1 file: all passed\n"


def test_a_flow_without_a_test_is_told_where_to_write_one(tidings: Command, tests: Path) -> None:
    tests.rename(tests.with_name("other.test.yaml"))
    wanted = "there is no test of flows/shop.yaml: write flows/shop.test.yaml\n"
    assert tidings("test", "flows/shop.yaml") == (1, "", wanted)


def test_what_a_provider_does_in_virtual_time_alarms_nobody(tidings: Command) -> None:
    """One of the shipped cases has a provider stop, of which a lane logs an error."""
    said = tidings("test", "--format", "json")
    assert (said.code, said.err) == (0, "")
    assert json.loads(said.out)
