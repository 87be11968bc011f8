"""From a tree to two Python functions, by way of an AST that is constructed here.

User text never reaches Python's parser: what is compiled consists of the templates below, of
constants, and of subscripts of the event. The functions see no builtins. Fast cases (a text
compared with a literal, a number with a number) are written out in place; the rest calls
`operations`. Each piece's line number is the number of its node: see `explain`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, cast

from tidings.expressions import operations
from tidings.expressions.explain import FILENAME, Explainer
from tidings.expressions.functions import FUNCTIONS
from tidings.expressions.kinds import check_kinds, kind_of
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

Of = Callable[[dict[str, Any]], Any]
Over = Callable[[list[dict[str, Any]]], list[Any]]

_FUNCTIONS = """
def of(event):
    try:
        return EXPRESSION
    except Exception as error:
        raise explain(error, event) from None

def over(events):
    values = []
    append = values.append
    for event in events:
        try:
            append(EXPRESSION)
        except Exception as error:
            append(explain(error, event))
    return values
"""

_ORDER = {"<": "less", "<=": "at_most", ">": "greater", ">=": "at_least"}
_ARITHMETIC = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "remainder"}
_HELPERS = (
    *_ORDER.values(),
    *_ARITHMETIC.values(),
    *("same", "within", "negate", "not_boolean", "item", "find", "need", "attempt"),
)


def compile_tree(tree: Tree, text: str, *, boolean: bool) -> tuple[Of, Over]:
    """The functions of one event and of many; `boolean` refuses any other result.

    Raises `ValueProblem` where operands can't fit whatever the event holds.
    """
    check_kinds(tree, boolean=boolean)
    compiler = _Compiler(tree)
    body = compiler.truth(tree) if boolean else compiler.value(tree)
    module = ast.parse(_FUNCTIONS)
    module = _Filling({"EXPRESSION": body}, "", line=1).visit(module)
    names: dict[str, Any] = {name: getattr(operations, name) for name in _HELPERS}
    names |= {f"call_{name}": function.run for name, function in FUNCTIONS.items()}
    names |= {
        "__builtins__": {},
        "Exception": Exception,
        "bool": bool,
        "str": str,
        "int": int,
        "explain": Explainer(text, compiler.nodes),
    }
    exec(compile(module, FILENAME, "exec"), names)
    return names["of"], names["over"]


class _Compiler:
    """Makes an expression of Python's AST for each node. `nodes` is what line numbers count."""

    def __init__(self, root: Tree) -> None:
        self.nodes: list[Tree] = [root]
        self._temporaries = 0
        self._guarded = False

    def value(self, tree: Tree) -> ast.expr:
        """The code that gives the node's value."""
        match tree:
            case Constant(value):
                return self._fill("VALUE", tree, VALUE=ast.Constant(value))
            case Path():
                return self._path(tree)
            case Item(base, index):
                return self._fill("item(A, B)", tree, A=self.value(base), B=self.value(index))
            case Items(operands):
                items = ast.List([self.value(each) for each in operands], ast.Load())
                return self._fill("ITEMS", tree, ITEMS=items)
            case Unary("not", operand):
                return self._fill("not A", tree, A=self.truth(operand))
            case Unary(_, operand):
                return self._fill("negate(A)", tree, A=self.value(operand))
            case Choice(test, then, other):
                return self._fill(
                    "A if TEST else B",
                    tree,
                    A=self.value(then),
                    TEST=self.truth(test),
                    B=self.value(other),
                )
            case Call():
                return self._call(tree)
            case Binary():
                return self._binary(tree)

    def truth(self, tree: Tree) -> ast.expr:
        """The code that gives the node's value, which must be true or false."""
        if kind_of(tree) == "boolean":
            return self.value(tree)
        return self._fill(
            "T0 if (T0 := A).__class__ is bool else not_boolean(T0)", tree, A=self.value(tree)
        )

    def _path(self, tree: Path) -> ast.expr:
        if self._guarded:
            return self._fill("need(event, PARTS)", tree, PARTS=_constant(tree.parts))
        code = self._fill("event", tree)
        for part in tree.parts:
            # A number could pick a character out of a text: only `item` refuses that.
            template = "A[PART]" if isinstance(part, str) else "item(A, PART)"
            code = self._fill(template, tree, A=code, PART=ast.Constant(part))
        return code

    def _call(self, tree: Call) -> ast.expr:
        if tree.function == "exists":
            return self._fill("A is not None", tree, A=self._forgiving(tree.operands[0]))
        if tree.function == "coalesce":
            return self._coalesce(tree)
        code = self._fill(f"call_{tree.function}()", tree)
        cast(ast.Call, code).args = [self.value(argument) for argument in tree.operands]
        return code

    def _coalesce(self, tree: Call) -> ast.expr:
        *first, last = tree.operands
        code = self._forgiving(last)
        for argument in reversed(first):
            code = self._fill(
                "T0 if (T0 := A) is not None else B", tree, A=self._forgiving(argument), B=code
            )
        return code

    def _forgiving(self, tree: Tree) -> ast.expr:
        """The node's value, or None where a field of it is missing."""
        if isinstance(tree, Constant):
            return self.value(tree)
        if isinstance(tree, Path):
            if len(tree.parts) == 1:
                return self._fill("event.get(NAME)", tree, NAME=ast.Constant(tree.root))
            return self._fill("find(event, PARTS)", tree, PARTS=_constant(tree.parts))
        outer, self._guarded = self._guarded, True
        body = self.value(tree)
        self._guarded = outer
        return self._fill("attempt(lambda: A)", tree, A=body)

    def _binary(self, tree: Binary) -> ast.expr:
        sign = tree.sign
        if sign in ("and", "or"):
            operands = {"A": self.truth(tree.left), "B": self.truth(tree.right)}
            return self._fill(f"A {sign} B", tree, **operands)
        if sign in ("==", "!="):
            return self._equality(tree)
        if sign in ("in", "not in"):
            return self._membership(tree)
        operands = {"A": self.value(tree.left), "B": self.value(tree.right)}
        if sign in _ORDER:
            call = f"{_ORDER[sign]}(T0, B)"
            if isinstance(tree.right, Constant) and kind_of(tree.right) == "number":
                template = f"(T0 {sign} B) if (T0 := A).__class__ is int else {call}"
                return self._fill(template, tree, **operands)
            return self._fill(f"{_ORDER[sign]}(A, B)", tree, **operands)
        return self._fill(f"{_ARITHMETIC[sign]}(A, B)", tree, **operands)

    def _equality(self, tree: Binary) -> ast.expr:
        equal = tree.sign == "=="
        operands = {"A": self.value(tree.left), "B": self.value(tree.right)}
        singletons = [_is_singleton(each) for each in tree.operands]
        literals = [isinstance(each, Constant) for each in tree.operands]
        if any(singletons) and (all(singletons) or not all(literals)):
            return self._fill("A is B" if equal else "A is not B", tree, **operands)
        if _is_unlike_booleans(tree.left) or _is_unlike_booleans(tree.right):
            return self._fill(f"A {tree.sign} B", tree, **operands)
        if equal:
            template = "(T0 := A) == (T1 := B) and same(T0, T1)"
        else:
            template = "(T0 := A) != (T1 := B) or not same(T0, T1)"
        return self._fill(template, tree, **operands)

    def _membership(self, tree: Binary) -> ast.expr:
        negation = "not " if tree.sign == "not in" else ""
        texts = _all_texts(tree.right)
        if texts is None:
            operands = {"A": self.value(tree.left), "B": self.value(tree.right)}
            return self._fill(f"{negation}within(A, B)", tree, **operands)
        return self._fill(
            f"{negation}((T0 := A).__class__ is str and T0 in TEXTS)",
            tree,
            A=self.value(tree.left),
            TEXTS=_constant(texts),
        )

    def _fill(self, template: str, tree: Tree, **holes: ast.expr) -> ast.expr:
        """The template as AST with its capital names replaced, and T0, T1 made unique."""
        if self.nodes[-1] is not tree:
            self.nodes.append(tree)
        self._temporaries += 1
        body = ast.parse(template, mode="eval").body
        filling = _Filling(holes, f"_{self._temporaries}", line=len(self.nodes))
        return cast(ast.expr, filling.visit(body))


