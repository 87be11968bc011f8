"""Settings of Apple's push service, and who we are to it: a token's key, or a certificate."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tidings.operators.senders.push.apns_message import PushType
from tidings.operators.senders.push.road import RoadSettings
from tidings.problems import ValueProblem
from tidings.secret import Secret

HOSTS = {"production": "api.push.apple.com", "sandbox": "api.sandbox.push.apple.com"}

_BY_TOKEN_ALONE = frozenset({"location", "liveactivity"})  # Apple takes no certificate for them


class Settings(RoadSettings):
    """Settings of APNs."""

    key: Secret | None = None
    """The signing key, a ``.p8`` file: ``file:PATH`` or ``env:NAME``."""
    key_id: Annotated[str, Field(pattern="^[A-Za-z0-9]{0,64}$")] = ""
    """Apple's id of that key."""
    team_id: Annotated[str, Field(pattern="^[A-Za-z0-9]{0,64}$")] = ""
    """The id of the team that owns the app."""
    certificate: Path | None = None
    """A certificate in place of the key, with its own private key in the same PEM file: for MDM,
    which Apple takes no key for."""
    topic: Annotated[str, Field(pattern="^[!-~]{1,200}$")]
    """The app's bundle id; a device that names its app outranks it. For MDM it is the UID in the
    certificate's subject, ``com.apple.mgmt.External.…``."""
    environment: Literal["production", "sandbox"] = "production"
    """Which of Apple's two services; tokens of one are unknown to the other."""
    push_type: PushType | None = None
    """Fixed for all; by default ``alert``, or ``background`` where there is nothing to show. Tokens
    of other types are others: each type has a provider of its own. The topic's suffix
    (``.voip``, ``.push-type.liveactivity``, …) follows from it."""

    @model_validator(mode="after")
    def _who_we_are(self) -> Self:
        token = (self.key, self.key_id, self.team_id)
        if self.certificate is None:
            if not all(token):
                raise ValueProblem("missing-field", "`key`, `key_id` and `team_id` go together")
            if self.push_type == "mdm":
                raise ValueProblem(
                    "missing-field", "MDM goes by `certificate`: Apple takes no key for it"
                )
        elif any(token):
            raise ValueProblem("missing-field", "give either `key` or `certificate`, and not both")
        elif self.push_type in _BY_TOKEN_ALONE:
            raise ValueProblem(
                "missing-field", f"`{self.push_type}` goes by `key`: Apple takes no certificate"
            )
        return self

    def tls(self) -> ssl.SSLContext | None:
        """TLS that shows our certificate; None where a token says who we are.

        Raises ValueError for a certificate or a CA that can't be used.
        """
        if self.certificate is None:
            return None
        context = self.trusting()
        try:
            # With a password, be it none, it does not ask for one on the terminal.
            context.load_cert_chain(self.certificate, password="")
        except (OSError, ValueError) as error:
            raise ValueError(
                f"can't use the certificate {self.certificate}: {error}; it is a PEM file of the "
                "certificate and its private key, without a password"
            ) from None
        return context
