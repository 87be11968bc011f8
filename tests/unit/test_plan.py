"""What is wrong with a flow or a lane is said in these words, at this place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidings.plan import FlowPlan, load
from tidings.problems import Problems

HEAD = """\
flow: social
source: {topic: social.events, key: recipient_id, fields: [type, photo_id, recipient_id, actor_id]}
steps:
"""
END = "  - deliver: {to: push, template: t}\n"

WRONG = {
    "unknown operator": (
        HEAD
        + """\
  - digets: {by: [type], window: 30s}
"""
        + END,
        """\
flow.yaml:4:5  error[unknown-operator]  social.digets
  there is no operator `digets`
     4 |   - digets: {by: [type], window: 30s}
       |     ^^^^^^
  hint: did you mean `digest`?
""",
    ),
    "step twice": (
        HEAD
        + """\
  - limit: {at_most: 2, within: 1h}
  - limit: {at_most: 9, within: 1d}
"""
        + END,
        """\
flow.yaml:5:5  error[duplicate-step]  social.limit
  two steps would both be called `social.limit`
     5 |   - limit: {at_most: 9, within: 1d}
       |     ^^^^^
  see flow.yaml:4:5
     4 |   - limit: {at_most: 2, within: 1h}
       |     ^^^^^
  hint: give this one a name of its own: - {id: other_limit, limit: …}
""",
    ),
    "consent before digest": (
        HEAD
        + """\
  - consent: {category: social}
  - digest: {by: [type], window: 30s}
"""
        + END,
        """\
flow.yaml:4:5  error[wrong-place]  social.consent
  `consent` asks the outside world, and `social.digest` behind it keeps state
     4 |   - consent: {category: social}
       |     ^^^^^^^
  hint: a replay may be answered differently: put it behind the last keyed step
""",
    ),
    "render in flow": (
        HEAD
        + """\
  - render: {max_bytes: 4096}
"""
        + END,
        """\
flow.yaml:4:5  error[wrong-place]  social.render
  `render` belongs to a lane: a flow decides, a lane delivers
     4 |   - render: {max_bytes: 4096}
       |     ^^^^^^
  hint: put it into flows/lanes/<channel>.yaml
""",
    ),
    "limit before digest": (
        HEAD
        + """\
  - limit: {at_most: 2, within: 1h}
  - digest: {by: [type], window: 30s}
"""
        + END,
        """\
flow.yaml:4:5  warning[limit-before-digest]  social.limit
  `limit` counts events here, and `social.digest` behind it makes one of many
     4 |   - limit: {at_most: 2, within: 1h}
       |     ^^^^^
  hint: put it behind the digest; what thins out events is `throttle`
""",
    ),
    "limit before digest in a branch": (
        HEAD
        + """\
  - limit: {at_most: 2, within: 1h}
  - switch:
      cases:
        - {name: likes, when: type == 'like', steps: [{digest: {by: [type], window: 30s}}]}
"""
        + END,
        """\
flow.yaml:4:5  warning[limit-before-digest]  social.limit
  `limit` counts events here, and `social.switch.likes.digest` behind it makes one of many
     4 |   - limit: {at_most: 2, within: 1h}
       |     ^^^^^
  hint: put it behind the digest; what thins out events is `throttle`
""",
    ),
    "cap before digest": (
        HEAD
        + """\
  - cap
  - digest: {by: [type], window: 30s}
"""
        + END,
        """\
flow.yaml:4:5  error[wrong-place]  social.cap
  `cap` is about what goes out, and `social.digest` behind it still decides that
     4 |   - cap
       |     ^^^
  hint: put it behind the last keyed step
""",
    ),
    "hold behind the delivery": (
        HEAD
        + """\
  - deliver: {to: push, template: t}
  - hold: {delay: 1h}
""",
        """\
flow.yaml:5:5  error[after-end]  social.hold
  nothing gets to `hold`: all ends in `social.deliver`
     5 |   - hold: {delay: 1h}
       |     ^^^^
  hint: put it before `social.deliver`, or take it away
""",
    ),
    "hold without the zone": (
        HEAD
        + """\
  - hold: {quiet: 22:00-08:00, zone: zone}
"""
        + END,
        """\
flow.yaml:4:38  error[unknown-name]  social.hold
  the event has no field `zone`
     4 |   - hold: {quiet: 22:00-08:00, zone: zone}
       |                                      ^^^^
  hint: there is `actor_id`, `photo_id`, `recipient_id` and `type`
""",
    ),
    "cap of a channel that is not used": (
        HEAD
        + """\
  - cap: {channel: sms, at_most: 5, within: 1d}
"""
        + END,
        """\
flow.yaml:4:5  warning[idle-cap]  social.cap
  nothing of this flow goes out on `sms`, so nothing is counted
     4 |   - cap: {channel: sms, at_most: 5, within: 1d}
       |     ^^^
  hint: cap a channel that a `deliver` names, or take it away
