"""Binding: texts become typed values, and each error stands at its exact key or value."""

from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from tidings.durations import Duration
from tidings.expressions import Condition, FieldPath
from tidings.load import Json, Map, Node, Places, bind, places_of, read
from tidings.problems import Problems


class Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Retry(Spec):
    in_place: list[Duration] = []
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.2


class Filter(Spec):
    keep: Condition
    reason: Annotated[str, Field(min_length=2)] = "filtered"


class Digest(Spec):
    by: Annotated[list[FieldPath], Field(min_length=1)]
    window: Duration
    """How long it stays open."""
    max_items: Annotated[int, Field(gt=0)] = 500
    exact: bool = False


class Deliver(Spec):
    first_of: list[str]
    priority: Literal["high", "normal", "low"] = "normal"
    expires: Duration | Literal["never"] = "never"
    retry: Retry | bool = False
    each: dict[str, Retry] = {}
    from_: Annotated[str, Field(alias="from")] = ""


PLACES = places_of([("filter", Filter), ("digest", Digest), ("deliver", Deliver)])


def loaded(text: str, problems: Problems | None = None) -> Node:
    if problems is None:
        problems = Problems()
    node = read(text, "social.yaml", {"WINDOW": "soon"}, problems)
    assert node is not None
    return node


def bound(
    text: str,
    model: type[BaseModel],
    *,
    shorthand: str | None = None,
    places: Places | None = None,
) -> str:
    """The rendered problems of `step: …`."""
    problems = Problems()
    node = loaded(text, problems)
    name, value = next(iter(to_entries(node)))
    bind(value, model, f"social.{name}", problems, shorthand=shorthand, places=places)
    return problems.render()


def to_entries(node: Node) -> list[tuple[str, Node]]:
    assert isinstance(node, Map)
    return [(entry.name, entry.value) for entry in node]


def typed(text: str, model: type[Spec], shorthand: str | None = None) -> dict[str, object]:
    problems = Problems()
    found = bind(loaded(text), model, "x", problems, shorthand=shorthand)
    assert found is not None, problems.render()
    return found.model_dump(exclude_unset=True)


# ── What is typed ─────────────────────────────────────────────────────────────────────────────


def test_texts_are_typed_by_the_schema() -> None:
    assert typed("{by: [type], window: 1m, max_items: 20, exact: true}", Digest)["window"] == 60_000
    assert typed("{in_place: [1s, 2s], jitter: 0.5}", Retry) == {
        "in_place": [1000, 2000],
        "jitter": 0.5,
    }


def test_words_of_yaml_1_1_are_texts_where_a_text_is_wanted() -> None:
    assert typed("{first_of: [no, on, 22:00], from: yes}", Deliver) == {
        "first_of": ["no", "on", "22:00"],
        "from_": "yes",
    }


@pytest.mark.parametrize(("word", "value"), [("no", False), ("on", True), ("true", True)])
def test_words_of_yaml_1_1_are_booleans_where_a_boolean_is_wanted(word: str, value: bool) -> None:
    assert typed(f"{{by: [type], window: 1m, exact: {word}}}", Digest)["exact"] is value


def test_a_text_stands_for_the_shorthand_field() -> None:
    assert str(typed("actor_id != recipient_id", Filter, "keep")["keep"]) == (
        "actor_id != recipient_id"
    )


def test_a_list_stands_for_the_shorthand_field() -> None:
    assert typed("[push, email]", Deliver, "first_of") == {"first_of": ["push", "email"]}


def test_nothing_stands_for_no_fields() -> None:
    assert typed("~", Retry, "in_place") == {}


