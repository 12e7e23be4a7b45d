"""A clock that a test moves."""

from dataclasses import dataclass


@dataclass
class Clock:
    """Stands still until `now`, in seconds, is set."""

    now: float = 0.0

    def __call__(self):
        return self.now