""",
    ),
    "lookup of nobody": (
        HEAD
        + """\
  - lookup: {people: [zone]}
  - split: {over: photo_id, as: recipient_id}
"""
        + END,
        """\
flow.yaml:4:5  error[wrong-place]  social.lookup
  this asks about the recipient, who is known behind the `split` only
     4 |   - lookup: {people: [zone]}
       |     ^^^^^^
  hint: put it behind the split, or give it a `key`
""",
    ),
    "no end": (
        HEAD
        + """\
  - limit: {at_most: 2, within: 1h}
""",
        """\
flow.yaml:4:5  error[no-end]  social.limit
  some events come out at the end of the flow, and nothing is done with them
     4 |   - limit: {at_most: 2, within: 1h}
       |     ^^^^^
  hint: end in `- deliver: …`; a switch needs an `else`, a fan_out one branch without `when`
""",
    ),
    "switch without else": (
        HEAD
        + """\
  - switch:
      cases:
        - {when: type == 'like', steps: [{deliver: {to: push, template: t}}]}
""",
        """\
flow.yaml:4:5  error[no-end]  social.switch
  some events come out at the end of the flow, and nothing is done with them
     4 |   - switch:
       |     ^^^^^^
  hint: end in `- deliver: …`; a switch needs an `else`, a fan_out one branch without `when`
""",
    ),
    "unknown name": (
        HEAD
        + """\
  - filter: actor != recipient_id
"""
        + END,
        """\
flow.yaml:4:13  error[unknown-name]  social.filter
  the event has no field `actor`
     4 |   - filter: actor != recipient_id
       |             ^^^^^
  hint: did you mean `actor_id`?
""",
    ),
    "a comma that ends an expression": (
        HEAD
        + """\
  - filter: {keep: coalesce(photo_id, 0) > 0, reason: none}
"""
        + END,
        """\
flow.yaml:4:36  error[bad-expression]  social.filter.keep
  expected `)`, but the expression ends here
     4 |   - filter: {keep: coalesce(photo_id, 0) > 0, reason: none}
       |                                    ^
  hint: close with ); a comma ends a value in { }: where one belongs to it, quote the whole

flow.yaml:4:39  error[unknown-field]  social.filter.0) > 0
  `filter` has no field `0) > 0`
     4 |   - filter: {keep: coalesce(photo_id, 0) > 0, reason: none}
       |                                       ^^^^^^
  hint: a comma ends a value in { }: where one belongs to it, quote the whole value
""",
    ),
    "gone behind digest": (
        HEAD
        + """\
  - digest: {by: [type], window: 30s}
  - filter: photo_id != 'p1'
"""
        + END,
        """\
flow.yaml:5:13  error[unknown-name]  social.filter
  `photo_id` is gone here: `social.digest` puts other fields in its place
     5 |   - filter: photo_id != 'p1'
       |             ^^^^^^^^
  hint: what stands in its `by` stays; there is `actor_count`, `actors`, `closed_at`, `count`, `items`, `opened_at` and `type`
""",  # noqa: E501
    ),
    "own topic": (
        """\
flow: social
source: {topic: tidings.social, key: recipient_id}
steps:
  - deliver: {to: push, template: t}
""",
        """\
flow.yaml:2:17  error[own-topic]  social.source
  the flow would read `tidings.social`, which it writes
     2 | source: {topic: tidings.social, key: recipient_id}
       |                 ^^^^^^^^^^^^^^
  hint: every event would come back for ever
""",
    ),
    "two operators": (
        HEAD
        + """\
  - limit: {at_most: 2, within: 1h}
    deliver: {to: push, template: t}
""",
        """\
flow.yaml:5:5  error[two-operators]  social
  a step has one operator, this one has 2
     5 |     deliver: {to: push, template: t}
       |     ^^^^^^^
  hint: put `- ` before `deliver`, or indent it if it belongs to `limit`
""",
    ),
    "nameless arm": (
        HEAD
        + """\
  - switch:
      cases:
        - when: type == 'like'
          steps: [{digest: {by: [type], window: 30s}}]
"""
        + END,
        """\
flow.yaml:6:11  error[nameless-arm]  social.switch.1.digest
  a branch with a keyed step needs a `name`: its state goes by it
     6 |         - when: type == 'like'
       |           ^^^^^^^^^^^^^^^^^^^^
  hint: name: …, so that moving the branch does not lose open digests
""",
    ),
    "split in branch": (
        HEAD
        + """\
  - switch:
      cases:
        - when: type == 'like'
          steps: [{split: {over: followers}}]
"""
        + END,
        """\
flow.yaml:7:20  error[wrong-place]  social.switch.1.split
  `split` stands inside a branch
     7 |           steps: [{split: {over: followers}}]
       |                    ^^^^^
  hint: put it before the branch

