"""Providers by name: their settings, typed by their kind, and the senders made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from pydantic import BaseModel

from tidings.ports import Clock
from tidings.problems import ValueProblem, listed, suggestion
from tidings.receipts import Receipt, Reply, Webhook
from tidings.registry import sender, senders
from tidings.sender import Sender, SenderKind, Terms


def kind_of(given: Mapping[str, Any]) -> SenderKind[Any]:
    """The kind of a provider. Raises ValueProblem (``unknown-kind``) where there is no such."""
    name = str(given.get("kind", ""))
    kind = sender(name)
    if kind is None:
        raise ValueProblem(
            "unknown-kind",
            f"`kind` must be one of {listed(senders(), 'or')}",
            suggestion(name, senders()) if name else None,
        )
    return kind


def own_settings(given: Mapping[str, Any]) -> BaseModel:
    """A provider's settings, typed by its kind. Raises ValueProblem, or pydantic's ValidationError
    with each mistake."""
    own = {key: value for key, value in given.items() if key != "kind"}
    typed: BaseModel = kind_of(given).settings.model_validate(own)
    return typed


def sender_of(name: str, providers: Mapping[str, Mapping[str, Any]], clock: Clock) -> Sender:
    """The sender of the provider ``name``; nothing is connected yet.

    Raises ValueProblem where the settings do not know it, and as ``own_settings`` does.
    """
    if name not in providers:
        raise ValueProblem(
            "unknown-provider",
            f"there is no provider `{name}` in the settings",
            suggestion(name, providers) or "add it to `providers` in config/tidings.yaml",
        )
    given = providers[name]
    return kind_of(given).build(own_settings(given), clock)


def terms_of(name: str, providers: Mapping[str, Mapping[str, Any]]) -> Terms:
    """What the provider ``name``, whose settings are good, grants by default."""
    given = providers[name]
    return kind_of(given).terms(own_settings(given))


def settles_of(name: str, providers: Mapping[str, Mapping[str, Any]]) -> int:
    """After how long (ms) the provider ``name`` is believed that it does not have a message; 0
    where it can't be asked, or is not known well enough to tell."""
    try:
        return terms_of(name, providers).settles_ms
    except (KeyError, ValueError):
        return 0


class Desk(NamedTuple):
    """What reads one provider's callbacks, and the keys that may have signed our references."""

    read: Callable[[Webhook], Sequence[Receipt | Reply]]
    keys: Sequence[bytes]


def call_back(providers: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether any of these providers tells later what became of a message: then somebody has to
    read it. Raises ValueProblem for a kind that there is not."""
    return any(kind_of(given).receipts is not None for given in providers.values())


def desks(providers: Mapping[str, Mapping[str, Any]]) -> dict[str, Desk]:
    """The desks of all providers that send callbacks, by name.

    Raises ValueError for a signing key that can't be read, and as ``own_settings`` does.
    """
    found = {}
    for name, given in providers.items():
        read = kind_of(given).receipts
        if read is None:
            continue
        settings = own_settings(given)
        callback = getattr(settings, "callback", None)
        keys = [callback.signing_key()] if callback is not None else []
        found[name] = Desk(partial(read, settings), keys)
    return found
