"""A chain: prompt template, parser and parameters; the model is passed at the call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from chains.answering import complete
from chains.asking import ask
from chains.completion import Completion, Parts, Question
from chains.errors import CompletionError, SettingsError
from chains.models.base import Model, Parameters
from chains.parsers import Parser, TextParser, parser_for
from chains.templates import Template, parse_template

OnLongInput = Literal["error", "truncate", "chunk"]


class ChainSpec(BaseModel):
    """A chain as plain data: what is logged with a model and what travels to executors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    template: str
    response_schema: dict[str, Any] | None
    parameters: Parameters
    on_long_input: OnLongInput
    long_variable: str | None
    max_input_chars: int


@dataclass(frozen=True)
class Chain:
    """What to ask and how to read the answer; the model is passed at the call.

    `version` changes when the chain's code changes what it asks. `long_variable` is the variable
    that `on_long_input` cuts: `error` (the row gets an error), `truncate` (cut and flagged) or
    `chunk` (parts are asked one by one, then their answers are asked as one document).
    """

    name: str
    version: str
    template: Template
    parser: Parser = field(default_factory=TextParser)
    parameters: Parameters = field(default_factory=Parameters)
    on_long_input: OnLongInput = "error"
    long_variable: str | None = None
    max_input_chars: int = 2_000_000

    def __post_init__(self) -> None:
        names = list(self.template.variables)
        if self.on_long_input != "error" and self.long_variable not in names:
            raise SettingsError(
                f"chain.on_long_input: {self.on_long_input!r} needs a long_variable among the "
                f"template's variables {names}; chain {self.name!r} has {self.long_variable!r}"
            )

    @property
    def ref(self) -> str:
        """`name@version`, as rows carry it."""
        return f"{self.name}@{self.version}"

    def ask(self, variables: Mapping[str, Any], model: Model) -> Question | Parts | CompletionError:
        """Turn one row into a question, without asking it; see chains/asking.py."""
        return ask(self, variables, model)

    def complete(self, rows: Sequence[Mapping[str, Any]], model: Model) -> list[Completion]:
        """Answer rows of variables, in order; what goes wrong in a row is its `error`."""
        return complete(self, rows, model)

    def spec(self) -> ChainSpec:
        """Return the chain as plain data."""
        schema = self.parser.schema
        return ChainSpec(
            name=self.name,
            version=self.version,
            template=self.template.source,
            response_schema=None if schema is None else dict(schema),
            parameters=self.parameters,
            on_long_input=self.on_long_input,
            long_variable=self.long_variable,
            max_input_chars=self.max_input_chars,
        )

    @classmethod
    def from_spec(cls, spec: ChainSpec) -> "Chain":
        """Build the chain that `spec` describes."""
        return cls(
            name=spec.name,
            version=spec.version,
            template=parse_template(spec.template, where=f"template of {spec.name}"),
            parser=parser_for(spec.response_schema),
            parameters=spec.parameters,
            on_long_input=spec.on_long_input,
            long_variable=spec.long_variable,
            max_input_chars=spec.max_input_chars,
        )