def test_an_expression_knows_its_place_in_the_file() -> None:
    problems = Problems()
    node = loaded("{keep: 'actor_id != recipent_id'}")
    spec = bind(node, Filter, "social.filter", problems)
    assert spec is not None
    spec.keep.check({"actor_id", "recipient_id"}, problems, "social.filter.keep")
    assert problems.render() == (
        "social.yaml:1:21  error[unknown-name]  social.filter.keep\n"
        "  the event has no field `recipent_id`\n"
        "     1 | {keep: 'actor_id != recipent_id'}\n"
        "       |                     ^^^^^^^^^^^\n"
        "  hint: did you mean `recipient_id`?"
    )


def test_free_data_is_typed_as_json_types_it() -> None:
    class Sample(Spec):
        event: Json = None

    text = "{event: {a: 20, b: -1.5, c: true, d: null, e: no, f: '20', g: 22:00, h: [0123], i: }}"
    assert typed(text, Sample) == {
        "event": {
            "a": 20,
            "b": -1.5,
            "c": True,
            "d": None,
            "e": "no",
            "f": "20",
            "g": "22:00",
            "h": ["0123"],
            "i": None,
        }
    }


# ── What is refused, word for word ────────────────────────────────────────────────────────────


def test_a_misspelt_field_is_named_once_with_the_right_one() -> None:
    assert bound("digest: {by: [type], windw: 30s}\n", Digest) == (
        "social.yaml:1:22  error[unknown-field]  social.digest.windw\n"
        "  `digest` has no field `windw`\n"
        "     1 | digest: {by: [type], windw: 30s}\n"
        "       |                      ^^^^^\n"
        "  hint: did you mean `window`?"
    )


def test_a_missing_field_is_shown_at_the_step_with_its_documentation() -> None:
    assert bound("digest: {by: [type]}\n", Digest) == (
        "social.yaml:1:1  error[missing-field]  social.digest\n"
        "  `digest` needs `window`\n"
        "     1 | digest: {by: [type]}\n"
        "       | ^^^^^^\n"
        "  hint: `window`: How long it stays open"
    )


def test_a_bad_duration_is_shown_with_what_was_meant() -> None:
    assert bound("digest: {by: [type], window: 30 sec}\n", Digest) == (
        "social.yaml:1:30  error[bad-duration]  social.digest.window\n"
        "  `30 sec` is not a duration\n"
        "     1 | digest: {by: [type], window: 30 sec}\n"
        "       |                              ^^^^^^\n"
        "  hint: did you mean 30s?"
    )


def test_a_time_of_day_is_no_duration() -> None:
    assert bound("digest:\n  by: [type]\n  window: 22:00\n", Digest) == (
        "social.yaml:3:11  error[bad-duration]  social.digest.window\n"
        "  `22:00` is a time of day, not a duration\n"
        "     3 |   window: 22:00\n"
        "       |           ^^^^^\n"
        "  hint: a duration is written like 500ms, 30s, 5m, 2h, 1d, 1w or 1h30m"
    )


def test_a_list_is_no_duration() -> None:
    assert bound("digest: {by: [type], window: [a, b]}\n", Digest) == (
        "social.yaml:1:30  error[wrong-kind]  social.digest.window\n"
        "  expected a duration such as 30s, got the list [a, b]\n"
        "     1 | digest: {by: [type], window: [a, b]}\n"
        "       |                              ^^^^^^\n"
        "  hint: a duration is written like 500ms, 30s, 5m, 2h, 1d, 1w or 1h30m"
    )


@pytest.mark.parametrize("word", ["no", "on"])
def test_no_and_on_are_no_durations_either(word: str) -> None:
    assert bound(f"digest:\n  by: [type]\n  window: {word}\n", Digest) == (
        "social.yaml:3:11  error[bad-duration]  social.digest.window\n"
        f"  `{word}` is not a duration\n"
        f"     3 |   window: {word}\n"
        "       |           ^^\n"
        "  hint: a duration is written like 500ms, 30s, 5m, 2h, 1d, 1w or 1h30m"
    )


