"""Where a provider is to send its receipts, and what it is given to send back."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tidings.receipts import Reference
from tidings.secret import Secret
from tidings.sender import Send


class Callback(BaseModel):
    """Where a provider sends its receipts."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    url: Annotated[str, Field(pattern="^https?://[!-~]+$")]
    """The public address of this provider's webhook, as the provider calls it."""
    key: Secret
    """What references to our sends are signed with, 32 random bytes or more. All processes have
    the same one."""

    def signing_key(self) -> bytes:
        """The key itself. Raises ValueError where it can't be read."""
        return self.key.read().strip().encode()


def reference_of(send: Send) -> Reference | None:
    """Whose ``send`` is; None where the lane did not say (a send made by hand)."""
    delivery, origin = send.delivery, send.origin
    if delivery is None or origin is None:
        return None
    waiting = (delivery.reply_to, delivery.wait, delivery.round) if delivery.reply_to else ()
    return Reference(
        delivery.tenant,
        delivery.recipient_id,
        send.send_id,
        delivery.notif_id,
        delivery.flow,
        send.channel,
        delivery.category,
        delivery.campaign_id,
        origin,
        *waiting,
    )
