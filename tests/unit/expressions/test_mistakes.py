"""What is no expression, what is too much of one, and which names it may use."""

import copy
from typing import Any

import pytest

from tests.unit.expressions.event import EVENT, value
from tidings.expressions import (
    EvaluationError,
    field_getter,
    parse,
)
from tidings.problems import Mark, Problems, ValueProblem


@pytest.mark.parametrize(
    ("text", "underlined", "message", "hint"),
    [
        ("", "", "an expression is expected here", "such as actor_id != recipient_id"),
        ("a = 3", "=", "unexpected `=`", "did you mean `==`?"),
        ("a && b", "&&", "unexpected `&&`", "did you mean `and`?"),
        ("a || b", "||", "unexpected `||`", "did you mean `or`?"),
        ("!a", "!", "unexpected `!`", "did you mean `not`?"),
        ("a AND b", "AND", "expected an operator or the end, got `AND`", "did you mean `and`?"),
        ("a is null", "is", "expected an operator or the end, got `is`", "did you mean `==`?"),
        ("a == True", "True", "unexpected `True`", "did you mean `true`?"),
        ("x ** 2", "**", "unexpected `**`", "there are no powers; write x * x"),
        ("a ? b : c", "?", "unexpected `?`", "write: a if test else b"),
        ("${X}", "$", "unexpected `$`", None),
        ("a == 'b", "'", "the quote that opens here is never closed", "a text ends with the quote"),
        ("'\\q'", "\\q", "there is no escape `\\q`", "for the backslash itself write two"),
        ("'\\ud800'", "\\ud800", "there is no escape `\\ud800`", "for the backslash itself write "),
        ("a > 30s", "30s", "`30s` is neither a number nor a name", "a text needs quotes: '30s'"),
        (
            "99999999999999999999",
            "99999999999999999999",
            "this number is too large",
            "numbers have",
        ),
        ("a b", "b", "expected an operator or the end, got `b`", "is there an operator missing"),
        ("a)", ")", "expected an operator or the end, got `)`", "it closes nothing"),
        ("(a", "a", "expected `)`, but the expression ends here", "close the parenthesis with )"),
        ("a or", "r", "expected a value, but the expression ends here", None),
        ("a[1.5]", "1.5", "an index is a whole number or a text", None),
        ("a < b < c", "<", "comparisons don't chain", "write a < b and b < c"),
        ("lwer(a)", "lwer", "there is no function `lwer`", "did you mean `lower`?"),
        ("lower()", "lower()", "`lower` can't take nothing", "it is used as lower(text)"),
        ("lower(a, b)", "lower(a, b)", "`lower` can't take 2 values", "it is used as lower(text)"),
        ("exists('a')", "'a'", "`exists` asks for a field", "it is used as exists(photo.owner)"),
        ("name.lower()", ".lower", "`.lower(…)`: values have no methods", "write lower(…) around"),
        ("__import__('os')", "__import__", "there is no function `__import__`", None),
        ("a if b", "b", "expected `else`, but the expression ends here", "a condition needs both"),
        ("not 5", "5", "`not` takes true or false, and this is a number", None),
        ("'a' * 3", "'a'", "`*` takes a number, and this is a text", None),
        ("'a' < 3", "3", "`<` takes a text, and this is a number", None),
        ("a in 3", "3", "behind `in` stands a list or a text or a map, and this is a number", None),
        ("x" * 4001, "x", "an expression has at most 4000 characters; this one has 4001", None),
        ("(" * 50, "(", "nested deeper than 40 levels", "split it: compute a part in a `set` step"),
        ("- " * 50 + "a", "-", "nested deeper than 40 levels", "split it"),
        ("not " * 50 + "a", "not", "nested deeper than 40 levels", "split it"),
        ("a + " * 250 + "a", None, "an expression has at most 400 parts", "split it"),
    ],
)
def test_a_mistake_is_explained_at_its_token(
    text: str, underlined: str | None, message: str, hint: str | None
) -> None:
    with pytest.raises(ValueProblem) as raised:
        parse(text)
    problem = raised.value
    assert problem.code == "bad-expression"
    assert problem.message == message
    if hint is not None:
        assert problem.hint is not None
        assert problem.hint.startswith(hint)
    if underlined is not None:
        assert problem.length is not None
        assert text[problem.offset : problem.offset + problem.length].startswith(underlined)


