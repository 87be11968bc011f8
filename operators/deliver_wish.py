"""What an event itself says about its delivery: its channels, its texts, what templates see."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from tidings.contract import Site
from tidings.expressions import EvaluationError
from tidings.expressions.operations import kind_of
from tidings.operators.deliver_spec import DeliverSpec
from tidings.problems import listed

LONGEST = 1_024  # characters of an id that an event brings along: each is in every outcome


class Wish(msgspec.Struct, gc=False):
    """What the event itself says about its delivery."""

    channels: Sequence[str]
    template: str
    data: dict[str, Any]
    collapse_key: str = ""
    notif_id: str = ""
    campaign_id: str = ""


class Wishes:
    """Reads an event's wish by the expressions of the spec."""

    def __init__(self, spec: DeliverSpec, site: Site) -> None:
        self._channels = spec.channels_named()
        self._known = site.channels
        self._template = spec.template
        self._fields = spec.fields
        self._data_of = spec.data.or_null() if spec.data is not None else None
        self._channels_of = spec.channels.or_null() if spec.channels is not None else None
        texts = {
            "template": spec.template_id,
            "collapse_key": spec.collapse_key,
            "notif_id": spec.notif_id,
            "campaign_id": spec.campaign_id,
        }
        self._texts = [(name, given.or_null()) for name, given in texts.items() if given]

    def of(self, event: dict[str, Any]) -> Wish:
        """Raises EvaluationError or ValueError for an expression that gives nothing fit."""
        wish = Wish(self._channels, self._template, self._data(event))
        if self._channels_of is not None and (named := self._channels_of(event)):
            wish.channels = self._checked(named)
        for name, text_of in self._texts:
            if text := _text(text_of(event), name):
                setattr(wish, name, text)
        return wish

    def _checked(self, named: Any) -> Sequence[str]:
        if not isinstance(named, list):
            raise ValueError(f"`channels` must give a list of channels, got {kind_of(named)}")
        for name in named:
            if not isinstance(name, str) or name not in self._known:
                raise ValueError(f"`channels` may hold {listed(self._known)}, and nothing else")
        return list(dict.fromkeys(named))

    def _data(self, event: dict[str, Any]) -> dict[str, Any]:
        if self._fields is not None:
            data = {}
            for field in self._fields:
                with suppress(EvaluationError):
                    data[str((field.path or (field.text,))[-1])] = field.of(event)
        elif self._data_of is not None:
            data = self._data_of(event)
            if data is None:
                data = {}
            if not isinstance(data, dict):
                raise ValueError(f"`data` must give a map, got {kind_of(data)}")
        else:
            return event
        return {"type": event["type"], **data} if "type" in event else data


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        if len(text := str(value)) > LONGEST:
            raise ValueError(f"`{name}` may have {LONGEST} characters, this one has {len(text)}")
        return text
    raise ValueError(f"`{name}` must give a text or a whole number, got {kind_of(value)}")
