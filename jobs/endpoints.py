"""Looking at endpoints, and asking one of them: no table, no Spark."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from chains.errors import CompletionError, JobError, SettingsError
from chains.models.base import Answer, Message, Parameters, Request
from chains.models.endpoint.listing import EndpointModelState, list_models
from chains.models.endpoint.model import EndpointModel
from chains.models.endpoint.settings import EndpointSettings, resolve_endpoint
from jobs.settings import OneOrMore, Section, load_settings_of


class _Asked(Section):
    model_config = ConfigDict(extra="ignore")

    model: OneOrMore = ()


class EndpointsConf(Section):
    """What is read of any job's file: its endpoints, and the model that its chain asks."""

    model_config = ConfigDict(extra="ignore")

    endpoints: Mapping[str, EndpointSettings] = Field(default_factory=dict)
    chain: _Asked = _Asked()


def run_endpoints(conf: Path, sets: tuple[str, ...] = ()) -> list[EndpointModelState]:
    """Return the models of every endpoint of a file, as the endpoints tell them."""
    settings = load_settings_of(EndpointsConf, conf, sets)
    return [it for name, at in settings.endpoints.items() for it in list_models(name, at)]


@dataclass(frozen=True)
class AskReport:
    """One answer: its text, its tokens (None: not told), the seconds it took."""

    model: str
    answer: str
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    seconds: float

    def json(self) -> str:
        """Return the report as one JSON object."""
        return json.dumps(asdict(self), ensure_ascii=False)


def run_ask(
    conf: Path, endpoint: str, prompt: str, max_tokens: int, sets: tuple[str, ...] = ()
) -> AskReport:
    """Send one prompt to `NAME/MODEL`, or to `NAME` where the chain's model is behind it.

    Raises SettingsError where there is no such endpoint or model, JobError where no answer came.
    """
    settings = load_settings_of(EndpointsConf, conf, sets)
    name, model = _named(settings, endpoint)
    ref = resolve_endpoint(f"endpoint:{name}/{model}", name, model, settings.endpoints[name])
    asked: Any = EndpointModel(ref)
    request = Request(
        (Message(role="user", content=prompt),), Parameters(max_output_tokens=max_tokens)
    )
    try:
        (outcome,) = asked.complete([request])
    finally:
        asked.close()
    if isinstance(outcome, CompletionError):
        raise JobError(f"{ref.name} gave no answer: {outcome.code}: {outcome.told}")
    return _report(ref.name, outcome)


def _named(settings: EndpointsConf, endpoint: str) -> tuple[str, str]:
    name, _, model = endpoint.partition("/")
    if name not in settings.endpoints:
        raise SettingsError(f"expected one of the endpoints {sorted(settings.endpoints)}: {name!r}")
    before = f"endpoint:{name}/"
    if not model:
        there = (it.removeprefix(before) for it in settings.chain.model if it.startswith(before))
        model = next(there, "")
    if not model:
        raise SettingsError(f"expected {name}/MODEL, for chain.model names none of {name!r}")
    return name, model


def _report(model: str, answer: Answer) -> AskReport:
    usage = answer.usage
    return AskReport(
        model=model,
        answer=answer.text,
        finish_reason=answer.finish_reason,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        seconds=round(answer.latency_ms / 1000, 3),
    )
