"""Whether a model server answers, and what memory it holds."""

import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException

HOST = "127.0.0.1"
_ANSWER_SECONDS = 2.0
_MEASURE_SECONDS = 10.0


def answers(port: int, path: str, token: str) -> bool:
    """Whether the server on this port answers `GET path` with 200 within two seconds."""
    connection = HTTPConnection(HOST, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def resident_mb(pid: int) -> int:
    """Return the resident memory of a process and all that it started, in MB."""
    import psutil

    total = 0
    with suppress(psutil.NoSuchProcess):
        server = psutil.Process(pid)
        for process in (server, *server.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
    return total >> 20


def gpu_mb(gpus: Sequence[str]) -> int | None:
    """Return the memory that is taken on these GPUs (none: on all), in MB; None without any."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(  # noqa: S603
            [*query, *(["--id", ",".join(gpus)] if gpus else [])],
            capture_output=True,
            text=True,
            check=True,
            timeout=_MEASURE_SECONDS,
        )
        return sum(int(line) for line in done.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def memory_text(memory_mb: int | None, gpu_memory_mb: int | None) -> str:
    """Return both for people, GPU memory where it is known."""
    on_gpu = "" if gpu_memory_mb is None else f", {gpu_memory_mb} MB on its GPUs"
    return f"{memory_mb} MB{on_gpu}"
