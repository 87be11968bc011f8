"""The shipped templates say what they should, in full: what the flows give is what they get."""

from __future__ import annotations

from typing import Any

import pytest

from tidings.content import content_root
from tidings.ports import Template
from tidings.stores.clock import ManualClock
from tidings.stores.templates import FileTemplates
from tidings.text.texts import Typesetter

TEMPLATES = FileTemplates(content_root() / "config" / "templates", ManualClock())

LIKES = {
    "type": "like",
    "photo_id": "p1",
    "count": 73,
    "actors": ["Alice", "Bob"],
    "actor_count": 50,
    "items": [{"actor_name": "Alice", "photo_title": "Sunset", "text": ""}],
    "opened_at": 1,
    "closed_at": 2,
}
COMMENT = {
    "type": "comment",
    "photo_id": "p1",
    "count": 1,
    "actors": ["Alice"],
    "actor_count": 1,
    "items": [{"actor_name": "Alice", "photo_title": "Sunset", "text": "How <lovely>!"}],
}
SHIPPED = {"order_id": "o-17", "status": "shipped", "total": "42.50 EUR", "eta": "Friday"}
PLACED = {"order_id": "o-17", "status": "placed", "total": None, "eta": None}
ALERT = {"what": "New sign-in", "device": "Firefox on Linux", "place": "Lisbon", "at": "09:41"}
PROMO = {"title": "Summer sale", "text": "30 % off.", "link": "https://example.com/sale"}
READY = {"title": "Hello", "body": "It works."}


def rendered(name: str, data: dict[str, Any]) -> dict[str, str]:
    """The parts of ``social_digest push.en``."""
    template_id, file = name.split()
    channel, locale = file.split(".")
    template = TEMPLATES.find(template_id, channel, locale)
    assert template is not None
    assert template.locale == locale
    return Typesetter().compile(template).render(data)


