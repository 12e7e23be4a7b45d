"""Where the model server of a task belongs: to its executor, and to the GPUs that it was given."""

import os
from dataclasses import replace

from pyspark import TaskContext

from chains.errors import ModelLoadError
from chains.models.base import ModelRef


def placed(ref: ModelRef) -> ModelRef:
    """Return the model as this task asks it: behind a sidecar, the server's place is added.

    Tasks with the same GPU addresses share a server, and on CPU all tasks of the executor do.
    Outside of a task the server belongs to the process that asks.
    """
    context = TaskContext.get()
    if ref.kind != "sidecar" or context is None:
        return ref
    gpu = context.resources().get("gpu")
    place = (("gpus", tuple(gpu.addresses) if gpu else ()), ("owner", _executor()))
    return replace(ref, options=(*ref.options, *place))


def _executor() -> int:
    """Return the pid of the executor: the nearest JVM above this worker, else its parent."""
    try:
        import psutil
    except ImportError as error:
        raise ModelLoadError(f"chain.engine: {error}; pip install 'gristmill[sidecar]'") from error
    above = psutil.Process().parents()
    return next((it.pid for it in above if it.name() == "java"), os.getppid())
