"""What is kept of a run, the same for every job."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class RunRecord:
    """A run that came to its end.

    `began_at` is in ISO 8601, UTC; `seconds` are those of all of it, `asking_seconds` of them those
    in which models were asked. `versions` is what it was pinned to, and its target, name@version
    each. `report` is what the job reports.
    """

    run_id: str
    job: str
    began_at: str
    seconds: float
    asking_seconds: float
    is_pending: bool
    versions: Mapping[str, str]
    report: Mapping[str, Any]

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> "RunRecord":
        """Read what `json` gave."""
        return cls(**json.loads(text))
