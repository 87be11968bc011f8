"""`${NAME}` and `${NAME:default}` in the texts of a file.

Interpolated after parsing and in single texts only, so a value can't bring in structure: no
comment, key or list can come out of the environment. `$${` stands for `${`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from tidings.load.nodes import Text
from tidings.problems import Problems, did_you_mean

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::([^}]*))?\}|([^}\n]*\}?))")


def interpolate(node: Text, env: Mapping[str, str], problems: Problems, path: str) -> Text:
    """The text with its references replaced; problems for unset ones and for broken syntax."""
    if "${" not in node.written:
        return node
    pieces: list[str] = []
    origin: list[int] = []
    end = 0
    failed = False

    def take(text: str, at: int, step: int) -> None:
        pieces.append(text)
        origin.extend(at + step * index for index in range(len(text)))

    for match in _REFERENCE.finditer(node.written):
        take(node.written[end : match.start()], end, 1)
        end = match.end()
        name, default, broken = match.groups()
        if match[0] == "$${":
            take("${", match.start() + 1, 1)
        elif broken is not None:
            failed = True
            problems.error(
                "bad-variable",
                f"`{match[0]}` is not a reference to an environment variable",
                node.at(match.start(), end - match.start()),
                path,
                "write ${NAME} or ${NAME:default}; for the characters themselves write $${",
            )
        elif name in env or default is not None:
            take(env.get(name, default or ""), match.start(), 0)
        else:
            failed = True
            near = did_you_mean(name, env)
            problems.error(
                "unset-variable",
                f"the environment variable {name} is not set",
                node.at(match.start(), end - match.start()),
                path,
                (f"did you mean {near}? Else " if near else "")
                + f"set {name}, or give a default: ${{{name}:default}}",
            )
    take(node.written[end:], end, 1)
    return replace(node, value="".join(pieces), origin=tuple(origin), failed=failed)
