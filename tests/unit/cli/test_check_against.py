"""`tidings check --against`: what a changed flow does to what the running one has open."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.unit.cli.command import Command

FLOW = """\
flow: shop
source: {topic: shop.events, key: recipient_id}
steps:
  - digest: {by: [type], window: 30s, actors: actor_id}
  - limit: {at_most: 3, within: 1d}
  - deliver: {to: push, template: social_digest, category: orders}
"""


@pytest.fixture
def flow(here: Path) -> Path:
    """The flow, and in `before` the same as it runs."""
    (here / "before").mkdir()
    (here / "before" / "shop.yaml").write_text(FLOW)
    file = here / "flows" / "shop.yaml"
    file.parent.mkdir()
    file.write_text(FLOW)
    return file


def changed(flow: Path, old: str, new: str) -> None:
    assert old in FLOW
    flow.write_text(FLOW.replace(old, new))


def codes(tidings: Command, ref: str = "before") -> list[str]:
    said = json.loads(tidings("check", "--against", ref, "--format", "json").out)
    return [f"{one['path']} {one['code']}" for one in said["problems"]]


def test_the_same_changes_nothing(tidings: Command, flow: Path) -> None:
    assert tidings("check", "--against", "before").out == "1 file: no problems\n"


def test_a_renamed_digest_is_told_with_the_way_to_keep_it(tidings: Command, flow: Path) -> None:
    changed(
        flow,
        "- digest: {by: [type], window: 30s, actors: actor_id}",
        "- {id: pile, digest: {by: [type], window: 30s, actors: actor_id}}",
    )
    said = tidings("check", "--against", "before")
    assert (said.code, said.out) == (
        0,
        "flows/shop.yaml:4:16  warning[renamed-step]  shop.pile\n"
        "  `shop.digest` seems to be called `shop.pile` now: its open digests are dropped\n"
        "     4 |   - {id: pile, digest: {by: [type], window: 30s, actors: actor_id}}\n"
        "       |                ^^^^^^\n"
        "  see before/shop.yaml:4:5\n"
        "     4 |   - digest: {by: [type], window: 30s, actors: actor_id}\n"
        "       |     ^^^^^^\n"
        "  hint: keep its id: - {id: digest, digest: …}\n"
        "\n"
        "1 file: 1 warning\n",
    )
    assert tidings("check", "--strict", "--against", "before").code == 1


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("  - limit: {at_most: 3, within: 1d}\n", "", "shop.limit gone-step"),
        ("limit: {at_most: 3", "{id: digest2, limit: {at_most: 3", ""),
        ("by: [type]", "by: [type, shop]", "shop.digest moved-fields"),
        ("- deliver: {to", "- {id: out, deliver: {to", ""),
        ("flow: shop", "flow: store", "shop flow-gone"),
        ("window: 30s", "window: 30s, keep: first 3", "shop.digest kept-otherwise"),
        ("window: 30s", "window: 30s, keep: last 5", None),
        ("window: 30s", "window: 30s, counts: type", "shop.digest unknown-before"),
        ("window: 30s", "window: 30s, tell_apart: [actor_id]", None),
        ("window: 30s", "window: 30s, cancel: type == 'gone'", None),
        ("actors: actor_id", "actors: actor", "shop.digest counted-otherwise"),
        ("window: 30s", "window: 5m", None),
        ("at_most: 3", "at_most: 5", None),
    ],
)
def test_what_becomes_of_state_is_told(
    tidings: Command, flow: Path, old: str, new: str, told: str | None
) -> None:
    if told == "":
        line = next(line for line in FLOW.splitlines() if old in line)
        changed(flow, line, line.replace(old, new) + "}")
        told = "shop.out other-ids" if "out" in new else "shop.digest2 renamed-step"
    else:
        changed(flow, old, new)
    assert codes(tidings) == ([] if told is None else [told])


def test_what_open_digests_have_gathered_by_an_old_rule_is_told(
    tidings: Command, flow: Path
) -> None:
    changed(
        flow,
        "actors: actor_id",
        "actors: actor_id, keep: top 2 by score, cancel: {when: undo, match: [photo]}",
    )
    said = json.loads(tidings("check", "--against", "before", "--format", "json").out)
    assert [one["message"] for one in said["problems"]] == [
        "`keep` of `shop.digest` was `last 3` and is `top 2 by score`: digests that are open have "
        "kept by the old rule, and their `items` are a mixture; their counts stay exact",
        "of what is in the open digests of `shop.digest`, `photo` is not known: it is in no "
        "`counts`, no `cancel` takes it back, and `consent` takes none of it out",
    ]


def test_another_operator_under_an_old_id_is_an_error(tidings: Command, flow: Path) -> None:
    changed(
        flow,
        "- limit: {at_most: 3, within: 1d}",
        "- {id: limit, throttle: {at_most: 3, within: 1d}}",
    )
    assert codes(tidings) == ["shop.limit other-state"]
    assert tidings("check", "--against", "before").code == 1


def test_topics_that_are_new_are_listed(tidings: Command, flow: Path) -> None:
    changed(flow, "to: push", "first_of: [push, email]")
    said = tidings("check", "--against", "before")
    assert said.out.startswith("topics that it needs on top: deliveries.email.normal\n")


def test_a_git_revision_is_compared_with_too(tidings: Command, flow: Path) -> None:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (["init", "-q"], ["add", "flows"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True, cwd=flow.parents[1])
    flow.rename(flow.with_name("store.yaml"))
    flow = flow.with_name("store.yaml")
    changed(flow, "  - limit: {at_most: 3, within: 1d}\n", "")
    said = tidings("check", "--against", "HEAD")
    assert "warning[gone-step]  shop.limit\n" in said.out
    assert "  see HEAD:flows/shop.yaml:5:5\n" in said.out
    said = tidings("check", "--against", "nowhere")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(
        "--against nowhere: no file, no folder, and no git revision of flows:"
    )
    (flow.parent / "empty").mkdir()
    for path in ("", "HEAD:flows", "flows/empty"):  # nothing would be compared
        assert tidings("check", "--against", path).code == 1


def test_a_flow_that_can_not_be_read_is_not_gone(tidings: Command, flow: Path) -> None:
    changed(flow, "source: {topic", "source: [topic")
    assert codes(tidings) == [" bad-yaml"]
    flow.unlink()
    (flow.parent / "other.yaml").write_text(FLOW.replace("flow: shop", "flow: other"))
    assert codes(tidings) == ["shop flow-gone"]
