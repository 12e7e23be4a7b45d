"""The models-from-code pyfunc that mlflow.pyfunc.spark_udf runs; MLflow runs this file itself."""

from typing import Any

import pandas as pd
from bench.asking import Asker
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class Pyfunc(PythonModel):
    """Wraps the model that `model_config` names."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights."""
        self._ask = Asker(dict(context.model_config))

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> list[str | None]:
        """Answer a batch: one string for each row."""
        return self._ask(model_input.iloc[:, 0].tolist())


set_model(Pyfunc())
