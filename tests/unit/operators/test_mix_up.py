"""When bad tokens are so many that they are our mistake, and are not removed."""

from __future__ import annotations

from tidings.operators.senders.push.mix_up import MixUp

NOW = 1_800_000_000_000
SECOND, MINUTE = 1_000, 60_000


def good(mix_up: MixUp, count: int, at: int) -> None:
    """A batch that goes out at an instant, all of it good."""
    mix_up.look(at)
    mix_up.good += count


def bad(mix_up: MixUp, count: int, at: int) -> int:
    """So many bad ones at an instant; gives how many of them are removed."""
    return [mix_up.bad(at) for _ in range(count)].count(False)


def test_the_twentieth_bad_token_is_a_mix_up_where_hardly_any_is_good() -> None:
    mix_up = MixUp()
    assert [mix_up.bad(NOW) for _ in range(25)] == [False] * 19 + [True] * 6


def test_more_bad_tokens_than_good_ones_are_a_mix_up() -> None:
    mix_up = MixUp()
    good(mix_up, 30, NOW)
    assert bad(mix_up, 40, NOW) == 30


def test_what_was_good_before_the_first_bad_token_counts() -> None:
    mix_up = MixUp()
    for second in range(0, 50, 5):
        good(mix_up, 10, NOW + second * SECOND)
    assert bad(mix_up, 100, NOW + 54 * SECOND) == 100
    assert mix_up.bad(NOW + 54 * SECOND) is True


def test_what_was_good_more_than_a_minute_ago_does_not_count() -> None:
    mix_up = MixUp()
    good(mix_up, 90, NOW)
    good(mix_up, 25, NOW + 30 * SECOND)
    assert bad(mix_up, 60, NOW + MINUTE) == 25


def test_a_window_rolls_on_while_answers_come() -> None:
    mix_up = MixUp()
    for second in range(0, 600, 3):
        good(mix_up, 2, NOW + second * SECOND)
        assert mix_up.bad(NOW + second * SECOND) is False, second
    at = NOW + 600 * SECOND
    assert bad(mix_up, 100, at) in range(18, 21), "38 or 40 were good, and 19 or 20 bad"


def test_bad_tokens_that_come_seldom_are_never_a_mix_up() -> None:
    mix_up = MixUp()
    assert [mix_up.bad(NOW + 4 * SECOND * number) for number in range(100)] == [False] * 100


def test_a_mix_up_in_the_middle_of_a_blast_is_seen_after_five_hundred() -> None:
    mix_up = MixUp()
    for number in range(500):
        good(mix_up, 1_000, NOW + number * 100)
    assert bad(mix_up, 2_000, NOW + 50 * SECOND) == 500


def test_bad_tokens_spread_over_a_blast_are_removed() -> None:
    mix_up, removed = MixUp(), 0
    for number in range(500):
        good(mix_up, 60, NOW + number * 100)
        removed += bad(mix_up, 40, NOW + number * 100)
    assert removed == 500 * 40


def test_a_mix_up_lasts_until_one_is_good() -> None:
    mix_up = MixUp()
    assert bad(mix_up, 20, NOW) == 19
    probes = [mix_up.bad(NOW + minute * MINUTE) for minute in range(1, 60)]
    assert probes == [True] * 59, "else each would be removed, and 18 behind it"
    mix_up.good += 1
    assert mix_up.bad(NOW + 60 * MINUTE) is False


def test_one_good_answer_among_very_many_bad_ones_removes_none_of_them() -> None:
    mix_up = MixUp()
    assert bad(mix_up, 30, NOW) == 19
    mix_up.good += 1
    assert bad(mix_up, 30, NOW + SECOND) == 0


def test_a_clock_that_is_set_back_has_it_begin_anew() -> None:
    mix_up = MixUp()
    good(mix_up, 500, NOW)
    assert bad(mix_up, 19, NOW - 10 * MINUTE) == 19
    assert mix_up.bad(NOW - 10 * MINUTE) is True