def test_a_mistake_is_placed_in_its_file() -> None:
    where = Mark("flow.yaml", 5, 13, 17, "    - filter: a and b == = c")
    with pytest.raises(ValueProblem) as raised:
        parse("a and b == = c", where)
    assert raised.value.at(where, "social.filter.keep").where == Mark("flow.yaml", 5, 24)


def test_the_longest_expression_still_compiles() -> None:
    assert parse(" + ".join(["amount"] * 200)).of(EVENT) == 24_000


def test_deep_choices_compile_in_no_time() -> None:
    text = "public"
    for _ in range(35):
        text = f"({text} if public else hidden)"
    assert value(text) is True


# ── Bounds ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "big + big",
        "join([big, big], '')",
        "lower(big + 'x' + big)",
        "split(huge, ',')",
        "upper(huge)",
        "number * number * number",
        "-9223372036854775807 * 4",
    ],
)
def test_nothing_grows_without_bound(text: str) -> None:
    event = {"big": "x" * 40_000, "huge": "," * 100_000, "number": 10**15}
    with pytest.raises(EvaluationError):
        parse(text).of(event)


def test_an_event_nested_too_deeply_is_an_error() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    other = copy.copy(deep)
    other[0] = [deep[0][0]]
    twin: Any = []
    for _ in range(100_000):
        twin = [twin]
    with pytest.raises(EvaluationError, match="nested too deeply"):
        parse("a == b").of({"a": deep, "b": twin})


# ── Names ─────────────────────────────────────────────────────────────────────────────────────


def test_names_are_the_fields_that_an_expression_begins_at() -> None:
    text = "photo.owner.id == a and exists(b.c) or len(items[n].x) > 0"
    assert parse(text).names == {"photo", "a", "b", "items", "n"}


def test_unknown_names_are_reported_once_each_at_their_first_place() -> None:
    source = "keep: actr_id != b and actr_id != zzz"
    where = Mark("f.yaml", 1, 7, 31, source)
    problems = Problems()
    parse(source[6:], where).check({"actor_id", "b"}, problems, "social.filter.keep")
    assert problems.render() == (
        "f.yaml:1:7  error[unknown-name]  social.filter.keep\n"
        "  the event has no field `actr_id`\n"
        "     1 | keep: actr_id != b and actr_id != zzz\n"
        "       |       ^^^^^^^\n"
        "  hint: did you mean `actor_id`?\n"
        "\n"
        "f.yaml:1:35  error[unknown-name]  social.filter.keep\n"
        "  the event has no field `zzz`\n"
        "     1 | keep: actr_id != b and actr_id != zzz\n"
        "       |                                   ^^^\n"
        "  hint: there is `actor_id` and `b`"
    )


def test_no_names_are_unknown_where_the_event_is() -> None:
    problems = Problems()
    parse("a == b").check(None, problems, "x")
    assert len(problems) == 0


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("recipient_id", ("recipient_id",)),
        ("photo.owner['x'][0]", ("photo", "owner", "x", 0)),
        ("`user-id`", ("user-id",)),
        ("(a)", ("a",)),
        ("a + b", None),
        ("a[b]", None),
        ("'a'", None),
    ],
)
def test_a_plain_field_has_a_path(text: str, path: tuple[str | int, ...] | None) -> None:
    expression = parse(text)
    assert (expression.path, expression.is_field) == (path, path is not None)


def test_a_field_getter_reads_a_field_or_says_that_it_is_missing() -> None:
    get = field_getter("photo.owner.id")
    assert get(EVENT) == "p1"
    with pytest.raises(EvaluationError, match=r"`photo.owner` is missing: `photo` has no `owner`"):
        get({"photo": {}})


def test_a_field_getter_takes_no_expression() -> None:
    with pytest.raises(ValueProblem, match="a field of the event is expected here"):
        field_getter("a + b")