flow.yaml:7:34  error[unknown-name]  social.switch.1.split
  the event has no field `followers`
     7 |           steps: [{split: {over: followers}}]
       |                                  ^^^^^^^^^
  hint: there is `actor_id`, `photo_id`, `recipient_id` and `type`
""",
    ),
    "digest mode": (
        HEAD
        + """\
  - digest: {by: [type]}
"""
        + END,
        """\
flow.yaml:4:13  error[bad-value]  social.digest
  a digest takes either `window`, or `gap` and `max_wait`, or `at`
     4 |   - digest: {by: [type]}
       |             ^^^^^^^^^^^^
  hint: for example: window: 30s
""",
    ),
    "bad duration": (
        HEAD
        + """\
  - digest: {by: [type], window: 30 sec}
"""
        + END,
        """\
flow.yaml:4:34  error[bad-duration]  social.digest.window
  `30 sec` is not a duration
     4 |   - digest: {by: [type], window: 30 sec}
       |                                  ^^^^^^
  hint: did you mean 30s?
""",
    ),
    "lane no send": (
        """\
lane: push
steps:
  - expire
""",
        """\
flow.yaml:3:5  error[no-end]  push.expire
  a lane ends in `send`
     3 |   - expire
       |     ^^^^^^
  hint: add `- send: {…}`
""",
    ),
    "lane digest": (
        """\
lane: push
steps:
  - digest: {by: [type], window: 30s}
  - send: {default: sandbox}
""",
        """\
flow.yaml:3:5  error[wrong-place]  push.digest
  `digest` has no place in a lane
     3 |   - digest: {by: [type], window: 30s}
       |     ^^^^^^
  hint: a lane sends what a flow has decided: usable are addresses, consent, expire, render, send, suppress
""",  # noqa: E501
    ),
    "misspelt": (
        HEAD
        + """\
  - digest: {by: [type], windw: 30s}
"""
        + END,
        """\
flow.yaml:4:26  error[unknown-field]  social.digest.windw
  `digest` has no field `windw`
     4 |   - digest: {by: [type], windw: 30s}
       |                          ^^^^^
  hint: did you mean `window`?
""",
    ),
    "misplaced": (
        HEAD
        + """\
  - digest: {by: [type], window: 30s, template: t}
"""
        + END,
        """\
flow.yaml:4:39  error[unknown-field]  social.digest.template
  `digest` has no field `template`
     4 |   - digest: {by: [type], window: 30s, template: t}
       |                                       ^^^^^^^^
  hint: did you mean to put it inside `deliver`?
""",
    ),
}


def problems_of(folder: Path, text: str) -> str:
    file = folder / "flow.yaml"
    file.write_text(text)
    problems = Problems()
    load(file, {}, problems)
    return problems.render().replace(str(file), "flow.yaml") + "\n"


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_told_in_its_place_with_the_likely_fix(
    tmp_path: Path, text: str, said: str
) -> None:
    assert problems_of(tmp_path, text) == said


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    text = (
        HEAD
        + """\
  - filter: actor != recipient_id
  - digest: {by: [typ], window: 22:00}
  - limt: {at_most: 3, within: 1h}
"""
        + END
    )
    said = problems_of(tmp_path, text)

    assert "4:13  error[unknown-name]  social.filter" in said
    assert "5:33  error[bad-duration]  social.digest.window" in said
    assert "6:5  error[unknown-operator]  social.limt" in said


def test_a_flow_is_cut_before_its_first_keyed_step(tmp_path: Path) -> None:
    text = (
        HEAD
        + """\
  - filter: actor_id != recipient_id
  - digest: {by: [type], window: 30s}
  - limit: {at_most: 20, within: 1d}
  - consent: {category: social}
"""
        + END
    )
    file = tmp_path / "flow.yaml"
    file.write_text(text)
    plan = load(file, {}, Problems())

    assert isinstance(plan, FlowPlan)
    assert [step.path for step in plan.intake] == ["social.filter"]
    assert [step.path for step in plan.keyed] == ["social.digest", "social.limit"]
    assert [step.path for step in plan.tail] == ["social.consent", "social.deliver"]


@pytest.mark.parametrize(("held", "wrong"), [("downgrade", []), ("defer", ["unknown-name"])])
def test_behind_a_hold_that_downgrades_there_is_a_field_that_says_so(
    tmp_path: Path, held: str, wrong: list[str]
) -> None:
    file, problems = tmp_path / "flow.yaml", Problems()
    file.write_text(
        HEAD
        + f"  - hold: {{quiet: 22:00-08:00, zone: type, then: {held}}}\n"
        + "  - filter: {keep: not quiet_hours, reason: quiet}\n"
        + END
    )

    load(file, {}, problems)

    assert [problem.code for problem in problems.errors] == wrong
