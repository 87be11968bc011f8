"""render with `overflow: fetch`: what may be too large is kept first, and goes along in short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract import apns_desk, fcm_desk
from tests.unit.operators.support import HOUR, NOW, Outbox, built, ports, work
from tidings.contract import Part, Work
from tidings.driver.ports import local_payloads
from tidings.operators.render import ENVELOPE, LARGEST_PUSH
from tidings.operators.render_fetch import could_exceed, shortened
from tidings.operators.senders.push import apns_message
from tidings.operators.senders.push.fcm_message import Composer, target
from tidings.operators.senders.push.push_marks import Marks
from tidings.ports import Payload, Profile, Template, Unavailable
from tidings.problems import ValueProblem
from tidings.records import encode
from tidings.sender import Content

FETCH = "render: {overflow: fetch, carry: [photo, aps]}"
TEXT = Template(
    id="liked",
    channel="push",
    locale="en",
    version="1",
    parts={"title": "Hello", "body": "{{ text }}", "link": "app://photos/{{ photo }}"},
)
DAY = 24 * HOUR


class Keeping:
    """Payloads that keep what they were asked, and may be away."""

    def __init__(self) -> None:
        self.kept = local_payloads()
        self.calls: list[list[Payload]] = []
        self.away = False

    def put(self, payloads: Sequence[Payload], now: int) -> list[str]:
        if self.away:
            raise Unavailable("valkey is away")
        self.calls.append(list(payloads))
        return self.kept.put(payloads, now)

    def get(self, reference: str, now: int) -> bytes | None:
        return self.kept.get(reference, now)


def liked(text: str, notif_id: str = "n1", **fields: Any) -> Work:
    data = {"text": text, "photo": "p7", "aps": {"badge": 3}}
    one = work("ana", **{"template": "liked", "notif_id": notif_id, "data": data, **fields})
    one.profile = Profile()
    return one


def run(payloads: Keeping, *works: Work, step: str = FETCH, **site: Any) -> Outbox[Work]:
    outbox = Outbox(works)
    built(step, Part.LANE, channel="push", fetches=True, **site).process(
        outbox, ports(templates=[TEXT], payloads=payloads), NOW
    )
    return outbox


def content_of(one: Work) -> Content:
    assert one.content is not None
    return one.content


def fetched(payloads: Keeping, content: Content | None, now: int = NOW) -> Any:
    """What the app gets at the address in a push."""
    assert content is not None
    body = payloads.get(content.data["fetch"].rpartition("/")[2], now)
    return None if body is None else msgspec.json.decode(body)


def test_what_fits_goes_as_it_is_and_nothing_is_kept() -> None:
    payloads = Keeping()

    (one,) = run(payloads, liked("x" * 3_500)).items

    assert content_of(one).small is None
    assert payloads.calls == []


def test_what_may_be_too_large_is_kept_whole_and_goes_along_in_short() -> None:
    payloads = Keeping()

    (one,) = run(payloads, liked("x" * 5_000)).items

    whole = content_of(one)
    assert whole.parts["body"] == "x" * 5_000
    small = whole.small
    assert small is not None
    assert small.parts["title"] == "Hello"
    assert small.parts["link"] == "app://photos/p7"
    assert small.parts["body"] == "x" * (len(small.parts["body"]) - 1) + "…"
    assert 590 <= len(encode(small.parts["body"])) <= 600
    assert sorted(small.data) == ["aps", "fetch"]
    assert (small.locale, small.template_version) == ("en", "1")
    assert fetched(payloads, small) == {
        "notif_id": "n1",
        "locale": "en",
        "parts": {"title": "Hello", "body": "x" * 5_000, "link": "app://photos/p7"},
        "data": {"photo": "p7", "aps": {"badge": 3}},
    }


def test_a_batch_is_kept_in_one_round_trip() -> None:
    payloads = Keeping()

    run(payloads, *(liked("x" * (5_000 if n % 2 else 10), f"n{n}") for n in range(10)))

    assert [len(call) for call in payloads.calls] == [5]


def test_rendered_again_after_a_kill_it_has_the_same_address() -> None:
    payloads = Keeping()
    (before,) = run(payloads, liked("x" * 5_000, expires_at=NOW + HOUR)).items
    (after,) = run(payloads, liked("x" * 5_000, expires_at=NOW + HOUR)).items
    (other,) = run(payloads, liked("x" * 5_000, "n2", expires_at=NOW + HOUR)).items

    addresses = [content_of(each).small.data["fetch"] for each in (before, after, other)]  # type: ignore[union-attr]
    assert addresses[0] == addresses[1] != addresses[2]


@pytest.mark.parametrize(("fields", "life"), [({"expires_at": NOW + HOUR}, HOUR), ({}, 7 * DAY)])
def test_it_is_kept_until_the_message_expires(fields: dict[str, Any], life: int) -> None:
    payloads = Keeping()

    (one,) = run(payloads, liked("x" * 5_000, **fields)).items

    small = content_of(one).small
    assert fetched(payloads, small, NOW + life + 59_999) is not None  # it came in the last second
    assert fetched(payloads, small, NOW + life + 60_000) is None


def test_while_payloads_can_not_be_kept_a_batch_waits_with_nothing_changed() -> None:
    payloads = Keeping()
    payloads.away = True
    short, long, broken = liked("x"), liked("x" * 5_000), liked("x", data={})
    outbox = Outbox([short, long, broken])
    step = built(FETCH, Part.LANE, channel="push", fetches=True, priority="normal")

    with pytest.raises(Unavailable):
        step.process(outbox, ports(templates=[TEXT], payloads=payloads), NOW)

    assert (outbox.items, outbox.died) == ([short, long, broken], [])
    assert [each.content for each in outbox.items] == [None, None, None]


def test_while_payloads_can_not_be_kept_high_goes_out_short() -> None:
    payloads = Keeping()
    payloads.away = True

    (one,) = run(payloads, liked("x" * 5_000), priority="high").items

    whole = content_of(one)
    assert len(whole.parts["body"]) == 5_000
    assert whole.small is not None
    assert sorted(whole.small.data) == ["aps"]


@pytest.mark.parametrize(
    ("channel", "fetches", "message"),
    [
        ("email", True, "nothing fetches the rest of a message on `email`"),
        ("push", False, "`overflow: fetch` needs `payloads` in the settings"),
    ],
)
def test_where_nothing_could_be_fetched_it_is_refused(
    channel: str, fetches: bool, message: str
) -> None:
    with pytest.raises(ValueProblem) as raised:
        built(FETCH, Part.LANE, channel=channel, fetches=fetches)

    assert raised.value.message.startswith(message)


# ── The rule of what is really sent ───────────────────────────────────────────────────────────

TEXTS = st.text(st.characters(codec="utf-8"), max_size=900) | st.builds(
    str.__mul__, st.sampled_from(["x", '"', "\\", "\n", "é", "📷", "\x01"]), st.integers(0, 1_500)
)
JSON = st.recursive(
    TEXTS | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=4), max_leaves=6
)
CONTENTS = st.builds(
    Content,
    parts=st.dictionaries(
        st.sampled_from(["title", "subtitle", "body", "link", "image", "sound", "thread"]), TEXTS
    ),
    data=st.dictionaries(st.sampled_from(["photo", "list", "aps", "android"]), JSON)
    | st.builds(dict, aps=st.dictionaries(TEXTS, JSON, max_size=2)),
)


def sizes(content: Content) -> dict[str, int]:
    """The bytes that each push service counts of what it would really be sent."""
    found: dict[str, int] = {}
    for push_type in apns_message.RULES:
        if push_type != "mdm":
            send = apns_desk.a_send(content=content)
            made, _ = apns_message.payload(content, push_type, Marks().of(send)[0], NOW)
            found[push_type] = len(encode(made))
    composer = Composer(label="none", dry_run=False, store=True)
    for platform in ("ios", "android", "web"):
        send = fcm_desk.a_send(content, address=fcm_desk.on(platform))
        try:
            composer.compose(send, target(send.address.value), NOW, Marks().of(send))
            found[f"fcm {platform}"] = 0
        except ValueError as error:
            found[f"fcm {platform}"] = int(str(error).split()[0])
    return found


@given(content=CONTENTS)
def test_what_is_not_kept_is_too_large_for_no_push_service(content: Content) -> None:
    if not could_exceed(content, LARGEST_PUSH - ENVELOPE):
        assert all(size <= LARGEST_PUSH for size in sizes(content).values())


@given(content=CONTENTS)
def test_the_short_form_fits_every_push_service(content: Content) -> None:
    small = shortened(content, "https://push.example.com/payloads/" + "r" * 100)

    assert all(size <= LARGEST_PUSH for size in sizes(small).values())
