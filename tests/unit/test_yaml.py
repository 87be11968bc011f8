"""Reading YAML: texts stay texts, every place is kept, and what is broken is explained."""

from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tidings.load import Map, Node, Seq, Text, read, read_file
from tidings.load.nodes import describe, to_python
from tidings.problems import Problems, SourceText

ENV = {"HOME": "/home/ada", "EMPTY": ""}


def loaded(text: str) -> Map:
    problems = Problems()
    node = read(text, "flow.yaml", ENV, problems)
    assert isinstance(node, Map), problems.render()
    assert not len(problems)
    return node


def text_at(node: Node | None) -> Text:
    assert isinstance(node, Text)
    return node


def complaints(text: str) -> str:
    problems = Problems()
    read(text, "flow.yaml", ENV, problems)
    return problems.render()


# ── What is read ──────────────────────────────────────────────────────────────────────────────


def test_scalars_stay_the_text_that_was_written() -> None:
    node = loaded("a: 22:00\nb: no\nc: on\nd: 0123\ne: 1_000\nf: 1e3\ng: 2025-01-31\n")
    assert to_python(node) == {
        "a": "22:00",
        "b": "no",
        "c": "on",
        "d": "0123",
        "e": "1_000",
        "f": "1e3",
        "g": "2025-01-31",
    }


def test_keys_values_and_items_know_their_places() -> None:
    node = loaded("steps:\n  - digest: {by: [type, photo]}\n")
    steps = node["steps"]
    assert isinstance(steps, Seq)
    digest = steps.items[0]
    assert isinstance(digest, Map)
    fields = digest["digest"]
    assert isinstance(fields, Map)
    by = fields["by"]
    assert isinstance(by, Seq)
    photo = text_at(by.items[1])
    assert str(fields.key) == "flow.yaml:2:5"
    assert str(fields.where) == "flow.yaml:2:13"
    assert str(fields.entries["by"].where) == "flow.yaml:2:14"
    assert (str(photo.where), photo.where.length) == ("flow.yaml:2:25", 5)
    assert str(node.key) == "flow.yaml:1:1"


@pytest.mark.parametrize(
    ("written", "is_null", "plain"),
    [
        ("", True, True),
        ("~", True, True),
        ("null", True, True),
        ("''", False, False),
        ("'null'", False, False),
        ("Null", False, True),
        ("no", False, True),
        ("|\n  x", False, False),
    ],
)
def test_nothing_is_told_from_empty_text(written: str, is_null: bool, plain: bool) -> None:
    node = text_at(loaded(f"a: {written}\n")["a"])
    assert (node.is_null, node.plain) == (is_null, plain)


def test_nothing_stands_where_its_key_stands() -> None:
    assert str(loaded("a: 1\nwindow:\n")["window"].where) == "flow.yaml:2:1"


def test_schemas_are_handed_texts_that_know_their_places() -> None:
    values = to_python(loaded("a: [x, 'y']\nb:\n"))
    first, second = values["a"]
    assert isinstance(first, SourceText)
    assert (first, first.plain, second, second.plain) == ("x", True, "y", False)
    assert str(first.place.at(0)) == "flow.yaml:1:5"
    assert values["b"] is None


def test_an_alias_repeats_its_anchor_below_its_own_key() -> None:
    node = loaded("a: &slow {window: 1h}\nb: *slow\n")
    assert to_python(node["b"]) == {"window": "1h"}
    assert str(node["b"].key) == "flow.yaml:2:1"
    assert str(node["b"].where) == "flow.yaml:1:4"


def test_a_byte_order_mark_and_foreign_line_ends_do_not_shift_places() -> None:
    node = loaded("\ufeffa: 1\r\nb: é\u2028c: 2\n")
    assert [str(entry.where) for entry in node] == [
        "flow.yaml:1:1",
        "flow.yaml:2:1",
        "flow.yaml:3:1",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a: abc", "the text `abc`"),
        ("a:", "nothing"),
        ("a: [x, {y: z}]", "the list [x, {y: z}]"),
        ("a: {x: 1, y: [2]}", "the map {x: 1, y: [2]}"),
        ("a: " + "x" * 80, f"the text `{'x' * 59}…`"),
    ],
)
def test_nodes_are_described_in_prose(text: str, shown: str) -> None:
    assert describe(loaded(text)["a"]) == shown


