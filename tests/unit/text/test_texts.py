"""Texts: what a template says, what it can't say, and what it can't reach."""

from __future__ import annotations

from typing import Any

import pytest

from tidings.ports import Template
from tidings.text.texts import LONGEST, Text, TextError, Typesetter


def text(body: str, part: str = "body", locale: str = "en") -> Text:
    """A compiled text of one part, on a channel that needs none in particular."""
    parts = {part: body}
    return Typesetter().compile(
        Template(id="t", channel="chat", locale=locale, version="1", parts=parts)
    )


def said(body: str, part: str = "body", locale: str = "en", **data: Any) -> str:
    return text(body, part, locale).render(data)[part]


def refused(body: str, **data: Any) -> tuple[str, str]:
    """Why it can't be compiled or rendered."""
    with pytest.raises(TextError) as caught:
        text(body).render(data)
    return caught.value.reason, str(caught.value).removeprefix("t chat.en, body, ")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{{ name }} liked your photo", "Ana liked your photo"),
        ("{{ count }} {{ count|plural('like', 'likes') }}", "2 likes"),
        ("{{ items[0].text }}", "wow"),
        ("{{ items|length }}", "2"),
        (
            "{% for each in items %}{{ loop.index }} {{ each.text }}; {% endfor %}",
            "1 wow; 2 nice;",
        ),
        ("{% for each in nobody %}{{ each }}{% else %}nothing{% endfor %}", "nothing"),
        ("{% if count > 1 %}many{% else %}one{% endif %}", "many"),
        ("{% if status in ['paid', 'sent'] %}on its way{% endif %}", "on its way"),
        ("{% if missing is defined %}x{% endif %}", ""),
        ("{{ missing|default('nobody') }}", "nobody"),
        ("{{ ', new' if count > 9 }}", ""),
        ("{% set first = items[0] %}{{ first.text }}", "wow"),
        ("{{ price * count }}", "3.0"),
        ("{{ 2.345|round(2) }} {{ 2.5|round }}", "2.35 2"),
        ("{{ tags|join(' and ') }}", "a and b"),
        ("{{ name|upper }} {{ name|truncate(2) }}", "ANA A…"),
        ("{{ name ~ ' & ' ~ count }}", "Ana & 2"),
        ("{{ ' a '|trim }}{{ 'b'|capitalize }}{{ 'c d'|title }}{{ 'E'|lower }}", "aBC De"),
        ("?q={{ 'a b&c/é'|urlencode }}", "?q=a%20b%26c%2F%C3%A9"),
        ("{{ -3|abs }}{{ '7'|int + 1 }}{{ tags|first }}{{ tags|last }}", "38ab"),
        ("{{ order.items }}", "3"),  # a field, not the method of a map
        ("{{ '{0.__class__}' }}", "{0.__class__}"),
    ],
)
def test_a_template_prints_filters_tests_loops_and_sets(body: str, expected: str) -> None:
    data: dict[str, Any] = {
        "name": "Ana",
        "count": 2,
        "items": [{"text": "wow"}, {"text": "nice"}],
        "nobody": [],
        "status": "paid",
        "price": 1.5,
        "tags": ["a", "b"],
        "order": {"items": 3},
    }

    assert said(body, **data) == expected


@pytest.mark.parametrize(
    ("body", "data", "message"),
    [
        ("Hi {{ name }}", {}, "line 1: 'name' is undefined"),
        ("Hi\n\n{{ user.name }}", {"user": {}}, "line 3: there is no field `name`"),
        ("{% if name %}x{% endif %}", {}, "line 1: 'name' is undefined"),
        (
            "{% for each in all %}\n{{ each.id }}\n{% endfor %}",
            {"all": [{}]},
            "line 2: there is no",
        ),
    ],
)
def test_what_is_missing_is_named_with_its_line(
    body: str, data: dict[str, Any], message: str
) -> None:
    reason, error = refused(body, **data)

    assert reason == "missing_variable"
    assert error.startswith(message)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "null"), (True, "true or false"), ([1], "a list"), ({"a": 1}, "a map")],
)
def test_what_is_no_text_is_never_printed(value: Any, kind: str) -> None:
    assert refused("{{ value }} liked it", value=value) == (
        "render",
        f"line 1: {kind} can't be printed",
    )


