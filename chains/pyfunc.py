"""A logged chain behind MLflow's pyfunc interface.

MLflow copies this file into the logged model and runs it, by its path, where the model is loaded;
nothing imports it.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from chains.completion import Completion, result_text
from chains.logged import OUTPUTS, read_logged
from chains.models.registry import load


class LoggedChain(PythonModel):
    """Answers rows of the template's variables by the chain and the model that were logged."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the chain; load the weights, where there are any, before the first request."""
        folder = Path(context.artifacts["chain"]).parent
        self._chain, ref = read_logged(folder)
        self._model = load(ref)
        self._turn: AbstractContextManager[Any] = nullcontext()
        if "weights" in context.artifacts:
            self._turn = Lock()  # servers ask from several threads, models are made for one
            self._model.complete([])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return one row of `OUTPUTS` for each row, in order; a row's error is in its row."""
        records = model_input.to_dict("records")  # plain values, None or NaN for what is missing
        rows = [{str(name): value for name, value in it.items()} for it in records]
        with self._turn:
            completions = self._chain.complete(rows, self._model)
        answers = pd.DataFrame([_answer(it) for it in completions], columns=list(OUTPUTS))
        return answers.astype({"input_tokens": "Int64", "output_tokens": "Int64"})


def _answer(completion: Completion) -> dict[str, Any]:
    error = completion.error
    return {
        "result": None if completion.result is None else result_text(completion.result),
        "error_code": error and error.code,
        "error_message": error and error.message,
        "finish_reason": completion.finish_reason,
        "input_tokens": completion.input_tokens,
        "output_tokens": completion.output_tokens,
        "flags": list(completion.flags),
    }


set_model(LoggedChain())
