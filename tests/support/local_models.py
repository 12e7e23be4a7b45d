"""Models that tests name as `python:local_models:CLASS`; they run in Spark's Python workers."""

import os
import tempfile
from pathlib import Path
from time import sleep

from chains.errors import TimedOut
from chains.models.base import Answer, Usage


class Echo:
    """Answers with the document in capitals; free."""

    version = "1"
    context_window = None

    def __init__(self, ref):
        self.ref = ref

    def count_tokens(self, messages):
        return sum(len(message["content"].split()) for message in messages)

    def complete(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        text = str(request.variables["document"])
        return Answer(text.upper(), "stop", Usage(len(text.split()), 1), 1.0)


class Poisoned(Echo):
    """Breaks on documents that say so."""

    def complete(self, requests):
        if any("poison" in str(request.variables["document"]) for request in requests):
            raise RuntimeError("the tokenizer has no token for this")
        return super().complete(requests)


class Surrogates(Echo):
    """Answers with half an emoji."""

    def _answer(self, request):
        return Answer("cut \ud83d", "stop", Usage(1, 1), 1.0)


class Fenced(Echo):
    """Answers with a verdict in JSON, in a fence and with a comma too many."""

    def _answer(self, request):
        text = '```json\n{"verdict": "good", "score": 7, "sure": true,}\n```'
        return Answer(text, "stop", Usage(1, 1), 1.0)


class SmallWindow(Echo):
    """Takes 30 words, prompt and answer together, and answers with the first three."""

    context_window = 400

    def _answer(self, request):
        words = str(request.variables["document"]).split()
        return Answer(" ".join(words[:3]), "stop", Usage(len(words), 3), 1.0)


_RUN = f"{os.getuid()}-{os.environ.get('PYTEST_XDIST_WORKER', '')}"
NOTES = Path(tempfile.gettempdir()) / f"local-models-{_RUN}.notes"


class Counted(Echo):
    """Notes each load and each call, with the process."""

    def __init__(self, ref):
        super().__init__(ref)
        note("load")

    def _answer(self, request):
        note("call")
        return super()._answer(request)


GATE = NOTES.with_suffix(".gate")


class Gated(Counted):
    """Answers once there is a file GATE."""

    def _answer(self, request):
        answer = super()._answer(request)
        while not GATE.exists():
            sleep(0.02)
        return answer


class DownAtFirst(Counted):
    """Has no answer in time until there is a file GATE."""

    def _answer(self, request):
        answer = super()._answer(request)
        return answer if GATE.exists() else TimedOut("no answer yet")


def note(what):
    """Append a line; short appends do not mix."""
    with NOTES.open("a") as file:
        file.write(f"{os.getpid()} {what}\n")
