"""Expressions: the small language in flows, `actor_id != recipient_id and amount > 100`.

An expression looks at one event (a dict of decoded JSON) and gives a value. It has no side
effects, no clock and no randomness, reaches nothing but dicts and lists, and can grow neither
time nor memory beyond fixed bounds; so a replay decides as the first run did.

    literals     20  1.5  'text'  "text"  true  false  null  ['a', 'b']
    fields       actor_id  photo.owner.id  items[0]  tags["a b"]  `odd name`.x
    operators    or  and  not  == != < <= > >= in, not in  + -  * / %  a if test else b
    functions    lower(name), len(items), … : `tidings.expressions.functions`

What differs from Python: `and`, `or`, `not` and `if` take booleans only; a boolean is no number
(`true == 1` is false); comparisons don't chain; `/` always gives a fraction.
A field that is missing is an error, except in `exists(a.b)` and `coalesce(a.b, 'else')`, where
missing and null are one.

    tokens → parser → tree → compiler → a code object of Python, of an AST that we construct
"""

from tidings.expressions.explain import EvaluationError
from tidings.expressions.expression import (
    Condition,
    Expression,
    ExpressionType,
    FieldPath,
    field_getter,
    parse,
)
from tidings.expressions.functions import FUNCTIONS, Function

__all__ = [
    "FUNCTIONS",
    "Condition",
    "EvaluationError",
    "Expression",
    "ExpressionType",
    "FieldPath",
    "Function",
    "field_getter",
    "parse",
]
