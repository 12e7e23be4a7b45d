"""The machine and its versions, and waiting until it is quiet."""

import os
import platform
import shutil
import subprocess
import time
from importlib import metadata
from pathlib import Path

PRESSURE = Path("/proc/pressure/cpu")
PEERS = ("pyspark", "delta-spark", "mlflow", "ray", "daft", "deltalake")
PARTS = ("torch", "transformers", "xgrammar", "pandas", "pyarrow", "numpy")
TOO_BUSY = 5.0


def facts() -> dict[str, str]:
    """Return what a figure depends on: hardware, system, Python, Java."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "java": _java(),
        **_gpu(),
    }


def versions() -> dict[str, str]:
    """Return the versions of contenders and of what they share."""
    return {name: _version(name) for name in (*PEERS, *PARTS)}


def commit(root: Path) -> str:
    """Return the checkout's commit; a `+` says that files differ from it.

    On another machine the variable BENCH_COMMIT says which commit the folder is a copy of.
    """
    if told := os.environ.get("BENCH_COMMIT"):
        return told

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")


def pressure() -> float:
    """Return the share of the last 10 s (percent) in which something waited for a CPU."""
    try:
        return float(PRESSURE.read_text().split("avg10=")[1].split()[0])
    except (OSError, IndexError):
        return 0.0


def wait_until_quiet(at_most: float) -> tuple[float, bool]:
    """Put a trial off while others compute; return seconds waited and whether it became quiet."""
    begin = time.monotonic()
    while pressure() > TOO_BUSY:
        if time.monotonic() - begin >= at_most:
            return time.monotonic() - begin, False
        time.sleep(1)
    return time.monotonic() - begin, True


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _java() -> str:
    if not shutil.which("java"):
        return "none"
    said = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    return said.splitlines()[0] if said else "none"


def _gpu() -> dict[str, str]:
    import torch

    if not torch.cuda.is_available():
        return {}
    return {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
