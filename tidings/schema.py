"""JSON Schema of flows, lanes and their tests, for editors: from the specs, and from nothing else.

An editor that has it completes fields, shows their documentation and underlines what does not
exist. What only the compiler can tell (names in expressions, what may stand where) is not in it.
The shorter ways of writing are: a step's name alone, its shorthand, one value for a list of one,
and ``${VARIABLE:default}`` in place of any value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, BeforeValidator

from tidings.contract import Operator, Part, Shape, Spec
from tidings.driver.cases import CasesFile
from tidings.plan.files import FlowFile, LaneFile
from tidings.registry import operators

Schema = dict[str, Any]
KINDS = ("flow", "lane", "test")
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE = {"type": "string", "pattern": r"\$\{"}
_SIZE = "4KiB"  # the example of a size in bytes, which may be a bare number
_FLOW = {Part.INTAKE, Part.KEYED, Part.TAIL}


def schema_of(kind: str) -> Schema:
    """The schema of a kind of file: ``flow``, ``lane`` or ``test``."""
    if kind == "test":
        made = CasesFile.model_json_schema()
        title = "Tests of a flow of Tidings"
    else:
        model: type[BaseModel] = FlowFile if kind == "flow" else LaneFile
        made = model.model_json_schema()
        allowed = _FLOW if kind == "flow" else {Part.LANE}
        found = {n: o for n, o in operators().items() if o.parts & allowed}
        made["properties"]["steps"] |= {"items": {"$ref": "#/$defs/Step"}}
        made.setdefault("$defs", {}).update(_steps(found))
        title = f"A {kind} of Tidings"
    return {"$schema": _DRAFT, **_loosened(made), "title": title}


def _steps(found: Mapping[str, Operator[Any]]) -> Schema:
    """The definitions of a step and of each operator's settings."""
    definitions: Schema = {}
    alone = sorted(name for name, operator in found.items() if not _required(operator.spec))
    kinds: list[Schema] = [{"enum": alone, "description": "A step without settings."}]
    for name, operator in sorted(found.items()):
        settings = operator.spec.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
        for inner, schema in settings.pop("$defs", {}).items():
            definitions[f"{name}.{inner}"] = schema
        _relax(operator.spec, settings, definitions, name)
        definitions[name] = settings
        kinds.append(
            {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "description": "A name of its own for the step."},
                    name: _written(operator),
                },
                "required": [name],
                "additionalProperties": False,
            }
        )
        if operator.shape is Shape.BRANCH:
            _nest(settings, definitions, name)
    definitions["Step"] = {"anyOf": kinds}
    return definitions


def _written(operator: Operator[Any]) -> Schema:
    """How the settings of a step may be written."""
    ways: list[Schema] = [{"$ref": f"#/$defs/{operator.name}"}]
    if operator.shorthand:
        ways += [{"type": "string"}, {"type": "array"}]
    if not _required(operator.spec):
        ways.append({"type": "null"})
    text = (operator.spec.__doc__ or "").strip()
    return {"anyOf": ways, "description": "\n".join(map(str.strip, text.splitlines()))}


def _nest(settings: Schema, definitions: Schema, name: str) -> None:
    """Inside a branch stand steps again."""
    step = {"type": "array", "items": {"$ref": "#/$defs/Step"}, "minItems": 1}
    for key, schema in definitions.items():
        if key.startswith(f"{name}.") and "steps" in schema.get("properties", {}):
            schema["properties"]["steps"] |= step
    if "else" in settings["properties"]:
        settings["properties"]["else"] |= {"type": "array", "items": {"$ref": "#/$defs/Step"}}


def _relax(spec: type[Spec], settings: Schema, definitions: Schema, name: str) -> None:
    """A field whose validator looks at it first takes a text as well: ``keep: last 3``."""
    texts = {
        field
        for validator in spec.__pydantic_decorators__.field_validators.values()
        if validator.info.mode == "before"
        for field in validator.info.fields
    }
    for field, info in spec.model_fields.items():
        if any(isinstance(each, BeforeValidator) for each in info.metadata):
            texts.add(field)
        for inner in get_args(info.annotation):
            if any(isinstance(each, BeforeValidator) for each in get_args(inner)):
                texts.add(field)
    for field in texts:
        known = spec.model_fields[field].alias or field
        schema = settings["properties"][known]
        about = {key: schema.pop(key) for key in ("description", "default") if key in schema}
        settings["properties"][known] = {"anyOf": [schema, {"type": "string"}], **about}


def _required(spec: type[BaseModel]) -> bool:
    return any(field.is_required() for field in spec.model_fields.values())


def _loosened(schema: Any) -> Any:
    """The same schema, with a variable possible in place of every value that is not free text."""
    if isinstance(schema, list):
        return [_loosened(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _loosened(value) for key, value in schema.items() if key != "title"}
    if isinstance(schema.get("title"), dict):  # a field of that name
        made["title"] = _loosened(schema["title"])
    plain = made.get("type") in ("integer", "number", "boolean") or "pattern" in made
    if plain or (made.get("type") == "string" and "enum" in made):
        about = {key: made.pop(key) for key in ("description", "default") if key in made}
        sizes = [{"type": "integer"}] if _SIZE in made.get("examples", ()) else []
        return {"anyOf": [made, *sizes, _VARIABLE], **about}
    return made
