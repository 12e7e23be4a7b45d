"""What runs are asking right now, so that no two of them pay for the same question.

Before a run asks, it takes a number and tells its questions, in a file of its journal. A run that
finds one of its questions with a lower number waits for that run's end. One that has ended, but
whose answers nobody has taken into the ledger yet, comes before it too: they are to be taken first.
The numbers are those of Lamport's bakery algorithm ("A New Solution of Dijkstra's Concurrent
Programming Problem", CACM 17(8), 1974): all it needs of a storage is that a file which was written
is seen.
"""

import json
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from time import monotonic, sleep

import numpy as np

from udfs.files import Place
from udfs.lease import LEASE, dead, has_ended
from udfs.taken import is_taken

LOG = logging.getLogger("gristmill")
MOST_QUESTIONS = 1_000_000
LOOK_SECONDS = 0.5
SECONDS_BETWEEN_DEATHS = 30.0
_CLAIM = "_claim"


@dataclass(frozen=True)
class Claim:
    """What a run asks: `heads` of fingerprints (udfs/heads.py), sorted; None: any, they are many.

    `asker` names chain and model: the questions of others are never the same.
    """

    run: str
    number: int
    asker: str
    heads: np.ndarray | None

    def is_before(self, other: "Claim") -> bool:
        """Whether it has a question of the other one, and a lower number."""
        return (self.number, self.run) < (other.number, other.run) and self.meets(other)

    def meets(self, other: "Claim") -> bool:
        """Whether it has a question of the other one."""
        if self.asker != other.asker:
            return False
        if self.heads is None or other.heads is None:
            return True
        return len(np.intersect1d(self.heads, other.heads, assume_unique=True)) > 0

    def encode(self) -> bytes:
        """Return it as a line of JSON and the heads."""
        told = {"number": self.number, "asker": self.asker, "any": self.heads is None}
        heads = b"" if self.heads is None else self.heads.tobytes()
        return json.dumps(told).encode() + b"\n" + heads

    @classmethod
    def decode(cls, run: str, content: bytes) -> "Claim":
        """Read what `encode` gave."""
        line, _, heads = content.partition(b"\n")
        told = json.loads(line)
        asked = None if told["any"] else np.frombuffer(heads, np.uint64)
        return cls(run, told["number"], told["asker"], asked)


@dataclass(frozen=True)
class Claims:
    """The claims of one ledger's runs; `journals` is the folder of their journals."""

    journals: Place

    def make(self, run: str, asker: str, heads: np.ndarray | None) -> list[str]:
        """Tell what a run is going to ask; its lease is there already.

        Returns the runs that came before it and ask, or have asked, some of the same.
        """
        living, _ = self._others(run)
        told = [it for it in map(self._told, living) if it]
        own = Claim(run, 1 + max((it.number for it in told), default=0), asker, heads)
        (self.journals / run / _CLAIM).replace(own.encode())
        living, ended = self._others(run)
        before = [it for it in self._numbered(living) if it.is_before(own)]
        left = [it for it in map(self._told, self._untaken(ended)) if it and it.meets(own)]
        return sorted(it.run for it in (*before, *left))

    def wait(
        self, runs: Collection[str], what: str = "a run that asks some of the same prompts"
    ) -> None:
        """Wait until runs have ended, whether they say so or die; `what` they are is logged."""
        if runs:
            LOG.info("waiting for %s: %s", what, ", ".join(runs))
        looked = monotonic()
        while runs := [it for it in runs if not has_ended(self._lease(it))]:
            sleep(LOOK_SECONDS)
            if monotonic() - looked > SECONDS_BETWEEN_DEATHS:
                runs = set(runs) - dead({it: self._lease(it) for it in runs})
                looked = monotonic()

    def _numbered(self, runs: Collection[str]) -> Iterator[Claim]:
        """Give the claims of runs; one that is about to take its number is waited for."""
        for run in runs:
            begin = monotonic()
            while not (claim := self._told(run)) and not has_ended(self._lease(run)):
                sleep(LOOK_SECONDS)
                if monotonic() - begin > SECONDS_BETWEEN_DEATHS and dead({run: self._lease(run)}):
                    break
            if claim:
                yield claim

    def _told(self, run: str) -> Claim | None:
        try:
            return Claim.decode(run, (self.journals / run / _CLAIM).read())
        except (FileNotFoundError, ValueError):  # not yet there, not yet whole, or gone
            return None

    def _others(self, but: str) -> tuple[list[str], list[str]]:
        """Return the runs that live, and those that have ended."""
        names = [it for it in self.journals.names() if it != but]
        ended = {it for it in names if has_ended(self._lease(it))}
        return [it for it in names if it not in ended], sorted(ended)

    def _untaken(self, runs: Collection[str]) -> list[str]:
        """Return those of runs that have ended whose answers are not all in the ledger."""
        return [it for it in runs if not is_taken(self.journals / it)]

    def _lease(self, run: str) -> Place:
        return self.journals / run / LEASE
