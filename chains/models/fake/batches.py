"""The fake endpoint's files and batches: a provider's batch API, whose batches end when told."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chains.models.fake.answers import Document
from chains.models.fake.faults import Reply, plain, refusal

Ask = Callable[[bytes], tuple[int, Document]]


@dataclass(frozen=True)
class BatchSettings:
    """How batches go; nothing of it is a matter of time.

    The `polls`-th look at a batch finds it ended, or none does, where that is None. It ends as
    `end` says, with `answered` of its requests answered (None: all, but of a failed one none). The
    `file_polls`-th look at a file finds it ready for a batch. Without `pages`, every page of the
    list is the first one.
    """

    polls: int | None = 1
    end: str = "completed"
    answered: int | None = None
    file_polls: int = 0
    pages: bool = True


class FakeBatches:
    """The files and batches of an endpoint under the path `base`.

    `ask` answers a request as an online one: status and document, in the pay-ledger when it
    returns. A batch is paid for when it is made.
    """

    def __init__(self, settings: BatchSettings, base: str, ask: Ask) -> None:
        self._settings, self._base, self._ask = settings, base, ask
        self._files: dict[str, bytes] = {}
        self._looks: dict[str, int] = {}
        self._batches: dict[str, Document] = {}
        self.are_finished = False

    def serves(self, path: str) -> bool:
        """Whether a path is one of files or batches."""
        return self._steps(path)[0] in ("files", "batches")

    def answer(self, method: str, path: str, content_type: str, body: bytes) -> Reply:
        """Answer a request to a path that it serves."""
        match method, *self._steps(path):
            case "POST", "files":
                return _json(self._keep_file(_uploaded(content_type, body)))
            case "GET", "files", name if name in self._files:
                return _json(self._file(name, look=1))
            case "GET", "files", name, "content" if name in self._files:
                return plain(200, "application/octet-stream", self._files[name])
            case "POST", "batches":
                return self._make(json.loads(body), path)
            case "GET", "batches":
                return _json(self._list(parse_qs(urlsplit(path).query)))
            case "GET", "batches", name if name in self._batches:
                self._looks[name] += 1
                return _json(self._batch(name))
        return refusal({"status": 404}, path)

    def _steps(self, path: str) -> list[str]:
        return urlsplit(path).path.removeprefix(self._base).strip("/").split("/")

    def _keep_file(self, content: bytes) -> Document:
        name = f"file-{len(self._files) + 1}"
        self._files[name], self._looks[name] = content, 0
        return self._file(name)

    def _file(self, name: str, look: int = 0) -> Document:
        self._looks[name] += look
        ready = self._looks[name] >= self._settings.file_polls
        return {"id": name, "object": "file", "status": "processed" if ready else "pending"}

    def _make(self, asked: Document, path: str) -> Reply:
        if self._file(asked["input_file_id"])["status"] != "processed":
            return refusal({"status": 400}, path)
        lines = self._files[asked["input_file_id"]].splitlines()
        name = f"batch_{len(self._batches) + 1}"
        files = {} if self._settings.end == "failed" else self._answer(lines)
        self._batches[name] = {
            "id": name,
            "object": "batch",
            "created_at": 1_700_000_000,
            "metadata": asked["metadata"],
            "requests": len(lines),
            **files,
        }
        self._looks[name] = 0
        return _json(self._batch(name))

    def _answer(self, lines: list[bytes]) -> Document:
        """Answer as many as there are answers for, the last first, as order is not promised."""
        good: list[Document] = []
        bad: list[Document] = []
        answered = len(lines) if self._settings.answered is None else self._settings.answered
        for number, line in reversed(list(enumerate(lines))):
            asked = json.loads(line)
            told: Document = {"custom_id": asked["custom_id"], "response": None, "error": None}
            if number >= answered:
                bad.append({**told, "error": {"code": f"batch_{self._settings.end}"}})
                continue
            status, document = self._ask(json.dumps(asked["body"]).encode())
            response = {"status_code": status, "body": document}
            (good if status == 200 else bad).append({**told, "response": response})
        kept = {"output_file_id": good, "error_file_id": bad}
        return {
            key: self._keep_file("\n".join(map(json.dumps, some)).encode())["id"]
            for key, some in kept.items()
            if some
        }

    def _batch(self, name: str) -> Document:
        """Return a batch as it is now: its files only when it has ended."""
        batch, settings = self._batches[name], self._settings
        looks, polls = self._looks[name], settings.polls
        shown = {key: value for key, value in batch.items() if not key.endswith("_file_id")}
        requests = shown.pop("requests")
        if not self.are_finished and (polls is None or looks < polls):
            at_end = polls is not None and looks == polls - 1
            status = "validating" if looks == 0 else "finalizing" if at_end else "in_progress"
            return {**shown, "status": status, "request_counts": {"total": requests}}
        counts = {"total": requests, "completed": requests, "failed": 0}
        ended = {**batch, "status": settings.end, "request_counts": counts}
        if settings.end == "failed":
            ended["errors"] = {"data": [{"code": "token_limit_exceeded", "message": "too many"}]}
        return {**ended, f"{settings.end}_at": batch["created_at"] + 60}

    def _list(self, query: Mapping[str, list[str]]) -> Document:
        """Return a page, the newest first."""
        names = list(reversed(self._batches))
        limit = int(query.get("limit", ["20"])[0])
        after = query.get("after", [None])[0]
        start = names.index(after) + 1 if after and self._settings.pages else 0
        page = names[start : start + limit]
        return {
            "object": "list",
            "data": [self._batch(it) for it in page],
            "has_more": start + limit < len(names),
        }


def _json(document: Document) -> Reply:
    return plain(200, "application/json", json.dumps(document).encode("ascii"))


def _uploaded(content_type: str, body: bytes) -> bytes:
    """Return the file of a form whose purpose is a batch."""
    form = BytesParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts: dict[Any, Any] = {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
        for part in form.walk()
        if not part.is_multipart()
    }
    assert parts["purpose"] == b"batch"
    return bytes(parts["file"])
