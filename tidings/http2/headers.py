"""Header compression (HPACK, RFC 7541), bent to this client's use.

Of a request only a few short fields enter the server's table; the encoded head of a kind of
request is kept and used again until the table changes. Of an answer nothing enters ours: we ask
for a table of size 0, and once the server has confirmed that in its next header block, each block
stands for itself. So of an answer only the status is read, and the rest when somebody asks for it.
"""

from __future__ import annotations

from hpack import Decoder, Encoder, HPACKError
from hpack.exceptions import OversizedHeaderListError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from tidings.http2.frames import ErrorCode, ProtocolError
from tidings.http2.message import Fields, Head, literal_start

POST_HTTPS = b"\x83\x87"  # :method POST and :scheme https, both in the static table
STATUS_200 = 0x88  # the first byte of a block that begins with :status 200
LARGEST_TABLE = 4_096  # ours for the server's table, whatever more it offers
LONGEST_VARIABLE = 2_048  # path and own fields of a request together
MOST_KEPT = 256  # encoded heads of a connection
LARGEST_LIST = 16_384  # names and values of one answer

PATH_START = tuple(literal_start(b":path", size) for size in range(LONGEST_VARIABLE + 1))

_INSERTS = 0x40  # a literal that enters the table begins with the bits 01


class HeadEncoder:
    """Encodes heads for one connection."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._kept: dict[Head, tuple[bytes, bytes, bool]] = {}

    def resize(self, size: int) -> None:
        """Takes the size that the server allows; the next block will tell it what we use."""
        self._encoder.header_table_size = min(size, LARGEST_TABLE)
        self._kept.clear()

    def encode(self, head: Head) -> tuple[bytes, bytes, bool]:
        """What comes before the path, what comes after it, and whether both may be used again.

        They may not where a field enters the table by this block: send each such block once.
        """
        kept = self._kept.get(head)
        if kept is not None:
            return kept
        add = self._encoder.add
        resized = self._encoder.encode([])  # nothing but the table's new size, if it has one
        authority = add((b":authority", head.authority), False, True)
        fields = [add(field, False, True) for field in head.indexed]
        settled = not any(part[0] & 0xC0 == _INSERTS for part in (authority, *fields))
        encoded = (
            resized + POST_HTTPS + authority,
            b"".join(fields) + head.plain,
            settled and not resized,
        )
        if not encoded[2] or len(self._kept) >= MOST_KEPT:
            self._kept.clear()  # what entered the table moved the others' indices
        if encoded[2]:
            self._kept[head] = encoded
        return encoded


class HeadDecoder:
    """Decodes the header blocks of one connection; ``stateless`` once each stands for itself."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=LARGEST_LIST)
        self.stateless = False

    def decode(self, block: bytes) -> Fields:
        """The fields of a block, in order. Raises ProtocolError."""
        try:
            fields = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError as error:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "headers too large") from error
        except HPACKError as error:
            raise ProtocolError(
                ErrorCode.COMPRESSION_ERROR, f"bad header block: {error}"
            ) from error
        self.stateless = self._decoder.header_table_size == 0
        return tuple((bytes(name), bytes(value)) for name, value in fields)


def status_of(block: bytes) -> int:
    """The status that a block begins with, as every answer's must; 0 where it can't be told so."""
    if len(block) > 2 and block[0] in _LITERAL_STATUS:
        return _STATUS_VALUES.get(block[1 : 2 + (block[1] & 0x7F)], 0)
    return _INDEXED_STATUS.get(block[0], 0) if block else 0


_INDEXED_STATUS = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
_LITERAL_STATUS = (0x08, 0x18, 0x48)  # the name by its index; not, never, or to be indexed
_HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
_STATUS_VALUES: dict[bytes, int] = {}
for _status in range(100, 600):
    _text = b"%d" % _status
    _short = _HUFFMAN.encode(_text)
    _STATUS_VALUES[b"\x03" + _text] = _status
    _STATUS_VALUES[bytes([0x80 | len(_short)]) + _short] = _status