# ── Where a character of a value stands ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "word", "place", "length"),
    [
        ("a: b != bad\n", "bad", "1:9", 3),
        ("a: 'b != bad'\n", "bad", "1:10", 3),
        ("a: 'b != ''x'' bad'\n", "bad", "1:16", 3),
        ('a: "\\u00e9 \\t bad"\n', "bad", "1:15", 3),
        ("a: &anchor 'x bad'\n", "bad", "1:15", 3),
        ("a: x and\n   bad\n", "bad", "2:4", 3),
        ("a: |\n  x and\n  y or bad\n", "bad", "3:8", 3),
        ("a: >-\n  x and\n  bad\n", "bad", "3:3", 3),
        ('a: "x \\\n   y bad"\n', "bad", "2:6", 3),
        ("a: ${HOME} bad\n", "bad", "1:12", 3),
        ("a: ${HOME} x\n", "home", "1:4", 1),
        ("a: $${HOME} bad\n", "bad", "1:13", 3),
    ],
)
def test_a_part_of_a_value_is_found_in_the_file(
    text: str, word: str, place: str, length: int
) -> None:
    node = text_at(loaded(text)["a"])
    mark = node.at(node.value.index(word), len(word))
    assert (str(mark), mark.length) == (f"flow.yaml:{place}", length)


def test_a_whole_value_is_marked_with_its_quotes() -> None:
    mark = text_at(loaded("a: 'bad'\n")["a"]).at()
    assert (mark.column, mark.length) == (4, 5)


@settings(deadline=None)
@given(
    value=st.text(st.sampled_from(list("abc 'x\"\\é:#-")), min_size=2, max_size=60),
    style=st.sampled_from([None, "'", '"', "|", ">"]),
    width=st.integers(5, 80),
)
def test_every_character_of_any_style_is_found_where_it_was_written(
    value: str, style: str | None, width: int
) -> None:
    text = yaml.dump({"k": {"j": value}}, default_style=style, width=width)
    outer = loaded(text)["k"]
    assert isinstance(outer, Map)
    node = text_at(outer["j"])
    assume(node.value == value)  # the dumper itself loses blanks at the ends of folded blocks
    lines = text.split("\n")
    for offset, character in enumerate(value):
        mark = node.at(offset, 1)
        found = f"{lines[mark.line - 1]} "[mark.column - 1]
        assert found == character or (found == "\\" and character in '\\"é ')


# ── The environment ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${HOME}/x", "/home/ada/x"),
        ("'${HOME}'", "/home/ada"),
        ("${PORT:9092}", "9092"),
        ("${PORT:}", ""),
        ("${URL:http://x:1/}", "http://x:1/"),
        ("${EMPTY:else}", ""),
        ("$${HOME}", "${HOME}"),
        ("$HOME ${HOME}${HOME}", "$HOME /home/ada/home/ada"),
    ],
)
def test_variables_are_put_into_texts(written: str, value: str) -> None:
    node = text_at(loaded(f"a: {written}\n")["a"])
    assert (node.value, node.is_null) == (value, False)


def test_a_variable_brings_in_text_and_never_structure() -> None:
    problems = Problems()
    node = read("a: ${X}\n", "f", {"X": "[1, 2] # {b: c}\nd: e"}, problems)
    assert node is not None
    assert to_python(node) == {"a": "[1, 2] # {b: c}\nd: e"}


def test_keys_are_not_interpolated() -> None:
    assert "${HOME}" in loaded("${HOME}: 1\n")


def test_a_message_shows_the_variable_s_name_and_not_its_value() -> None:
    assert describe(loaded("a: ${HOME}\n")["a"]) == "the text `${HOME}`"