def test_an_expression_s_mistake_is_shown_at_its_token() -> None:
    assert bound("filter: {keep: \"type = 'like'\", reason: x1}\n", Filter) == (
        "social.yaml:1:22  error[bad-expression]  social.filter.keep\n"
        "  unexpected `=`\n"
        "     1 | filter: {keep: \"type = 'like'\", reason: x1}\n"
        "       |                      ^\n"
        "  hint: did you mean `==`?"
    )


def test_a_shorthand_s_mistake_is_shown_at_its_token() -> None:
    assert bound("filter: a ==\n", Filter, shorthand="keep") == (
        "social.yaml:1:12  error[bad-expression]  social.filter.keep\n"
        "  expected a value, but the expression ends here\n"
        "     1 | filter: a ==\n"
        "       |            ^"
    )


def test_a_field_of_another_step_is_sent_there() -> None:
    assert bound(
        "digest:\n  by: [type]\n  window: 1m\n  first_of: [push]\n", Digest, places=PLACES
    ) == (
        "social.yaml:4:3  error[unknown-field]  social.digest.first_of\n"
        "  `digest` has no field `first_of`\n"
        "     4 |   first_of: [push]\n"
        "       |   ^^^^^^^^\n"
        "  hint: did you mean to put it inside `deliver`?"
    )


def test_a_field_of_an_inner_map_is_sent_there() -> None:
    assert bound("deliver: {first_of: [], in_place: [1s]}\n", Deliver).endswith(
        "hint: did you mean to put it inside `retry`?"
    )


def test_a_field_of_the_outer_map_is_sent_out() -> None:
    assert bound("deliver: {first_of: [], retry: {priority: high}}\n", Deliver) == (
        "social.yaml:1:33  error[unknown-field]  social.deliver.retry.priority\n"
        "  `retry` has no field `priority`\n"
        "     1 | deliver: {first_of: [], retry: {priority: high}}\n"
        "       |                                 ^^^^^^^^\n"
        "  hint: did you mean to put it beside `retry`, not inside it?"
    )


def test_a_field_like_no_other_is_told_what_there_is() -> None:
    assert bound("filter: {keep: a == b, zebra: 1}\n", Filter).endswith(
        "hint: it takes `keep` and `reason`"
    )


def test_all_errors_come_at_once_each_at_its_place() -> None:
    text = (
        "deliver:\n"
        "  first_of: push\n"
        "  priority: hihg\n"
        "  retry: {in_place: [1s, 30], jitter: 7}\n"
        "  each:\n"
        "    apns: {jitter: often}\n"
        "    fcm: {jiter: 1}\n"
        "  from:\n"
    )
    problems = Problems()
    node = dict(to_entries(loaded(text)))["deliver"]
    assert bind(node, Deliver, "social.deliver", problems) is None
    assert [
        (f"{p.where.line}:{p.where.column}", p.code, p.path, p.message, p.hint) for p in problems
    ] == [
        (
            "2:13",
            "wrong-kind",
            "social.deliver.first_of",
            "expected a list, got the text `push`",
            "did you mean [push]?",
        ),
        (
            "3:13",
            "not-a-choice",
            "social.deliver.priority",
            "expected high, normal or low, got the text `hihg`",
            "did you mean high?",
        ),
        (
            "4:26",
            "bad-duration",
            "social.deliver.retry.in_place[1]",
            "`30` needs a unit",
            "did you mean 30s, 30m or 30h?",
        ),
        (
            "4:39",
            "out-of-range",
            "social.deliver.retry.jitter",
            "must be at most 1, got the text `7`",
            None,
        ),
        (
            "6:20",
            "wrong-kind",
            "social.deliver.each.apns.jitter",
            "expected a number, got the text `often`",
            None,
        ),
        (
            "7:11",
            "unknown-field",
            "social.deliver.each.fcm.jiter",
            "`fcm` has no field `jiter`",
            "did you mean `jitter`?",
        ),
        (
            "8:3",
            "wrong-kind",
            "social.deliver.from",
            "expected a text, got nothing",
            "write a value behind the `:`, or leave the line out",
        ),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digest: {by: [], window: 1s}", "needs at least 1 item"),
        ("digest: {by: [a + b], window: 1s}", "a field of the event is expected here, not an exp"),
        ("digest: {by: [a], window: 1s, max_items: 0}", "must be more than 0, got the text `0`"),
        ("digest: {by: [a], window: 1s, max_items: x}", "expected a whole number, got the text `x"),
        ("digest: {by: [a], window: 1s, exact: 22:00}", "expected true or false, got the text `22"),
        ("digest: {by: {a: b}, window: 1s}", "expected a list, got the map {a: b}"),
        ("digest: abc", "`digest` takes fields, got the text `abc`"),
        ("digest: [a]", "`digest` takes fields, got the list [a]"),
    ],
)
def test_wrong_values_are_told_in_prose(text: str, message: str) -> None:
    assert f"\n  {message}" in bound(text, Digest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deliver: {first_of: [], expires: nevr}", "expected never, got the text `nevr`"),
        ("deliver: {first_of: [], expires: 30}", "`30` needs a unit"),
        (
            "deliver: {first_of: [], expires: [1h]}",
            "expected a duration such as 30s or never, got the list [1h]",
        ),
        (
            "deliver: {first_of: [], retry: soon}",
            "expected a map of fields or true or false, got the text `soon`",
        ),
    ],
)
def test_a_field_of_several_types_says_them_together(text: str, message: str) -> None:
    problems = bound(text, Deliver)
    assert f"\n  {message}\n" in problems
    assert problems.count("error[") == 1


