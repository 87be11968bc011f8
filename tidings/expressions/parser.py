"""From tokens to a tree, by recursive descent.

From the loosest to the tightest:
`a if b else c`, `or`, `and`, `not`, comparisons and `in`, `+ -`, `* / %`, `-a`, `a.b a[0]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn, cast

from tidings.expressions.functions import FUNCTIONS
from tidings.expressions.tokens import Token, tokenize, wrong
from tidings.expressions.tree import (
    Binary,
    Call,
    Choice,
    Constant,
    Item,
    Items,
    Path,
    Tree,
    Unary,
)
from tidings.problems import suggestion

MAX_DEPTH = 40
MAX_NODES = 400

COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_CONSTANTS = {"true": True, "false": False, "null": None}
_FOREIGN_WORDS = {"True": "true", "False": "false", "None": "null", "nil": "null"}
_FOREIGN_WORDS |= {"AND": "and", "OR": "or", "NOT": "not", "IN": "in"}


def parse_tree(text: str) -> Tree:
    """The tree of an expression. Raises `ValueProblem` (`bad-expression`), placed at its token."""
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = tokenize(text)
        self._at = 0
        self._depth = 0
        self._nodes = 0

    def whole(self) -> Tree:
        if len(self._tokens) == 1:
            raise wrong("an expression is expected here", "such as actor_id != recipient_id")
        tree = self._expression()
        if self._token.kind != "end":
            self._stray(self._token)
        return tree

    def _expression(self) -> Tree:
        self._deeper()
        then = self._either()
        if self._token.is_("if"):
            self._next()
            test = self._either()
            self._expect("else", "a condition needs both: a if test else b")
            other = self._expression()
            then = self._made(Choice(test, then, other, then.start, other.end))
        self._depth -= 1
        return then

    def _either(self) -> Tree:
        return self._chain(self._both, "or")

    def _both(self) -> Tree:
        return self._chain(self._negation, "and")

    def _negation(self) -> Tree:
        token = self._token
        if not token.is_("not"):
            return self._comparison()
        self._next()
        self._deeper()
        operand = self._negation()
        self._depth -= 1
        return self._made(Unary("not", operand, token.start, operand.end))

    def _comparison(self) -> Tree:
        left = self._sum()
        sign = self._comparing()
        if sign is None:
            return left
        right = self._sum()
        tree = self._made(Binary(sign, left, right, left.start, right.end))
        token = self._token
        if self._comparing() is not None:
            raise wrong(
                "comparisons don't chain",
                "write a < b and b < c",
                token.start,
                token.end - token.start,
            )
        return tree

    def _comparing(self) -> str | None:
        """The comparison that stands here, stepped over; None where there is none."""
        token = self._token
        if token.is_(*COMPARISONS, "in"):
            self._next()
            return str(token.value)
        if token.is_("not") and self._tokens[self._at + 1].is_("in"):
            self._next()
            self._next()
            return "not in"
        return None

    def _sum(self) -> Tree:
        return self._chain(self._product, "+", "-")

    def _product(self) -> Tree:
        return self._chain(self._signed, "*", "/", "%")

    def _chain(self, inner: Callable[[], Tree], *signs: str) -> Tree:
        left = inner()
        while self._token.is_(*signs):
            sign = str(self._next().value)
            right = inner()
            left = self._made(Binary(sign, left, right, left.start, right.end))
        return left

    def _signed(self) -> Tree:
        token = self._token
        if not token.is_("-"):
            return self._postfix()
        self._next()
        self._deeper()
        operand = self._signed()
        self._depth -= 1
        if isinstance(operand, Constant) and operand.value.__class__ in (int, float):
            return Constant(-cast(float, operand.value), token.start, operand.end)
        return self._made(Unary("-", operand, token.start, operand.end))

    def _postfix(self) -> Tree:
        tree = self._primary()
        while True:
            token = self._token
            if token.is_("."):
                self._next()
                name = self._token
                if name.kind not in ("name", "keyword"):
                    self._unexpected(name, "a field's name behind the `.`")
                self._next()
                if self._token.is_("("):
                    raise wrong(
                        f"`.{name.value}(…)`: values have no methods",
                        f"write {name.value}(…) around the value",
                        token.start,
                        name.end - token.start,
                    )
                tree = self._inside(tree, Constant(str(name.value), name.start, name.end), name.end)
            elif token.is_("["):
                self._next()
                index = self._expression()
                end = self._expect("]", "close the index with ]").end
                tree = self._inside(tree, index, end)
            else:
                return tree

    def _inside(self, base: Tree, index: Tree, end: int) -> Tree:
        if isinstance(index, Constant):
            value = index.value
            if isinstance(value, (bool, float)) or value is None:
                raise wrong(
                    "an index is a whole number or a text",
                    None,
                    index.start,
                    index.end - index.start,
                )
            if isinstance(base, Path):
                return self._made(Path((*base.parts, value), base.start, end))
        return self._made(Item(base, index, base.start, end))

    def _primary(self) -> Tree:
        token = self._next()
        if token.kind in ("number", "text"):
            return self._made(Constant(token.value, token.start, token.end))
        if token.kind == "keyword" and token.value in _CONSTANTS:
            return self._made(Constant(_CONSTANTS[str(token.value)], token.start, token.end))
        if token.is_("("):
            inner = self._expression()
            end = self._expect(")", "close the parenthesis with )").end
            # What stands in parentheses is shown with them; a field needs none.
            return inner if isinstance(inner, Path) else replace(inner, start=token.start, end=end)
        if token.is_("["):
            items, end = self._until("]")
            return self._made(Items(items, token.start, end))
        if token.kind != "name":
            self._unexpected(token, "a value")
        return self._named(token)

    def _named(self, token: Token) -> Tree:
        name, length = str(token.value), token.end - token.start
        if name in _FOREIGN_WORDS and length == len(name):
            raise wrong(
                f"unexpected `{name}`",
                f"did you mean `{_FOREIGN_WORDS[name]}`?",
                token.start,
                length,
            )
        if not self._token.is_("("):
            return self._made(Path((name,), token.start, token.end))
        if name not in FUNCTIONS:
            raise wrong(
                f"there is no function `{name}`", suggestion(name, FUNCTIONS), token.start, length
            )
        self._next()
        arguments, end = self._until(")")
        function = FUNCTIONS[name]
        if not function.takes(len(arguments)):
            given = {0: "nothing", 1: "one value"}.get(len(arguments), f"{len(arguments)} values")
            raise wrong(
                f"`{name}` can't take {given}",
                f"it is used as {function.usage}",
                token.start,
                end - token.start,
            )
        for argument in arguments:
            if name == "exists" and not isinstance(argument, (Path, Item)):
                raise wrong(
                    "`exists` asks for a field",
                    "it is used as exists(photo.owner)",
                    argument.start,
                    argument.end - argument.start,
                )
        return self._made(Call(name, arguments, token.start, end))

    def _until(self, closing: str) -> tuple[tuple[Tree, ...], int]:
        """Values with commas between them, up to a closing sign, and that one's end."""
        values: list[Tree] = []
        while not self._token.is_(closing):
            values.append(self._expression())
            if not self._token.is_(","):
                break
            self._next()
        hint = f"close with {closing}"
        if self._token.kind == "end":
            hint += "; a comma ends a value in { }: where one belongs to it, quote the whole"
        return tuple(values), self._expect(closing, hint).end

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._token
        if token.kind != "end":
            self._at += 1
        return token

    def _expect(self, value: str, hint: str) -> Token:
        if not self._token.is_(value):
            self._unexpected(self._token, f"`{value}`", hint)
        return self._next()

    def _unexpected(self, token: Token, expected: str, hint: str | None = None) -> NoReturn:
        if token.kind == "end":
            raise wrong(
                f"expected {expected}, but the expression ends here",
                hint,
                max(0, self._tokens[-2].end - 1 if len(self._tokens) > 1 else 0),
            )
        shown = token.value if token.kind != "text" else "a text"
        raise wrong(
            f"expected {expected}, got `{shown}`", hint, token.start, token.end - token.start
        )

    def _stray(self, token: Token) -> NoReturn:
        hint = None
        if token.kind == "name":
            hint = "is there an operator missing before it, such as `and`? Texts need quotes"
            if token.value in ("is", "equals"):
                hint = "did you mean `==`?"
            elif token.value in _FOREIGN_WORDS:
                hint = f"did you mean `{_FOREIGN_WORDS[str(token.value)]}`?"
        elif token.is_(")", "]"):
            hint = "it closes nothing"
        self._unexpected(token, "an operator or the end", hint)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise wrong(
                f"nested deeper than {MAX_DEPTH} levels",
                "split it: compute a part in a `set` step",
                self._token.start,
                max(1, self._token.end - self._token.start),
            )

    def _made(self, tree: Tree) -> Tree:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise wrong(
                f"an expression has at most {MAX_NODES} parts",
                "split it: compute a part in a `set` step",
                tree.start,
                tree.end - tree.start,
            )
        return tree