@pytest.mark.parametrize(
    "printed",
    [
        "value ~ '!'",
        "value|upper",
        "value|title",
        "value|trim",
        "value|truncate(9)",
        "value|urlencode",
        "['a', 1]|join ~ value",
    ],
)
def test_nor_is_it_after_a_filter(printed: str) -> None:
    assert refused(f"{{{{ {printed} }}}}", value=None) == (
        "render",
        "line 1: null can't be printed",
    )


def test_html_escapes_what_it_prints_and_nothing_else_does() -> None:
    name = "<script>alert('x')</script>"

    assert said("<b>{{ name }}</b>", "html", name=name) == (
        "<b>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;</b>"
    )
    assert said("<b>{{ name }}</b>", "text", name=name) == f"<b>{name}</b>"


def test_html_escapes_what_filters_make_too() -> None:
    assert said("{{ who|others(50) }}", "html", who=["<i>", "b"]) == "&lt;i&gt; and 49 others"
    assert said("{{ who|join(', ') }}", "html", who=["<i>", "b"]) == "&lt;i&gt;, b"
    assert said("{{ '<b>' ~ who[0] ~ 1 }}", "html", who=["<i>"]) == "&lt;b&gt;&lt;i&gt;1"
    assert said("{{ who[0]|upper }}", "html", who=["<i>"]) == "&lt;I&gt;"


@pytest.mark.parametrize("part", ["subject", "title"])
def test_a_line_break_never_gets_into_a_subject(part: str) -> None:
    name = "Ana\r\nBcc: eve@example.com\x00"

    assert said("Hello {{ name }}", part, name=name) == "Hello Ana Bcc: eve@example.com"
    assert said("{{ family }}", part, family="👨‍👩‍👧") == "👨‍👩‍👧"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{{ name.upper() }}", "a template calls nothing; use a filter, such as name|upper"),
        ("{{ range(10) }}", "a template calls nothing; use a filter, such as name|upper"),
        ("{{ name and }}", "unexpected 'end of print statement'"),
        ("{{ name|attr('x') }}", "No filter named 'attr'."),
        ("{{ name|safe }}", "No filter named 'safe'."),
        ("{{ 2 ** 9 }}", "`**` is not allowed"),
        ("{{ [name, name] }}", "a list may hold literals only"),
        ("{% for a in b recursive %}{% endfor %}", "a loop may not be recursive"),
        ("{% include 'x' %}", "`include` is not allowed"),
        ("{% import 'x' as y %}", "`import` is not allowed"),
        ("{% extends 'x' %}", "`extends` is not allowed"),
        ("{% block a %}{% endblock %}", "`block` is not allowed"),
        ("{% macro a() %}{% endmacro %}", "`macro` is not allowed"),
        ("{% call a() %}{% endcall %}", "`callblock` is not allowed"),
        ("{% filter upper %}a{% endfilter %}", "`filterblock` is not allowed"),
        ("{% set a %}b{% endset %}", "`assignblock` is not allowed"),
        ("{% autoescape false %}{% endautoescape %}", "is not allowed"),
        ("{% with a = 1 %}{% endwith %}", "`with` is not allowed"),
    ],
)
def test_what_a_text_does_not_need_is_refused_when_it_is_compiled(body: str, message: str) -> None:
    reason, error = refused(body, name="Ana")

    assert reason == "bad_template"
    assert error.startswith("line 1: ")
    assert message in error


@pytest.mark.parametrize("depth", [25, 2_000])
def test_what_is_nested_too_deeply_is_refused(depth: int) -> None:
    loops = "{% for a in b %}" * depth + "{% endfor %}" * depth

    reason, error = refused(loops, b=[])

    assert (reason, error) == ("bad_template", "line 1: it is nested too deeply")


@pytest.mark.parametrize(
    "body",
    [
        "{{ name.__class__ }}",
        "{{ name['__class__'] }}",
        "{{ name.__class__.__mro__[1].__subclasses__ }}",
        "{% for a in items %}{{ loop._iterator }}{% endfor %}",
        "{{ self.__init__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ name.format }}",
        "{{ '%s' % name }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ name * 1000000000 }}",
        "{{ items * 1000000000 }}",
        "{{ large * large }}",
        "{{ 1 / 0 }}",
        "{{ name + 1 }}",
        "{{ name|join(name) }}",
    ],
)
def test_nothing_behind_the_data_can_be_reached_or_blown_up(body: str) -> None:
    data = {"name": "Ana", "items": [1], "large": 10**17}

    assert refused(body, **data)[0] in ("render", "missing_variable")