@pytest.mark.parametrize(
    ("name", "data", "parts"),
    [
        (
            "social_digest push.en",
            LIKES,
            {"title": "Alice and 49 others liked your photo", "body": "Sunset (73 likes)"},
        ),
        (
            "social_digest push.en",
            COMMENT,
            {"title": "Alice commented on your photo", "body": "Alice: How <lovely>!"},
        ),
        (
            "social_digest push.es",
            LIKES,
            {"title": "A Alice y 49 personas más les gusta tu foto", "body": "Sunset"},
        ),
        (
            "social_digest push.es",
            COMMENT,
            {"title": "Alice ha comentado tu foto", "body": "Alice: How <lovely>!"},
        ),
        (
            "social_digest email.en",
            COMMENT,
            {
                "subject": "Alice commented on your photo",
                "text": "Alice commented on your photo Sunset.\n\nAlice: How <lovely>!",
                "html": "<p><b>Alice</b> commented on your photo <b>Sunset</b>.</p>\n"
                "<blockquote><b>Alice</b>: How &lt;lovely&gt;!</blockquote>",
            },
        ),
        (
            "social_digest email.es",
            LIKES,
            {
                "subject": "Alice y 49 personas más: me gusta en tu foto",
                "text": "Alice y 49 personas más: me gusta en tu foto Sunset.",
                "html": "<p><b>Alice y 49 personas más</b>: me gusta en tu foto <b>Sunset</b>.</p>",
            },
        ),
        (
            "order_update push.en",
            SHIPPED,
            {"title": "Order o-17", "body": "It is on its way. Expected: Friday."},
        ),
        (
            "order_update push.en",
            PLACED,
            {"title": "Order o-17", "body": "Thank you, we have your order."},
        ),
        (
            "order_update push.en",
            {"order_id": 17, "status": "in customs"},
            {"title": "Order 17", "body": "It is now in customs."},
        ),
        (
            "order_update push.es",
            SHIPPED,
            {"title": "Pedido o-17", "body": "Está en camino. Llegada prevista: Friday."},
        ),
        (
            "order_update email.en",
            SHIPPED,
            {
                "subject": "Your order o-17: shipped",
                "text": "Your order o-17 is now shipped.\n\nTotal: 42.50 EUR\nExpected: Friday",
                "html": "<p>Your order <b>o-17</b> is now <b>shipped</b>.</p>\n"
                "<p>Total: 42.50 EUR</p>\n<p>Expected: Friday</p>",
            },
        ),
        (
            "order_update email.es",
            PLACED,
            {
                "subject": "Tu pedido o-17: placed",
                "text": "Estado de tu pedido o-17: placed.",
                "html": "<p>Estado de tu pedido <b>o-17</b>: <b>placed</b>.</p>",
            },
        ),
        (
            "otp_code sms.en",
            {"code": "123456", "app": "Shop"},
            {"body": "123456 is your Shop code. Never share it with anyone."},
        ),
        (
            "otp_code sms.es",
            {"code": "123456"},
            {"body": "123456 es tu clave. No la compartas con nadie."},
        ),
        (
            "otp_code voice.en",
            {"code": "123456", "app": "Shop"},
            {"body": "Your Shop code is 123456. Never share it with anyone."},
        ),
        (
            "otp_code voice.es",
            {"code": "123456"},
            {"body": "Tu clave es 123456. No la compartas con nadie."},
        ),
        (
            "security_alert push.en",
            ALERT,
            {
                "title": "New sign-in",
                "body": "Firefox on Linux, Lisbon, 09:41."
                " If this wasn't you, open the app and change your password.",
            },
        ),
        (
            "security_alert push.es",
            {**ALERT, "at": 1_782_907_200_000},
            {
                "title": "New sign-in",
                "body": "Firefox on Linux, Lisbon."
                " Si no has sido tú, abre la app y cambia tu contraseña.",
            },
        ),
        (
            "security_alert sms.en",
            ALERT,
            {
                "body": "New sign-in: Firefox on Linux, Lisbon."
                " If this wasn't you, open the app and change your password.",
            },
        ),
        (
            "security_alert sms.es",
            ALERT,
            {
                "body": "New sign-in: Firefox on Linux, Lisbon."
                " Si no lo has hecho tu, abre la app y cambia tu clave.",
            },
        ),
        (
            "security_alert email.en",
            ALERT,
            {
                "subject": "Security alert: New sign-in",
                "text": "New sign-in\n\nDevice: Firefox on Linux\nPlace: Lisbon\nTime: 09:41\n\n"
                "If this was you, there is nothing to do."
                " If it wasn't, open the app and change your password.",
                "html": "<p><b>New sign-in</b></p>\n"
                "<p>Device: Firefox on Linux<br>Place: Lisbon<br>Time: 09:41</p>\n"
                "<p>If this was you, there is nothing to do."
                " If it wasn't, open the app and change your password.</p>",
            },
        ),
        ("promo push.en", PROMO, {"title": "Summer sale", "body": "30 % off."}),
        (
            "promo email.en",
            PROMO,
            {
                "subject": "Summer sale",
                "text": "30 % off.\n\nhttps://example.com/sale",
                "html": "<h1>Summer sale</h1>\n<p>30 % off.</p>\n"
                '<p><a href="https://example.com/sale">Summer sale</a></p>',
            },
        ),
        ("notify push.en", READY, {"title": "Hello", "body": "It works."}),
        ("notify sms.en", READY, {"body": "It works."}),
        (
            "notify email.en",
            READY,
            {"subject": "Hello", "text": "It works.", "html": "<p>It works.</p>"},
        ),
    ],
)
def test_a_template_says(name: str, data: dict[str, Any], parts: dict[str, str]) -> None:
    assert rendered(name, data) == parts


@pytest.mark.parametrize("name", ["promo email.en", "notify email.en"])
def test_a_link_that_is_no_web_address_is_no_link(name: str) -> None:
    data = {**PROMO, **READY, "link": "javascript:alert(1)"}

    assert "href" not in rendered(name, data)["html"]


@pytest.mark.parametrize("name", ["otp_code sms.en", "otp_code sms.es"])
def test_a_code_fits_one_segment_of_the_gsm_alphabet(name: str) -> None:
    body = rendered(name, {"code": "12345678", "app": "A Rather Long Name Of Some App"})["body"]

    assert len(body) <= 160
    assert body.isascii()


def test_every_shipped_template_can_be_compiled() -> None:
    folder = content_root() / "config" / "templates"
    files = [(path.parent.name, *path.stem.split(".")) for path in sorted(folder.glob("*/*.j2"))]
    found = [TEMPLATES.find(*file) for file in files]

    assert len(files) >= 20
    assert [template for template in found if not isinstance(template, Template)] == []
    for template in found:
        assert template is not None
        Typesetter().compile(template)