def test_an_unset_variable_is_named() -> None:
    assert complaints("servers:\n  - kafka: 'x:${PROT}'\n  - hme: ${HOMME}\n") == (
        "flow.yaml:2:15  error[unset-variable]  servers[0].kafka\n"
        "  the environment variable PROT is not set\n"
        "     2 |   - kafka: 'x:${PROT}'\n"
        "       |               ^^^^^^^\n"
        "  hint: set PROT, or give a default: ${PROT:default}\n"
        "\n"
        "flow.yaml:3:10  error[unset-variable]  servers[1].hme\n"
        "  the environment variable HOMME is not set\n"
        "     3 |   - hme: ${HOMME}\n"
        "       |          ^^^^^^^^\n"
        "  hint: did you mean HOME? Else set HOMME, or give a default: ${HOMME:default}"
    )


def test_a_broken_reference_is_explained() -> None:
    assert complaints("a: x ${1ST} y\nb: ${HOME\n") == (
        "flow.yaml:1:6  error[bad-variable]  a\n"
        "  `${1ST}` is not a reference to an environment variable\n"
        "     1 | a: x ${1ST} y\n"
        "       |      ^^^^^^\n"
        "  hint: write ${NAME} or ${NAME:default}; for the characters themselves write $${\n"
        "\n"
        "flow.yaml:2:4  error[bad-variable]  b\n"
        "  `${HOME` is not a reference to an environment variable\n"
        "     2 | b: ${HOME\n"
        "       |    ^^^^^^\n"
        "  hint: write ${NAME} or ${NAME:default}; for the characters themselves write $${"
    )


# ── What is refused ───────────────────────────────────────────────────────────────────────────


def test_a_key_given_twice_is_shown_with_both_places() -> None:
    assert complaints("flow: x\nsteps: []\nsource: y\nsteps: [z]\n") == (
        "flow.yaml:4:1  error[duplicate-key]  steps\n"
        "  `steps` is given twice in one map\n"
        "     4 | steps: [z]\n"
        "       | ^^^^^\n"
        "  see flow.yaml:2:1\n"
        "     2 | steps: []\n"
        "       | ^^^^^\n"
        "  hint: only one of them can hold: remove one, or join the two"
    )


def test_the_first_of_two_keys_holds_so_that_the_rest_is_checked() -> None:
    problems = Problems()
    node = read("a: 1\na: 2\nb: ${NO}\n", "f", {}, problems)
    assert node is not None
    assert to_python(node)["a"] == "1"
    assert [problem.code for problem in problems] == ["duplicate-key", "unset-variable"]


def test_an_unclosed_quote_is_marked_where_it_opens() -> None:
    assert complaints("flow: x\nreason: 'own action\nsteps: []\n") == (
        "flow.yaml:2:9  error[bad-yaml]\n"
        "  the quote that opens here is never closed\n"
        "     2 | reason: 'own action\n"
        "       |         ^\n"
        "  hint: add the closing '"
    )


def test_a_wrong_indentation_is_explained() -> None:
    assert complaints("steps:\n  - filter: a\n   - dedupe: b\n") == (
        "flow.yaml:3:4  error[bad-yaml]\n"
        "  this line's indentation fits nothing above it\n"
        "     3 |    - dedupe: b\n"
        "       |    ^^^^^^^^^^^\n"
        "  hint: align it with the lines that it belongs to"
    )


def test_a_tab_is_explained() -> None:
    assert complaints("steps:\n\t- filter: a\n") == (
        "flow.yaml:2:1  error[bad-yaml]\n"
        "  a tab can't indent\n"
        "     2 |     - filter: a\n"
        "       | ^^^^\n"
        "  hint: indent with spaces"
    )


