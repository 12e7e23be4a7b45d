"""How an answer is read: as text, or as JSON that fits a schema."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import json_repair
import jsonschema
from pydantic import BaseModel

from chains.errors import UnparsableAnswer

REPAIRED = "repaired"


@dataclass(frozen=True)
class Parsed:
    """An answer that was read; `flags` say what had to be mended."""

    value: Any
    flags: tuple[str, ...] = ()


class Parser(Protocol):
    """Reads one answer."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """A JSON Schema, or None for free text."""
        ...

    def parse(self, text: str) -> Parsed:
        """Return the value; raise UnparsableAnswer where the text does not have the form."""
        ...


@dataclass(frozen=True)
class TextParser:
    """The answer as it is, without the white space around it."""

    schema: Mapping[str, Any] | None = None

    def parse(self, text: str) -> Parsed:
        """Return the stripped text; an empty answer is unparsable."""
        if not text.strip():
            raise UnparsableAnswer("the answer is empty", raw=text)
        return Parsed(text.strip())


@dataclass(frozen=True)
class JsonParser:
    """A JSON object that fits a JSON Schema.

    Read strictly first; then once with repair (fences, trailing text, quotes), which is flagged.
    """

    schema: Mapping[str, Any]

    @classmethod
    def of(cls, model: type[BaseModel]) -> "JsonParser":
        """Take the schema of a pydantic model."""
        return cls(model.model_json_schema())

    def parse(self, text: str) -> Parsed:
        """Return the value as plain data; raise UnparsableAnswer where it cannot be had."""
        try:
            return Parsed(self._checked(json.loads(text, parse_constant=_refuse_constant)))
        except (ValueError, RecursionError, jsonschema.ValidationError):
            pass
        try:
            return Parsed(self._checked(json_repair.loads(text)), flags=(REPAIRED,))
        except (ValueError, RecursionError, jsonschema.ValidationError) as error:
            raise UnparsableAnswer(_reason(error), raw=text) from None

    def _checked(self, value: Any) -> Any:
        self._validator.validate(value)
        return value

    @cached_property
    def _validator(self) -> Any:
        validator = jsonschema.validators.validator_for(self.schema)
        return validator(self.schema)


def parser_for(schema: Mapping[str, Any] | None) -> Parser:
    """Return the parser of a response schema; None is free text."""
    return TextParser() if schema is None else JsonParser(schema)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _reason(error: Exception) -> str:
    """Say where the answer misfits without repeating it: it may hold personal data."""
    if isinstance(error, jsonschema.ValidationError):
        where = "/".join(map(str, error.absolute_path)) or "the top level"
        return f"the answer misfits its schema at {where}: rule {error.validator!r}"
    return f"the answer is not JSON ({type(error).__name__})"