def test_globals_of_jinja_are_not_there() -> None:
    for name in ("range", "dict", "lipsum", "cycler", "joiner", "namespace"):
        assert refused(f"{{{{ {name} }}}}") == (
            "missing_variable",
            f"line 1: '{name}' is undefined",
        )


def test_loops_turn_so_often_and_no_more_nested_ones_together() -> None:
    nested = (
        "{% for a in all %}{% for b in all %}{% for c in all %}{% endfor %}{% endfor %}{% endfor %}"
    )

    assert said(nested, all=[1] * 20) == ""
    assert refused(nested, all=[1] * 22) == (
        "render",
        "line 1: its loops turn more than 10000 times",
    )
    # Each rendering counts anew.
    compiled = text("{% for a in all %}{% endfor %}")
    for _ in range(3):
        compiled.render({"all": [1] * 9_000})


def test_the_output_has_a_bound_with_loops_and_without() -> None:
    long = "x" * (LONGEST // 2)

    assert len(said("{{ long }}{{ long }}", long=long)) == LONGEST
    for body in ("{{ long }}{{ long }}.", "{% for a in all %}{{ long }}{% endfor %}"):
        reason, error = refused(body, long=long, all=[1] * 10_000)
        assert reason == "render"
        assert error.endswith(f"the text is longer than {LONGEST} characters")


def test_a_chain_of_sets_that_doubles_each_time_is_stopped() -> None:
    chain = "".join("{% set a = a ~ a %}" for _ in range(40))

    assert refused(chain + "{{ a }}", a="x") == (
        "render",
        "line 1: `set` takes no more than 10000 characters or elements",
    )


def test_a_set_changes_neither_the_data_nor_the_next_rendering() -> None:
    compiled = text("{% if new is defined %}again{% endif %}{% set new = 1 %}{% set old = 2 %}")
    data = {"old": 1}

    assert [compiled.render(data)["body"] for _ in range(2)] == ["", ""]
    assert data == {"old": 1}


def test_one_rendering_leaves_nothing_for_the_next() -> None:
    compiled = text("Hi {{ name }}")
    compiled.render({"name": "Ana"})

    with pytest.raises(TextError, match="'name' is undefined"):
        compiled.render({})


@pytest.mark.parametrize(
    ("channel", "parts", "missing"),
    [
        ("push", {"title": "x"}, "body"),
        ("push", {"body": "x"}, "title"),
        ("sms", {"text": "x"}, "body"),
        ("email", {"text": "x"}, "subject"),
    ],
)
def test_a_channel_needs_its_parts(channel: str, parts: dict[str, str], missing: str) -> None:
    with pytest.raises(TextError, match=f"t {channel}.en has no part `{missing}`") as caught:
        Typesetter().compile(
            Template(id="t", channel=channel, locale="en", version="1", parts=parts)
        )
    assert caught.value.reason == "bad_template"


@pytest.mark.parametrize(
    ("locale", "actors", "count", "expected"),
    [
        ("en", ["Alice"], 1, "Alice"),
        ("en", ["Alice", "Bob"], 2, "Alice and Bob"),
        ("en", ["Alice", "Bob", "Cy"], 3, "Alice and 2 others"),
        ("en", ["Alice", "Bob"], 50, "Alice and 49 others"),
        ("en", ["Alice"], 2, "Alice and 1 other"),
        ("en", [], 0, "Someone"),
        ("en", ["{0.__class__}", "Bob"], 2, "{0.__class__} and Bob"),
        ("es", ["Alicia"], 1, "Alicia"),
        ("es", ["Alicia", "Bruno"], 2, "Alicia y Bruno"),
        ("es-AR", ["Alicia", "Bruno"], 50, "Alicia y 49 personas más"),
        ("es", ["Alicia"], 2, "Alicia y 1 persona más"),
        ("es", [], 0, "Alguien"),
        ("fi", ["Alice", "Bob"], 2, "Alice and Bob"),
    ],
)
def test_others_says_who_it_was(locale: str, actors: list[str], count: int, expected: str) -> None:
    assert said("{{ actors|others(count) }}", locale=locale, actors=actors, count=count) == expected


def test_others_counts_those_it_is_given_where_no_count_is_told() -> None:
    assert said("{{ actors|others }}", actors=["A", "B", "C"]) == "A and 2 others"
    assert said("{{ actors|others }}", actors="Alice") == "Alice"
