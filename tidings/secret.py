"""Secrets by name: what a configuration says in the place of a key or a password."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from tidings.problems import ValueProblem

_HINT = "name an environment variable (env:APNS_KEY) or a file (file:/run/secrets/apns.p8)"


class Secret:
    """A reference to a secret, ``env:NAME`` or ``file:PATH``; the value is read where it is used.

    The reference may be shown. A value in its place is refused, and not repeated in the refusal.
    """

    __slots__ = ("reference",)

    def __init__(self, reference: str) -> None:
        kind, _, name = reference.partition(":")
        if kind not in ("env", "file") or not name or "\n" in name:
            raise ValueProblem("bad-secret", "a secret is named here, not written", _HINT)
        self.reference = reference

    def read(self, env: Mapping[str, str] | None = None) -> str:
        """The value; ``env`` is the process's environment if None. Raises ValueError."""
        kind, _, name = self.reference.partition(":")
        if kind == "env":
            value = (os.environ if env is None else env).get(name, "")
            if not value:
                raise ValueError(f"the environment variable {name} is not set, or empty")
            return value
        try:
            return Path(name).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text file"
            raise ValueError(f"can't read the secret in {name}: {reason}") from None

    def __repr__(self) -> str:
        return f"Secret({self.reference!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reference == self.reference

    def __hash__(self) -> int:
        return hash(self.reference)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda secret: secret.reference
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": "^(env|file):.+$", "examples": ["env:APNS_KEY"]}

    @classmethod
    def _validate(cls, value: Any) -> Secret:
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            raise ValueProblem("wrong-kind", "expected the name of a secret", _HINT)
        return cls(value)