class _Filling(ast.NodeTransformer):
    """Fills a template's holes, and gives a line to what came from the template itself."""

    def __init__(self, holes: dict[str, ast.expr], suffix: str, line: int) -> None:
        self._holes = holes
        self._suffix = suffix
        self._line = line

    def visit(self, node: ast.AST) -> Any:
        """The node, or what fills it."""
        if isinstance(node, ast.Name) and node.id in self._holes:
            filled = self._holes[node.id]
            if not hasattr(filled, "lineno"):
                self._place(filled)
            return filled
        if isinstance(node, ast.Name) and node.id in ("T0", "T1"):
            node.id += self._suffix
        self._place(node)
        return self.generic_visit(node)

    def _place(self, node: ast.AST) -> None:
        if "lineno" in node._attributes:
            line: Any = node
            line.lineno = line.end_lineno = self._line
            line.col_offset = line.end_col_offset = 0


def _constant(value: tuple[str | int, ...] | frozenset[str]) -> ast.Constant:
    """A constant of a kind that Python makes by folding, and whose type stubs don't know it."""
    return ast.Constant(cast(Any, value))


def _is_singleton(tree: Tree) -> bool:
    """Whether it is a literal that decoded JSON has one object of: true, false, null."""
    return isinstance(tree, Constant) and (tree.value is None or isinstance(tree.value, bool))


def _is_unlike_booleans(tree: Tree) -> bool:
    """Whether it can't be what Python takes for equal to true or false: 0, 1, or an unknown."""
    if isinstance(tree, Constant):
        return tree.value not in (0, 1)
    return kind_of(tree) == "text"


def _all_texts(tree: Tree) -> frozenset[str] | None:
    """The texts of a list of nothing but literal texts."""
    if not isinstance(tree, Items):
        return None
    values = [each.value if isinstance(each, Constant) else None for each in tree.operands]
    texts = frozenset(value for value in values if isinstance(value, str))
    return texts if all(isinstance(value, str) for value in values) else None
