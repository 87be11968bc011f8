"""What every Templates adapter must answer: the folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tidings.ports import Template, Templates
from tidings.stores.clock import ManualClock
from tidings.stores.templates import FileTemplates

NOW = 1_760_000_000_000

FILES = {
    "social_digest/push.en.j2": "--- title\n{{ actors }} liked your photo\n--- body\nSee who.\n",
    "social_digest/push.es.j2": "--- title\nA {{ actors }} le gusta tu foto\n--- body\nMira.\n",
    "social_digest/push.es-AR.j2": "--- title\nLe gustó a {{ actors }}\n--- body\nMirá.\n",
    "social_digest/push.zh-Hant.j2": "--- title\n讚\n--- body\n看\n",
    "otp/sms.en.j2": "--- body\n{{ code }} is your code.\n",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture(params=["file"])
def templates(request: pytest.FixtureRequest, tmp_path: Path) -> Templates:
    write(tmp_path, FILES)
    return FileTemplates(tmp_path, ManualClock(NOW), default_locale="en")


def found(template: Template | None) -> str | None:
    return template.locale if template else None


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("es-AR", "es-AR"),
        ("es_ar", "es-AR"),
        ("es-MX", "es"),
        ("ES", "es"),
        ("zh-Hant-TW", "zh-Hant"),
        ("zh-Hans", "en"),
        ("fr", "en"),
        ("", "en"),
        ("-", "en"),
    ],
)
def test_the_nearest_locale_is_found(templates: Templates, locale: str, text: str) -> None:
    assert found(templates.find("social_digest", "push", locale)) == text


ARMS = {
    "promo/push.en.j2": "--- title\nSale\n--- body\nToday.\n",
    "promo/push.es.j2": "--- title\nRebajas\n--- body\nHoy.\n",
    "promo/tone/bold/push.en.j2": "--- title\nSALE\n--- body\nNOW!\n",
    "promo/tone/bold/push.es-AR.j2": "--- title\nOFERTAS\n--- body\n¡Ya!\n",
    "promo/length/short.1/push.en.j2": "--- title\nS\n--- body\nT\n",
    "plain/sms.en.j2": "--- body\nHello\n",
}


@pytest.mark.parametrize(
    ("locale", "variant", "title"),
    [
        ("en", "", "Sale"),
        ("en", "tone:bold", "SALE"),
        ("en", "tone:plain", "Sale"),  # an arm without a text of its own
        ("en", "other:bold", "Sale"),
        ("es-AR", "tone:bold", "OFERTAS"),
        ("es", "tone:bold", "Rebajas"),  # nobody reads another language for an experiment's sake
        ("fr", "tone:bold", "SALE"),
        ("en", "length:short.1", "S"),
        ("en", "other:a tone:bold length:short.1", "SALE"),  # of several the first
    ],
)
def test_people_in_an_arm_read_its_text_where_there_is_one(
    tmp_path: Path, locale: str, variant: str, title: str
) -> None:
    write(tmp_path, ARMS)
    templates = FileTemplates(tmp_path, ManualClock(NOW))

    text = templates.find("promo", "push", locale, variant)

    assert text is not None
    assert (text.id, text.parts["title"]) == ("promo", title)
    assert templates.ids() == ["plain", "promo"]


def test_all_texts_of_a_template_are_told(tmp_path: Path) -> None:
    write(tmp_path, ARMS)

    found = FileTemplates(tmp_path, ManualClock(NOW)).texts("promo", "push")

    assert sorted((each.locale, each.variant) for each in found) == [
        ("en", ""),
        ("en", "length:short.1"),
        ("en", "tone:bold"),
        ("es", ""),
        ("es-AR", "tone:bold"),
    ]


def test_a_template_has_its_parts(templates: Templates) -> None:
    template = templates.find("social_digest", "push", "es-MX")
    assert template is not None
    assert (template.id, template.channel, template.locale) == ("social_digest", "push", "es")
    assert template.parts == {"title": "A {{ actors }} le gusta tu foto", "body": "Mira."}


def test_what_is_not_there_is_none(templates: Templates) -> None:
    assert templates.find("social_digest", "email", "en") is None
    assert templates.find("nothing", "push", "en") is None


def test_all_ids_are_listed(templates: Templates) -> None:
    assert list(templates.ids()) == ["otp", "social_digest"]


def test_the_version_follows_the_text(tmp_path: Path) -> None:
    def version(text: str) -> str:
        folder = tmp_path / "templates"
        shutil.rmtree(folder, ignore_errors=True)
        write(folder, {"otp/sms.en.j2": text})
        template = FileTemplates(folder, ManualClock(NOW)).find("otp", "sms", "en")
        assert template is not None
        return template.version

    assert version("--- body\none\n") == version("--- body\none\n")
    assert version("--- body\none\n") != version("--- body\ntwo\n")


class TestFile:
    """What only the folder has: its format, files that change, mistakes."""

    def one(self, folder: Path, text: str) -> Template:
        write(folder, {"mail/email.en.j2": text})
        template = FileTemplates(folder, ManualClock(NOW)).find("mail", "email", "en")
        assert template is not None
        return template

    def test_a_part_goes_on_to_the_next_heading(self, tmp_path: Path) -> None:
        text = (
            "# Sent when an order is on its way.\n"
            "\n"
            "--- subject\n"
            "Order {{ id }} is on its way\n"
            "--- text\n"
            "\n"
            "Hello {{ name }},\n"
            "\n"
            "  ---\n"
            "--- Ana from the shop\n"
            "\n"
            "--- html  \n"
            "<p>Hello</p>\r\n"
            "<p># not a comment</p>\n"
        )
        assert self.one(tmp_path, text).parts == {
            "subject": "Order {{ id }} is on its way",
            "text": "Hello {{ name }},\n\n  ---\n--- Ana from the shop",
            "html": "<p>Hello</p>\n<p># not a comment</p>",
        }

    def test_a_part_may_be_empty(self, tmp_path: Path) -> None:
        assert self.one(tmp_path, "--- title\n--- body\n\n").parts == {"title": "", "body": ""}

    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("mail/email.en.j2", b"Hello\n", "email.en.j2:1: text before the first part"),
            ("mail/email.en.j2", b"# nothing\n", "email.en.j2: no part in it"),
            (
                "mail/email.en.j2",
                b"--- body\n1\n--- body\n2\n",
                "email.en.j2:3: the part body is there already",
            ),
            ("mail/email.en.j2", b"--- body\n\xff\n", "email.en.j2:2: this is not UTF-8"),
            ("mail/email.j2", b"--- body\n1\n", "email.j2: a template is called"),
        ],
    )
    def test_a_mistake_is_named_with_its_place(
        self, tmp_path: Path, name: str, content: bytes, problem: str
    ) -> None:
        (tmp_path / "mail").mkdir()
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="j2") as caught:
            FileTemplates(tmp_path, ManualClock(NOW))
        assert problem in str(caught.value)

    def test_all_mistakes_are_named_at_once(self, tmp_path: Path) -> None:
        write(tmp_path, {"a/push.en.j2": "", "b/push.en.j2": "", "c/push.en.j2": "--- body\n"})
        with pytest.raises(ValueError, match="j2") as caught:
            FileTemplates(tmp_path, ManualClock(NOW))
        assert len(str(caught.value).splitlines()) == 2

    def test_an_edit_is_seen_after_a_second_and_not_before(self, tmp_path: Path) -> None:
        write(tmp_path, {"otp/sms.en.j2": "--- body\none\n"})
        clock = ManualClock(NOW)
        templates = FileTemplates(tmp_path, clock)
        before = templates.find("otp", "sms", "en")
        write(tmp_path, {"otp/sms.en.j2": "--- body\nanother\n", "new/sms.en.j2": "--- body\nn\n"})
        clock.advance(999)
        assert templates.find("otp", "sms", "en") == before
        assert templates.find("new", "sms", "en") is None
        clock.advance(1)
        after = templates.find("otp", "sms", "en")
        assert before is not None
        assert after is not None
        assert (before.parts["body"], after.parts["body"]) == ("one", "another")
        assert before.version != after.version
        assert templates.find("new", "sms", "en") is not None

    def test_a_file_that_is_gone_is_no_longer_found(self, tmp_path: Path) -> None:
        write(tmp_path, FILES)
        clock = ManualClock(NOW)
        templates = FileTemplates(tmp_path, clock)
        (tmp_path / "social_digest/push.es-AR.j2").unlink()
        clock.advance(1_000)
        assert found(templates.find("social_digest", "push", "es-AR")) == "es"

    def test_a_file_that_turns_wrong_keeps_its_text_and_others_are_read(
        self, tmp_path: Path
    ) -> None:
        write(tmp_path, {"otp/sms.en.j2": "--- body\none\n", "old/sms.en.j2": "--- body\n1\n"})
        clock = ManualClock(NOW)
        templates = FileTemplates(tmp_path, clock)
        write(tmp_path, {"otp/sms.en.j2": "oops\n", "old/sms.en.j2": "--- body\ntwo\n"})
        clock.advance(1_000)
        otp, old = templates.find("otp", "sms", "en"), templates.find("old", "sms", "en")
        assert otp is not None
        assert old is not None
        assert (otp.parts["body"], old.parts["body"]) == ("one", "two")
        write(tmp_path, {"otp/sms.en.j2": "--- body\nright again\n"})
        clock.advance(1_000)
        otp = templates.find("otp", "sms", "en")
        assert otp is not None
        assert otp.parts["body"] == "right again"

    def test_any_number_of_odd_locales_is_answered(self, tmp_path: Path) -> None:
        write(tmp_path, FILES)
        templates = FileTemplates(tmp_path, ManualClock(NOW))
        answers = {found(templates.find("social_digest", "push", f"es-{n}")) for n in range(20_000)}
        assert answers == {"es"}
        assert len(templates._found) <= 10_000
