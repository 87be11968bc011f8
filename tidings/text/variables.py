"""Which variables a template can't do without: what `check` compares with the fields of a flow."""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import meta, nodes

from tidings.text.jinja import TextEnvironment

_GUARDS = {"default", "defined", "undefined"}


def needed(parts: Mapping[str, str]) -> frozenset[str]:
    """The variables of these parts without which they are not rendered.

    One that is tested by `is defined`, or has a `default`, may be missing. Raises
    ``jinja2.TemplateSyntaxError``.
    """
    environment = TextEnvironment("en", autoescape=True)
    found: set[str] = set()
    for source in parts.values():
        tree = environment.parse(source)
        found |= meta.find_undeclared_variables(tree) - _guarded(tree)
    return frozenset(found)


def _guarded(tree: nodes.Template) -> set[str]:
    return {
        node.node.name
        for node in tree.find_all((nodes.Filter, nodes.Test))
        if node.name in _GUARDS and isinstance(node.node, nodes.Name)
    }
