"""Keyed steps side by side in time: each sees what the one before it lets through, when it does."""

from __future__ import annotations

from pathlib import Path

from tests.unit.runtime.one_flow import NOW, OneFlow

TWO_DIGESTS = """
  - {id: by_photo, digest: {by: [photo], window: 1s, keep: last 0}}
  - {id: of_all, digest: {window: 3s, keep: last 0}}
  - deliver: {to: push, template: t}
"""


def test_a_second_digest_holds_up_no_other_window_of_the_first(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, TWO_DIGESTS, save_rate=10_000)
    flow.enter("ana", {"photo": "p"}, id="e1")
    flow.settle()
    flow.clock.advance(500)
    flow.enter("ana", {"photo": "q"}, id="e2")
    flow.settle()
    flow.pass_time(500)  # p's window closes and opens the second digest's, up to NOW + 4,000
    flow.pass_time(500)
    flow.enter("ana", {"photo": "q"}, id="e3")  # q's window closed at NOW + 1,500
    flow.settle()
    flow.pass_time(5_000)

    first, second = flow.deliveries()
    assert (first.data["opened_at"], first.data["count"]) == (NOW + 1_000, 2)
    assert first.created_at == NOW + 4_000
    assert second.data["count"] == 1
