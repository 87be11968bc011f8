"""`tidings run --dry-run` beside the log of a real installation: it reads, and that is all."""

from __future__ import annotations

import signal

from tests.integration.installation import Installation, ends
from tests.integration.test_run import OTP, files


def test_it_prints_what_comes_from_now_on_and_writes_nothing(installation: Installation) -> None:
    topics = installation.start("topics", "apply", "--sources", *files("otp"))
    assert topics.wait(60) == 0
    process = installation.start("run", *files("otp", "lanes/sms"), "--dry-run")
    installation.wait_until_said("waiting for what comes to otp.events")
    installation.emit("otp.events", OTP)
    installation.wait_until_said("otp.deliver  delivered sms  to bob", "sms.send  sent sms  to bob")
    assert ends(process, signal.SIGINT) == 0
    assert "481516" not in installation.said()
    assert "447700900101" not in installation.said()
    assert list(installation.outcomes()) == []
    assert installation.accepted() == []
