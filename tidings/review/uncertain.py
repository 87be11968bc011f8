"""Whether the providers that are to be asked (`on_uncertain: ask`) can be: a lane's, a flow's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidings.plan import FlowPlan, LanePlan, StepPlan
from tidings.problems import Problems
from tidings.providers import terms_of
from tidings.running.footprint import DELIVER, SEND, channels_of, priority_of
from tidings.running.roster import Role
from tidings.settings import Settings

ASK = "ask"


def check_askable(roles: Sequence[Role], settings: Settings, problems: Problems) -> None:
    """Warn of each provider that can't tell whether it has a message, once for each step that has
    it asked: a `send` of its own lane, a `deliver` of those that its deliveries come to."""
    warned: set[tuple[str, str]] = set()
    for step, send in _asking(roles):
        for name in _mute(send, settings):
            if (step.path, name) in warned:
                continue
            warned.add((step.path, name))
            problems.warning(
                "cannot-ask",
                f"`{name}` can't be asked whether it has a message: what it does not answer for "
                "ends as `unknown`",
                step.at("on_uncertain"),
                step.path,
                "a receipt turns that into sent or failed where the provider sends one; `resend` "
                "tries again, where silence is worse than a duplicate",
            )


def _asking(roles: Sequence[Role]) -> Iterator[tuple[StepPlan, StepPlan]]:
    """Each step that has providers asked, and a `send` to such."""
    for lane in roles:
        if not isinstance(lane.plan, LanePlan) or lane.plan.steps[-1].operator.name != SEND:
            continue
        send = lane.plan.steps[-1]
        if send.spec.on_uncertain == ASK:
            yield send, send
        for flow in roles:
            if isinstance(flow.plan, FlowPlan):
                for step in flow.plan.steps():
                    if (
                        step.operator.name == DELIVER
                        and step.spec.on_uncertain == ASK
                        and lane.plan.channel in channels_of(flow.plan, step)
                        and lane.priority == priority_of(step, flow.priority)
                    ):
                        yield step, send


def _mute(send: StepPlan, settings: Settings) -> Iterator[str]:
    for name in send.spec.providers():
        try:
            if name in settings.providers and not terms_of(name, settings.providers).settles_ms:
                yield name
        except ValueError:
            continue  # its settings are no good, which is told elsewhere
