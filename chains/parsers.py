"""How an answer is read: as text, or as JSON that fits a schema."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import json_repair
import jsonschema
from pydantic import BaseModel

from chains.errors import SettingsError, UnparsableAnswer
from chains.numbers import OutOfRange, typed_numbers
from chains.text import clean_text

REPAIRED = "repaired"
REPLACED_SURROGATES = "replaced_surrogates"


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
    """JSON that fits a JSON Schema, its formats (`date`, `email`, ...) and types of columns too.

    Read strictly first; then once with repair (fences, trailing text, quotes), which is flagged.
    Raises SettingsError where the schema itself is none.
    """

    schema: Mapping[str, Any]

    def __post_init__(self) -> None:
        try:
            jsonschema.validators.validator_for(self.schema).check_schema(dict(self.schema))
        except jsonschema.SchemaError as error:
            raise SettingsError(f"response schema at {error.json_path}: {error.message}") from None

    @classmethod
    def of(cls, model: type[BaseModel]) -> "JsonParser":
        """Take the schema of a pydantic model."""
        return cls(model.model_json_schema())

    def parse(self, text: str) -> Parsed:
        """Return the value as plain data; raise UnparsableAnswer where it cannot be had."""
        try:
            return self._checked(json.loads(text))
        except (ValueError, RecursionError, jsonschema.ValidationError):
            pass
        try:
            return self._checked(_repaired(text), REPAIRED)
        except (ValueError, RecursionError, jsonschema.ValidationError) as error:
            raise UnparsableAnswer(_reason(error), raw=text) from None

    def _checked(self, value: Any, *flags: str) -> Parsed:
        """Validate what will be kept: escapes can hide surrogates, NaN and 1e999 are no JSON."""
        kept, replaced = clean_text(json.dumps(value, ensure_ascii=False, allow_nan=False))
        value = json.loads(kept)
        self._validator.validate(value)
        value = typed_numbers(value, self.schema)
        return Parsed(value, (*flags, REPLACED_SURROGATES) if replaced else flags)

    @cached_property
    def _validator(self) -> Any:
        validator = jsonschema.validators.validator_for(self.schema)
        return validator(self.schema, format_checker=validator.FORMAT_CHECKER)


def parser_for(schema: Mapping[str, Any] | None) -> Parser:
    """Return the parser of a response schema; None is free text."""
    return TextParser() if schema is None else JsonParser(schema)


def _repaired(text: str) -> Any:
    """Return what json_repair makes of a text; it makes "" of a text that holds no JSON."""
    value = json_repair.loads(text)
    if value == "":
        raise ValueError("nothing to repair")
    return value


def _reason(error: Exception) -> str:
    """Name the rule that was broken, in the schema's words: the answer may hold personal data."""
    if isinstance(error, jsonschema.ValidationError):
        rule = "/".join(map(str, error.absolute_schema_path))
        return f"the answer misfits its schema at {rule}"
    if isinstance(error, OutOfRange):
        return str(error)
    return f"the answer is not JSON ({type(error).__name__})"
