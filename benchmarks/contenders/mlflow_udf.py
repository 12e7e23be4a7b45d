"""MLflow: `mlflow.pyfunc.spark_udf` over a model from code, env_manager="local"."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlflow
from bench.serving import Options, Prepare, Work, serve
from contenders.spark import session, source, write
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema


def make(options: Options) -> Prepare:
    work = Path(options["work"])
    mlflow.set_tracking_uri(f"sqlite:///{work / 'mlflow.db'}")
    spark = session(options)

    def prepare(task: dict[str, Any]) -> Work:
        udf = mlflow.pyfunc.spark_udf(
            spark, saved(work, task["ask"]), result_type="string", env_manager="local"
        )

        def run() -> None:
            for i in range(task.get("runs", 1)):
                rows = source(spark, task).select("id", udf("body").alias("result"))
                write(rows, task | {"out": task["out"] + (f"-{i}" if i else "")})

        return run

    return prepare


def saved(work: Path, ask: dict[str, Any]) -> str:
    """Return the folder of the pyfunc that asks so, made the first time."""
    identity = sha256(json.dumps(ask, sort_keys=True).encode()).hexdigest()[:12]
    folder = work / "pyfunc" / identity
    if not folder.is_dir():
        text = [ColSpec(DataType.string, "body")]
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            model_config=ask,
            signature=ModelSignature(Schema(text), Schema([ColSpec(DataType.string)])),
            pip_requirements=[],
        )
    return str(folder)


if __name__ == "__main__":
    serve(make)
