"""What a peer does with a batch of texts: the same model, called by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.models import note
from chains.models.base import Answer, Parameters, Request
from chains.models.extractive import ExtractiveModel
from chains.models.registry import make, resolve
from chains.templates import load_template


class Asker:
    """Loads a model and answers lists of texts; None where there is no answer.

    `ask` is plain data: `spec`, `endpoints`, `parameters` and `template` (None: the model reads
    the text).
    """

    def __init__(self, ask: dict[str, Any]) -> None:
        ref = resolve(ask["spec"], ask.get("endpoints"))
        self._model = make(ref)  # gristmill's cache a process is not the peers'
        self._parameters = Parameters(**ask.get("parameters", {}))
        template = ask.get("template")
        self._template = load_template(template) if template else None
        self._model.complete([])  # weights load here, not in the first batch
        note("asker")

    def __call__(self, texts: Sequence[str]) -> list[str | None]:
        outcomes = self._model.complete([self._request(text) for text in texts])
        return [it.text if isinstance(it, Answer) else None for it in outcomes]

    def forget(self) -> None:
        """Forget what the extractive model keeps of the texts that it has met."""
        if isinstance(self._model, ExtractiveModel):
            self._model._kept.clear()

    def _request(self, text: str) -> Request:
        variables = {"document": text}
        messages = self._template.render(variables) if self._template else ()
        return Request(messages, self._parameters, variables)


def template_file(name: str = "document") -> str:
    """Return a template of the benchmarks; the default is the document and nothing else."""
    return str(Path(__file__).parent.parent / f"{name}.md")