@pytest.mark.parametrize(
    ("text", "place", "code", "message"),
    [
        ("flow: a\n  steps: b\n", "2:3", "bad-yaml", "`steps` is indented as if it belonged"),
        ("flow\nsteps: b\n", "1:1", "bad-yaml", "this line is not `name: value`"),
        ("flow:x\nsteps: b\n", "1:1", "bad-yaml", "this line is not `name: value`"),
        ("a:\n - filter: keep: x\n", "2:16", "bad-yaml", "a second `: ` in one line"),
        ("a: [x, y\nb: z\n", "1:4", "bad-yaml", "the `[` that opens here is not closed before"),
        ("a: {x: [y, z}\n", "1:8", "bad-yaml", "expected `,` or `]` in column 13"),
        ("a: {b: c}}\n", "1:10", "bad-yaml", "this `}` closes nothing"),
        ("a: @x\n", "1:4", "bad-yaml", "a text can't begin with `@`"),
        ('a: "\\q"\n', "1:5", "bad-yaml", "a backslash in double quotes begins an escape"),
        ("a: 'x' y\n", "1:8", "bad-yaml", "this can't stand here: the value before it"),
        ("a: - b\n", "1:4", "bad-yaml", "a list can't begin here"),
        ("a: >x\n", "1:5", "bad-yaml", "a block of text begins on the line below"),
        ("%x\na: 1\n", "1:1", "bad-yaml", "a line can't begin with `%`"),
        (": b\n", "1:1", "bad-yaml", "the name in front of the `:` is missing"),
        ("a: \x01\n", "1:4", "bad-yaml", "the character U+0001 can't stand in a file"),
        ("a: {{ x }}\n", "1:5", "bad-key", "a key must be a text"),
        ("? [a]\n: b\n", "1:3", "bad-key", "a key must be a text"),
        ("a: &x {b: c}\nd:\n  <<: *x\n", "3:3", "merge-key", "merge keys (`<<`) are not"),
        ("a: !!python/name:x y\n", "1:4", "yaml-tag", "the tag `!!python/name:x` is not"),
        ("a: *b\n", "1:4", "bad-alias", "`*b` stands for nothing above it"),
        ("a: &a [*a]\n", "1:8", "bad-alias", "`*a` stands for nothing above it"),
        ("a: 1\n---\nb: 2\n", "2:1", "several-documents", "a second document begins here"),
        ("", "1:1", "empty-file", "the file is empty"),
        ("# later\n", "1:1", "empty-file", "the file is empty"),
    ],
)
def test_what_can_t_be_read_is_explained_at_its_place(
    text: str, place: str, code: str, message: str
) -> None:
    problems = Problems()
    assert read(text, "flow.yaml", {}, problems) is None
    (problem,) = problems
    assert (str(problem.where), problem.code) == (f"flow.yaml:{place}", code)
    assert problem.message.startswith(message)


def test_a_template_without_quotes_is_told_to_take_some() -> None:
    assert complaints("title: {{ actor }} liked\n").endswith(
        "hint: a text that begins with `{{` needs quotes"
    )


def test_aliases_that_multiply_are_stopped() -> None:
    lines = ["a0: &a0 [x]"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)
    ]
    assert "error[too-large]" in complaints("\n".join(lines))


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{b: " * 5_000, "- " * 10_000])
def test_deep_nesting_is_stopped(text: str) -> None:
    assert "nested deeper than 64 levels" in complaints(text)


def test_nesting_through_aliases_is_stopped() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 70)]
    assert "nested deeper than 64 levels" in complaints("\n".join(lines))


def test_an_enormous_file_is_not_parsed() -> None:
    assert "at most 1000000 are read" in complaints("a: b\n" * 300_000)


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.sampled_from(list("ab:- \n\t[]{},'\"#&*!|>%@`?\\$~<.é\u2028\x85\r0")), max_size=60)
)
def test_any_text_is_read_or_explained(text: str) -> None:
    problems = Problems()
    node = read(text, "f", {"a": "v"}, problems)
    assert node is not None or problems.errors
    assert all(problem.render() for problem in problems)


# ── Files ─────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_read_with_its_own_name_in_the_marks(tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text("a: é\n", encoding="utf-8")
    problems = Problems()
    node = read_file(file, {}, problems)
    assert isinstance(node, Map)
    assert node["a"].where.file == str(file)


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    problems = Problems()
    assert read_file(tmp_path / "none.yaml", {}, problems) is None
    (problem,) = problems
    assert problem.message == "can't read the file: no such file or directory"


def test_a_file_that_is_not_utf_8_is_a_problem_at_its_place(tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    problems = Problems()
    assert read_file(file, {}, problems) is None
    (problem,) = problems
    assert (problem.code, problem.where.line, problem.where.column) == ("unreadable-file", 2, 4)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_explained(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = tmp_path_factory.mktemp("any") / "flow.yaml"
    file.write_bytes(data)
    problems = Problems()
    assert read_file(file, {}, problems) is not None or problems.errors
