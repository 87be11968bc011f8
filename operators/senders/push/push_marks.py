"""What a push carries for the app to tell us later: which send it was, and whose.

Push services tell us nothing of what becomes of a message; the app does, by what it finds in it.
"""

from __future__ import annotations

from tidings.callbacks import reference_of
from tidings.sender import Content, Send


class Marks:
    """The marks of sends; without a ``key`` there are no references."""

    def __init__(self, key: bytes = b"") -> None:
        self._key = key

    def __repr__(self) -> str:
        return "Marks()"

    def of(self, send: Send) -> tuple[dict[str, str], ...]:
        """The marks of a send, best first: the next are for where the first leave no room."""
        plain = {"send_id": send.send_id}
        reference = reference_of(send) if self._key else None
        if reference is None:
            return (plain,)
        return {**plain, "reference": reference.signed(self._key)}, plain


def forms(content: Content) -> tuple[Content, ...]:
    """The whole, and what takes its place where that is too large."""
    return (content,) if content.small is None else (content, content.small)