def test_an_unset_variable_is_reported_once() -> None:
    assert bound("digest: {by: [type], window: '${NO}'}\n", Digest) == (
        "social.yaml:1:30  error[unset-variable]  digest.window\n"
        "  the environment variable NO is not set\n"
        "     1 | digest: {by: [type], window: '${NO}'}\n"
        "       |                              ^^^^^^^\n"
        "  hint: set NO, or give a default: ${NO:default}"
    )


def test_a_variable_s_bad_value_is_shown_at_the_reference() -> None:
    assert bound("digest: {by: [type], window: '${WINDOW}'}\n", Digest).startswith(
        "social.yaml:1:30  error[bad-duration]  social.digest.window\n  `soon` is not a duration"
    )


def test_an_aliased_map_complains_once() -> None:
    problems = Problems()
    entries = dict(to_entries(loaded("a: &x {by: [type], window: 30}\nb: *x\n")))
    for name, node in entries.items():
        bind(node, Digest, f"social.{name}", problems)
    assert [str(problem.where) for problem in problems] == ["social.yaml:1:28"]


def test_a_model_that_lets_unknown_fields_pass_is_refused() -> None:
    class Loose(BaseModel):
        name: str = ""

    class Outer(Spec):
        inner: Loose | None = None

    with pytest.raises(TypeError, match="Loose must say extra='forbid'"):
        bind(loaded("{}"), Outer, "x", Problems())


_texts = st.sampled_from(
    ["push", "30s", "30", "no", "~", "", "a == b", "1", "true", "'", "[a]", "hihg", "é"]
)
_names = st.sampled_from(["first_of", "priority", "expires", "retry", "each", "in_place", "x"])
_trees = st.recursive(
    _texts.map(lambda text: "'" + text.replace("'", "''") + "'") | st.just("~"),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(_names, inner, max_size=4).map(
            lambda items: "{" + ", ".join(f"{k}: {v}" for k, v in items.items()) + "}"
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(_trees)
def test_any_tree_is_bound_or_explained_in_its_own_lines(text: str) -> None:
    problems = Problems()
    spec = bind(loaded(text), Deliver, "social.deliver", problems, shorthand="first_of")
    assert (spec is None) == bool(problems.errors)
    for problem in problems:
        assert problem.where.line == 1
        assert problem.where.column <= len(text)
        assert problem.path.startswith("social.deliver")
