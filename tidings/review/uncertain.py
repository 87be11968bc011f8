"""Whether the providers of a lane that asks (`on_uncertain: ask`) can be asked."""

from __future__ import annotations

from tidings.plan import StepPlan
from tidings.problems import Problems
from tidings.providers import terms_of
from tidings.settings import Settings


def check_askable(send: StepPlan, settings: Settings, problems: Problems) -> None:
    """Warn of each provider of a `send` that can't tell whether it has a message."""
    if send.spec.on_uncertain != "ask":
        return
    for name in send.spec.providers():
        try:
            mute = name in settings.providers and not terms_of(name, settings.providers).settles_ms
        except ValueError:
            continue  # its settings are no good, which is told elsewhere
        if mute:
            problems.warning(
                "cannot-ask",
                f"`{name}` can't be asked whether it has a message: what it does not answer for "
                "ends as `unknown`",
                send.at("on_uncertain"),
                send.path,
                "a receipt turns that into sent or failed where the provider sends one; `resend` "
                "tries again, where silence is worse than a duplicate",
            )
