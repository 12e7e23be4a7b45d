"""Unix sockets between Spark's JVM and Python: by TCP every task with Python waits some 40 ms.

There small writes are held back for an acknowledgement that is delayed.
"""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

_LONGEST = 104  # bytes of a socket's path on macOS; Linux takes four more
_NAME = len(".7b0d5cf3-6c9b-4a52-9a2e-0f3c1d8e4b6a.sock") + 2


def socket_settings() -> dict[str, str]:
    """Return Spark's settings for a session on this machine; none where paths would be too long."""
    folder = _folder()
    if len(str(folder).encode()) + _NAME > _LONGEST:
        return {}
    return {
        "spark.python.unix.domain.socket.enabled": "true",
        "spark.python.unix.domain.socket.dir": str(folder),
    }


@cache
def _folder() -> Path:
    """Return this process's own folder. It goes when the process ends; Spark's sockets stay."""
    folder = tempfile.mkdtemp(prefix="gristmill-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
