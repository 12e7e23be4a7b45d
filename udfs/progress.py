"""Rows answered so far, from Python workers to the driver, while tasks still run.

Spark tells of a task when it ends; a task of language model calls runs for minutes. Workers send
small datagrams instead. A lost one costs nothing but a late bar.
"""

import secrets
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The worker's end: where to send, and the run's token."""

    host: str
    port: int
    token: str

    def add(self, rows: int) -> None:
        """Tell the driver that more rows are answered."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            try:
                sender.sendto(f"{self.token} {rows}".encode(), (self.host, self.port))
            except OSError:
                return


class ProgressListener:
    """The driver's end: calls `on_rows` with each number of rows, until it is closed."""

    def __init__(self, host: str, on_rows: Callable[[int], None]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._token = secrets.token_hex(8)
        self._on_rows = on_rows
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self.progress = Progress(host, self._socket.getsockname()[1], self._token)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self.progress

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(f"{self._token} stop".encode(), self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while True:
            token, _, rows = self._socket.recv(256).decode("ascii", "replace").partition(" ")
            if token == self._token and rows == "stop":
                return
            if token == self._token and rows.isdigit():
                self._on_rows(int(rows))
