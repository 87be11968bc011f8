"""What every Suppressions adapter must answer: the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidings.ports import Question, Suppression, Suppressions, Unavailable
from tidings.stores.clock import ManualClock
from tidings.stores.suppressions import FileSuppressions

NOW = 1_760_000_000_000
DAY = 86_400_000


@pytest.fixture(params=["file"])
def suppressions(request: pytest.FixtureRequest, tmp_path: Path) -> Suppressions:
    return FileSuppressions(tmp_path, ManualClock(NOW))


def asked(
    address: str, channel: str = "email", category: str = "social", tenant: str = "default"
) -> Question:
    return Question(tenant, channel, address, category)


def entry(
    reason: str,
    address: str = "ana@example.com",
    channel: str = "email",
    scope: str = "all",
    until: int = 0,
) -> Suppression:
    return Suppression(channel=channel, address=address, reason=reason, scope=scope, until=until)


ANA = asked("ana@example.com")


def test_an_empty_list_forbids_nothing(suppressions: Suppressions) -> None:
    assert suppressions.check([ANA, asked("+34600000000", "sms")], NOW) == [None, None]


def test_nothing_asked_is_nothing_answered(suppressions: Suppressions) -> None:
    assert suppressions.check([], NOW) == []


def test_what_is_on_the_list_is_forbidden_at_once(suppressions: Suppressions) -> None:
    stop = Suppression(
        channel="sms", address="+34600000000", reason="stop", source="twilio", until=0
    )
    suppressions.add("default", stop)
    assert suppressions.check([ANA, asked("+34600000000", "sms")], NOW) == [None, stop]


@pytest.mark.parametrize(
    "question",
    [
        pytest.param(asked("bob@example.com"), id="another address"),
        pytest.param(asked("ana@example.com", channel="push"), id="another channel"),
        pytest.param(asked("ana@example.com", tenant="acme"), id="another tenant"),
    ],
)
def test_an_entry_is_about_its_own_address(suppressions: Suppressions, question: Question) -> None:
    suppressions.add("default", entry("complaint"))
    assert suppressions.check([question], NOW) == [None]


def test_a_category_entry_forbids_its_category_alone(suppressions: Suppressions) -> None:
    unsubscribed = entry("unsubscribed", scope="promo")
    suppressions.add("default", unsubscribed)
    questions = [
        asked("ana@example.com", category="promo"),
        asked("ana@example.com", category="social"),
    ]
    assert suppressions.check(questions, NOW) == [unsubscribed, None]


def test_an_entry_ends_at_its_time(suppressions: Suppressions) -> None:
    soft = entry("soft_bounce", until=NOW + DAY)
    suppressions.add("default", soft)
    assert suppressions.check([ANA], NOW + DAY - 1) == [soft]
    assert suppressions.check([ANA], NOW + DAY) == [None]


@pytest.mark.parametrize("reason", ["complaint", "stop", "hard_bounce"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_what_holds_for_good_outranks_what_ends(
    suppressions: Suppressions, reason: str, order: str
) -> None:
    entries = [entry(reason), entry("campaign_pause", until=NOW + DAY)]
    for one in entries if order == "before" else entries[::-1]:
        suppressions.add("default", one)
    assert suppressions.check([ANA], NOW) == [entry(reason)]
    assert suppressions.check([ANA], NOW + 2 * DAY) == [entry(reason)]


def test_all_categories_outrank_one(suppressions: Suppressions) -> None:
    suppressions.add("default", entry("unsubscribed", scope="social"))
    suppressions.add("default", entry("complaint"))
    assert suppressions.check([ANA], NOW) == [entry("complaint")]


def test_an_entry_with_the_same_scope_and_reason_is_replaced(suppressions: Suppressions) -> None:
    suppressions.add("default", entry("hard_bounce"))
    suppressions.add("default", entry("hard_bounce", until=NOW - 1))  # verified anew
    assert suppressions.check([ANA], NOW) == [None]


@pytest.mark.parametrize(
    ("listed", "used"),
    [
        pytest.param("Ana@Example.COM", "ana@example.com", id="capitals on the list"),
        pytest.param("ana@example.com", "ANA@example.com", id="capitals in use"),
        pytest.param("ana@bücher.example", "ana@xn--bcher-kva.example", id="IDNA in use"),
        pytest.param("ana@XN--BCHER-KVA.example", "ana@Bücher.example", id="IDNA on the list"),
        pytest.param("no domain ü", "no domain ü", id="no domain"),
    ],
)
def test_e_mail_addresses_are_compared_normalised(
    suppressions: Suppressions, listed: str, used: str
) -> None:
    suppressions.add("default", entry("complaint", address=listed))
    assert suppressions.check([asked(used)], NOW) == [entry("complaint", address=listed)]


def test_tokens_keep_their_capitals(suppressions: Suppressions) -> None:
    suppressions.add("default", entry("hard_bounce", address="TokeN", channel="push"))
    answers = suppressions.check([asked("token", "push"), asked("TokeN", "push")], NOW)
    assert [answer is not None for answer in answers] == [False, True]


class TestFile:
    """What only the file-backed adapter has: its files, other processes, mistakes."""

    def test_an_entry_is_durable(self, tmp_path: Path) -> None:
        FileSuppressions(tmp_path, ManualClock(NOW)).add("default", entry("complaint"))
        again = FileSuppressions(tmp_path, ManualClock(NOW))
        assert again.check([ANA], NOW) == [entry("complaint")]

    def test_another_process_sees_it_within_200_ms(self, tmp_path: Path) -> None:
        clock = ManualClock(NOW)
        one, other = FileSuppressions(tmp_path, clock), FileSuppressions(tmp_path, clock)
        one.add("default", entry("complaint"))
        clock.advance(199)
        assert other.check([ANA], NOW) == [None]
        clock.advance(1)
        assert other.check([ANA], NOW) == [entry("complaint")]

    def test_a_list_that_people_wrote_counts_too(self, tmp_path: Path) -> None:
        (tmp_path / "suppressions.jsonl").write_text(
            '# imported\n{"channel":"email","address":"ana@example.com","reason":"complaint"}\n'
        )
        assert FileSuppressions(tmp_path, ManualClock(NOW)).check([ANA], NOW) == [
            entry("complaint")
        ]

    def test_what_people_take_off_is_off(self, tmp_path: Path) -> None:
        path = tmp_path / "suppressions.jsonl"
        path.write_text('{"channel":"email","address":"ana@example.com","reason":"complaint"}\n')
        clock = ManualClock(NOW)
        suppressions = FileSuppressions(tmp_path, clock)
        suppressions.add("default", entry("hard_bounce", address="bob@example.com"))
        path.write_text("")
        clock.advance(200)
        assert suppressions.check([ANA, asked("bob@example.com")], NOW) == [
            None,
            entry("hard_bounce", address="bob@example.com"),
        ]

    def test_a_list_that_is_wrong_at_the_start_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "suppressions.jsonl").write_text('{"chanel":"email"}\n')
        with pytest.raises(ValueError, match=r"suppressions\.jsonl:1: .*chan"):
            FileSuppressions(tmp_path, ManualClock(NOW))

    def test_a_list_that_turns_wrong_changes_nothing_and_the_journal_is_read_on(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "suppressions.jsonl"
        path.write_text('{"channel":"email","address":"ana@example.com","reason":"complaint"}\n')
        clock = ManualClock(NOW)
        one, other = FileSuppressions(tmp_path, clock), FileSuppressions(tmp_path, clock)
        path.write_text("half a line\n")
        one.add("default", entry("hard_bounce", address="bob@example.com"))
        clock.advance(200)
        assert other.check([ANA, asked("bob@example.com")], NOW) == [
            entry("complaint"),
            entry("hard_bounce", address="bob@example.com"),
        ]

    def test_a_line_of_the_journal_that_cant_be_read_is_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / "suppressions.journal.jsonl").write_text("garbage\n\n")
        suppressions = FileSuppressions(tmp_path, ManualClock(NOW))
        suppressions.add("default", entry("complaint"))
        assert FileSuppressions(tmp_path, ManualClock(NOW)).check([ANA], NOW) == [
            entry("complaint")
        ]

    def test_a_folder_that_cant_be_written_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        folder = tmp_path / "file" / "folder"
        suppressions = FileSuppressions(tmp_path, ManualClock(NOW))
        (tmp_path / "suppressions.journal.jsonl").mkdir()
        with pytest.raises(Unavailable, match="can't be written"):
            suppressions.add("default", entry("complaint"))
        with pytest.raises(Unavailable, match="can't be read"):
            FileSuppressions(folder, ManualClock(NOW))
