"""render: the right text for the person, whole, within its size, or a dead letter that says why."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.operators.support import NOW, Outbox, Texts, built, ports, work
from tidings.contract import Part, Work
from tidings.ports import Profile, Template


def template(
    body: str = "{{ count }} likes", locale: str = "en", version: str = "1", id: str = "liked"
) -> Template:
    parts = {"title": "{{ name }} liked your photo", "body": body}
    return Template(id=id, channel="push", locale=locale, version=version, parts=parts)


def liked(locale: str = "", **fields: object) -> Work:
    one = work("ana", **{"template": "liked", "data": {"name": "Bob", "count": 3}, **fields})
    one.profile = Profile(locale=locale)
    return one


def rendered(step: str, *templates: Template, works: list[Work]) -> Outbox[Work]:
    outbox = Outbox(works)
    built(step, Part.LANE).process(outbox, ports(templates=templates), NOW)
    return outbox


def test_the_text_is_in_the_persons_language_and_says_which_it_was() -> None:
    english, spanish = template(), template("{{ count }} me gusta", "es", version="2")

    outbox = rendered("render: {}", english, spanish, works=[liked("es"), liked("fr"), liked()])

    made = [each.content for each in outbox.items]
    assert [(c.parts["body"], c.locale, c.template_version) for c in made if c] == [
        ("3 me gusta", "es", "2"),
        ("3 likes", "en", "1"),
        ("3 likes", "en", "1"),
    ]


def test_people_in_an_arm_read_its_own_text_and_the_outcome_knows_its_version() -> None:
    plain = template()
    bold = msgspec.structs.replace(template("LIKES!", version="b"), variant="tone:bold")
    works = [liked(variant="tone:bold"), liked()]

    outbox = rendered("render: {}", plain, bold, works=works)

    made = [each.content for each in outbox.items]
    assert [(c.parts["body"], c.template_version) for c in made if c] == [
        ("LIKES!", "b"),
        ("3 likes", "1"),
    ]


def test_a_missing_variable_is_a_dead_letter_that_names_it_and_its_neighbours_go_on() -> None:
    broken, fine = liked(data={"name": "Bob"}), liked()

    outbox = rendered("render: {}", template(), works=[broken, fine])

    assert outbox.items == [fine]
    assert outbox.died == [
        (broken, "missing_variable", "liked push.en, body, line 1: 'count' is undefined")
    ]


def test_a_missing_template_is_a_dead_letter_that_says_where_to_put_one() -> None:
    lost = liked(template="summer")

    outbox = rendered("render: {}", template(), works=[lost])

    assert [each.reason for each in outbox.died] == ["missing_template"]
    assert "add templates/summer/push.en.j2" in outbox.died[0].error


def test_a_template_that_can_not_be_compiled_is_a_dead_letter_each_time() -> None:
    outbox = rendered("render: {}", template("{{ count"), works=[liked(), liked()])

    assert [each.reason for each in outbox.died] == ["bad_template", "bad_template"]


def test_a_new_version_of_a_template_is_taken_up() -> None:
    step = built("render: {}", Part.LANE)
    texts = Texts([template()])
    before, after = liked(), liked()

    step.process(Outbox([before]), ports()._replace(templates=texts), NOW)
    texts.held = Texts([template("now {{ count }}", version="2")]).held
    step.process(Outbox([after]), ports()._replace(templates=texts), NOW)

    assert [each.content.parts["body"] for each in (before, after) if each.content] == [
        "3 likes",
        "now 3",
    ]


def test_carried_fields_travel_along_and_others_do_not() -> None:
    data = {"name": "Bob", "count": 3, "link": "app://photos/1", "secret": "x"}

    outbox = rendered("render: {carry: [link, none]}", template(), works=[liked(data=data)])

    assert outbox.items[0].content is not None
    assert outbox.items[0].content.data == {"link": "app://photos/1"}


@pytest.mark.parametrize("letter", ["x", "é", "漢", "👍", '"', "\x01"])
def test_a_body_that_is_too_long_is_cut_to_the_last_character_that_fits(letter: str) -> None:
    long = liked(data={"name": "Bob", "count": letter * 5_000})

    outbox = rendered("render: {max_bytes: 4096}", template(), works=[long])

    content = outbox.items[0].content
    assert content is not None
    title, body = content.parts["title"], content.parts["body"]
    assert title == "Bob liked your photo"
    assert body == letter * (len(body) - 1) + "…"

    def size(text: str) -> int:
        return len(msgspec.json.encode({"title": title, "body": text, "data": {}}))

    assert size(body) <= 4096 - 256 < size(letter + body)


def test_a_text_that_fits_is_left_alone() -> None:
    fits = liked(data={"name": "Bob", "count": "x" * 3_500})

    outbox = rendered("render: {max_bytes: 4KiB}", template(), works=[fits])

    assert outbox.items[0].content is not None
    assert outbox.items[0].content.parts["body"] == "x" * 3_500 + " likes"


def test_what_is_carried_counts_and_can_not_be_cut() -> None:
    data = {"name": "Bob", "count": 3, "blob": "x" * 4_000}

    outbox = rendered(
        "render: {max_bytes: 4096, carry: [blob]}", template(), works=[liked(data=data)]
    )

    assert [each.reason for each in outbox.died] == ["too_large"]


def test_a_lane_may_rather_not_send_than_cut() -> None:
    long = liked(data={"name": "Bob", "count": "x" * 5_000})

    outbox = rendered("render: {max_bytes: 4096, overflow: dead}", template(), works=[long])

    assert [(each.item, each.reason) for each in outbox.died] == [(long, "too_large")]
