"""The people of the demo: who they are, and whose an address is."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tidings.ports import Address

STAR = "mei"  # whom everybody likes

_PLATFORMS = {"ios": "iPhone", "android": "Android"}


class _Line(msgspec.Struct):
    recipient_id: str
    addresses: tuple[Address, ...] = ()


class Cast:
    """The people of one file, the star first."""

    def __init__(self, file: Path) -> None:
        decode = msgspec.json.Decoder(_Line).decode
        lines = [
            decode(line)
            for line in file.read_bytes().splitlines()
            if line.strip() and not line.startswith(b"#")
        ]
        self.ids = sorted((line.recipient_id for line in lines), key=lambda name: name != STAR)
        self._owners = {
            address.value: line.recipient_id for line in lines for address in line.addresses
        }

    def name_at(self, address: str, platform: str = "") -> str:
        """Whose address it is, with the kind of device: ``Ana · iPhone``."""
        name = self._owners.get(address, "somebody").capitalize()
        return f"{name} · {_PLATFORMS[platform]}" if platform in _PLATFORMS else name
