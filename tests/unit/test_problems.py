"""Problems: how they are collected, printed and handed to tools."""

import pytest

from tidings.problems import (
    Mark,
    Problem,
    Problems,
    ProblemsError,
    SourceText,
    ValueProblem,
    did_you_mean,
    listed,
    suggestion,
)

LINE = "  - digest: {by: [type], window: 30 sec}"
WINDOW = Mark("flows/social.yaml", 6, 34, 6, LINE)


def test_a_problem_prints_place_code_path_message_caret_and_hint() -> None:
    problem = Problem(
        "bad-duration",
        "`30 sec` is not a duration",
        WINDOW,
        "social.digest.window",
        "did you mean 30s?",
    )
    assert problem.render() == (
        "flows/social.yaml:6:34  error[bad-duration]  social.digest.window\n"
        "  `30 sec` is not a duration\n"
        "     6 |   - digest: {by: [type], window: 30 sec}\n"
        "       |                                  ^^^^^^\n"
        "  hint: did you mean 30s?"
    )


def test_a_problem_without_path_source_or_hint_prints_what_it_has() -> None:
    problem = Problem("empty-file", "the file is empty", Mark("a.yaml", 1, 1), severity="warning")
    assert problem.render() == "a.yaml:1:1  warning[empty-file]\n  the file is empty"


def test_a_problem_with_a_second_place_prints_both() -> None:
    first, second = Mark("a.yaml", 1, 1, 5, "steps: []"), Mark("a.yaml", 9, 1, 5, "steps: [x]")
    problem = Problem("duplicate-key", "`steps` is given twice", second, "steps", see=first)
    assert problem.render() == (
        "a.yaml:9:1  error[duplicate-key]  steps\n"
        "  `steps` is given twice\n"
        "     9 | steps: [x]\n"
        "       | ^^^^^\n"
        "  see a.yaml:1:1\n"
        "     1 | steps: []\n"
        "       | ^^^^^"
    )


def test_the_caret_stands_under_its_word_behind_tabs_and_wide_characters() -> None:
    mark = Mark("a.yaml", 1, 6, 3, "\t你é: bad")
    assert Problem("x", "m", mark).render().splitlines()[2:] == [
        "     1 |     你é: bad",
        "       |          ^^^",
    ]


def test_control_characters_of_a_source_line_do_not_reach_the_terminal() -> None:
    mark = Mark("a.yaml", 1, 4, 1, "a: \x1b[31m")
    assert "\x1b" not in Problem("x", "m", mark).render()


def test_a_long_line_is_cut_to_what_is_around_the_caret() -> None:
    mark = Mark("a.yaml", 1, 301, 3, "x" * 300 + "bad" + "y" * 300)
    shown, caret = Problem("x", "m", mark).render().splitlines()[2:]
    assert shown == "     1 | … " + "x" * 33 + "bad" + "y" * 64 + " …"
    assert caret == "       |   " + " " * 33 + "^^^"


def test_carets_do_not_run_past_a_cut_line() -> None:
    mark = Mark("a.yaml", 1, 1, 500, "x" * 500)
    shown, caret = Problem("x", "m", mark).render().splitlines()[2:]
    assert (shown, caret) == ("     1 | " + "x" * 100 + " …", "       | " + "^" * 100)


def test_problems_come_out_by_place() -> None:
    problems = Problems()
    problems.error("b", "second", Mark("b.yaml", 1, 1))
    problems.warning("a", "first", Mark("a.yaml", 10, 1))
    problems.error("a", "zeroth", Mark("a.yaml", 2, 7))
    assert [problem.message for problem in problems] == ["zeroth", "first", "second"]
    assert [problem.message for problem in problems.errors] == ["zeroth", "second"]
    assert [problem.message for problem in problems.warnings] == ["first"]


def test_the_same_complaint_of_the_same_place_is_kept_once() -> None:
    problems = Problems()
    problems.error("x", "wrong", Mark("a.yaml", 1, 1), "one.path")
    problems.error("x", "wrong", Mark("a.yaml", 1, 1), "another.path")
    problems.error("x", "wrong", Mark("a.yaml", 2, 1), "one.path")
    assert [(problem.where.line, problem.path) for problem in problems] == [
        (1, "one.path"),
        (2, "one.path"),
    ]


def test_errors_raise_with_all_that_was_found() -> None:
    problems = Problems()
    problems.warning("w", "odd", Mark("a.yaml", 1, 1))
    problems.error("e", "wrong", Mark("a.yaml", 2, 1))
    with pytest.raises(ProblemsError) as raised:
        problems.raise_if_any()
    assert raised.value.problems is problems
    assert str(raised.value) == ("a.yaml:1:1  warning[w]\n  odd\n\na.yaml:2:1  error[e]\n  wrong")


def test_warnings_alone_do_not_raise() -> None:
    problems = Problems([Problem("w", "odd", Mark("a.yaml", 1, 1), severity="warning")])
    problems.raise_if_any()
    assert len(problems) == 1


def test_tools_get_plain_values() -> None:
    problems = Problems()
    problems.error("duplicate-key", "twice", WINDOW, "social", "remove one", WINDOW.at(3))
    assert problems.as_dicts() == [
        {
            "severity": "error",
            "code": "duplicate-key",
            "message": "twice",
            "path": "social",
            "hint": "remove one",
            "file": "flows/social.yaml",
            "line": 6,
            "column": 34,
            "length": 6,
            "see": {"file": "flows/social.yaml", "line": 6, "column": 37, "length": 3},
        }
    ]


def test_a_value_s_problem_is_placed_by_its_offset_in_the_value() -> None:
    problem = ValueProblem("bad-expression", "unexpected `=`", "did you mean `==`?", offset=3)
    placed = problem.at(SourceText("30 sec", WINDOW).place, "social.digest.window")
    assert (placed.where.column, placed.where.length) == (37, 3)
    assert (placed.code, placed.path) == ("bad-expression", "social.digest.window")


@pytest.mark.parametrize(
    ("word", "near"),
    [("windw", "window"), ("max-items", "max_items"), ("WINDOW", "window"), ("zebra", None)],
)
def test_a_near_word_is_found(word: str, near: str | None) -> None:
    assert did_you_mean(word, ["window", "max_items", "by"]) == near


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("windw", ["window", "by"], "did you mean `window`?"),
        ("zebra", ["window", "by"], "there is `window` and `by`"),
        ("zebra", [], None),
    ],
)
def test_a_hint_names_the_near_word_or_what_there_is(
    word: str, known: list[str], hint: str | None
) -> None:
    assert suggestion(word, known) == hint


def test_words_are_listed_as_prose_and_cut_with_a_count() -> None:
    assert listed(["a"]) == "`a`"
    assert listed(["a", "b", "c"], "or") == "`a`, `b` or `c`"
    assert listed("abcdef", most=3) == "`a`, `b` and 4 more"
