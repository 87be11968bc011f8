"""From an expression's text to tokens, each with its place in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tidings.problems import ValueProblem

MAX_CHARACTERS = 4_000
MAX_NUMBER = 2**63

KEYWORDS = frozenset({"and", "or", "not", "in", "if", "else", "true", "false", "null"})

TokenKind = Literal["name", "keyword", "number", "text", "sign", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    """One token: `value` is the name, keyword, sign, or the literal's value."""

    kind: TokenKind
    value: str | int | float
    start: int
    end: int

    def is_(self, *values: str) -> bool:
        """Whether it is one of these keywords or signs."""
        return self.kind in ("keyword", "sign") and self.value in values


_TOKEN = re.compile(
    r"""(?P<blank>\s+)
      | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
      | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<quoted>`[^`\n]+`)
      | (?P<name>[^\W0-9]\w*)
      | (?P<sign>==|!=|<=|>=|[<>+*/%()\[\],.-])
    """,
    re.X | re.S,
)

_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.S)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "/": "/"}

_FOREIGN = {
    "&&": "did you mean `and`?",
    "||": "did you mean `or`?",
    "===": "did you mean `==`?",
    "=": "did you mean `==`?",
    "<>": "did you mean `!=`?",
    "!": "did you mean `not`?",
    "**": "there are no powers; write x * x",
    "//": "for a whole number write int(a / b)",
    "?": "write: a if test else b",
    "{": "there are no maps in expressions; `${NAME}` stands in plain texts only",
    "'": "a text ends with the quote that it begins with",
    '"': "a text ends with the quote that it begins with",
    "`": "a quoted name ends with the quote that it begins with",
}


def tokenize(text: str) -> list[Token]:
    """The tokens of `text`, an `end` token last. Raises `ValueProblem` (`bad-expression`)."""
    if len(text) > MAX_CHARACTERS:
        raise wrong(
            f"an expression has at most {MAX_CHARACTERS} characters; this one has {len(text)}"
        )
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        foreign = _foreign(text, at)
        match = _TOKEN.match(text, at)
        if foreign is not None and (match is None or len(match[0]) < len(foreign)):
            opens = foreign in ("'", '"', "`")
            message = (
                "the quote that opens here is never closed" if opens else f"unexpected `{foreign}`"
            )
            raise wrong(message, _FOREIGN[foreign], at, len(foreign))
        if match is None:
            raise wrong(f"unexpected `{text[at]}`", None, at, 1)
        at = match.end()
        if match.lastgroup != "blank":
            tokens.append(_token(match))
    tokens.append(Token("end", "", len(text), len(text)))
    return tokens


def wrong(message: str, hint: str | None = None, start: int = 0, length: int = 1) -> ValueProblem:
    """The error of an expression's text."""
    return ValueProblem("bad-expression", message, hint, offset=start, length=length)


def _token(match: re.Match[str]) -> Token:
    start, end, found = match.start(), match.end(), match[0]
    if match.lastgroup == "number":
        return Token("number", _number(match), start, end)
    if match.lastgroup == "text":
        return Token("text", _unescape(found[1:-1], start + 1), start, end)
    if match.lastgroup == "quoted":
        return Token("name", found[1:-1], start, end)
    if match.lastgroup == "name":
        return Token("keyword" if found in KEYWORDS else "name", found, start, end)
    return Token("sign", found, start, end)


def _number(match: re.Match[str]) -> int | float:
    found, start, end = match[0], match.start(), match.end()
    tail = re.compile(r"\w*").match(match.string, end)
    if tail is not None and tail[0]:
        word = found + tail[0]
        raise wrong(
            f"`{word}` is neither a number nor a name",
            f"a text needs quotes: '{word}'",
            start,
            len(word),
        )
    number = int(found) if found.isdigit() and len(found) < 30 else float(found)
    if abs(number) >= MAX_NUMBER and (isinstance(number, int) or found.isdigit()):
        raise wrong("this number is too large", "numbers have 64 bits", start, end - start)
    if number == float("inf"):
        raise wrong("this number is too large", None, start, end - start)
    return number


def _unescape(text: str, start: int) -> str:
    def plain(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) == 5 and not "d800" <= code[1:].lower() <= "dfff":
            return chr(int(code[1:], 16))
        if code not in _ESCAPES:
            raise wrong(
                f"there is no escape `\\{code}`",
                "for the backslash itself write two",
                start + match.start(),
                len(match[0]),
            )
        return _ESCAPES[code]

    return _ESCAPE.sub(plain, text)


def _foreign(text: str, at: int) -> str | None:
    for length in (3, 2, 1):
        if (sign := text[at : at + length]) in _FOREIGN and len(sign) == length:
            return sign
    return None
