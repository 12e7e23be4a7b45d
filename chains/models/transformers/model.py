"""Any causal or seq2seq model of transformers, in this process: on its GPU, else on its CPU."""

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from chains.errors import CompletionError, ContextLengthExceeded, JobError
from chains.models.base import (
    Answer,
    Message,
    ModelRef,
    Outcome,
    Outcomes,
    Parameters,
    Request,
    Usage,
    in_order,
    isolate,
)
from chains.models.digest import folder_digest
from chains.models.transformers.batching import cut_runs, pack
from chains.models.transformers.decoding import GumbelSampler, LogProbabilities, row_seed
from chains.models.transformers.generation import Batch, Generated, RowProcessor, generate
from chains.models.transformers.grammar import Grammars
from chains.models.transformers.prefix_cache import PrefixCache, keeps_all
from chains.models.transformers.prefixes import Ids, Prompt, share
from chains.models.transformers.prompts import encode
from chains.models.transformers.running import Ended, Running
from chains.models.transformers.slots import LEAST_COLUMNS, Slots, above, agrees
from chains.models.transformers.weights import (
    check_files,
    load_config,
    load_tokenizer,
    load_weights,
    loading,
    local_folder,
    snapshot,
)

CPU_BATCH_TOKENS = 8_192  # more is no faster once weights outweigh Python: see the benchmark
GPU_BATCH_TOKENS = 131_072  # where it does not fit the memory, it is halved
GPU_SHARES_FROM = 2_000_000_000  # parameters; a pass of fewer costs a GPU less than sharing does

log = logging.getLogger("gristmill.models")


class TransformersModel:
    """Completes prompts in batches of similar length, under a budget of tokens.

    On a GPU rows take turns at places, whose keys and values the process keeps (see slots.py).

    Weights are read from safetensors only, as bfloat16 on a GPU and float32 on a CPU; code that
    comes with a model is not run. `Parameters` alone decide how it answers: the sampling defaults
    in the model's own generation_config.json have no effect. Answers are held to their response
    schema while they are written, where xgrammar is installed (see grammar.py).

    `ref.options`: `batch_tokens` (int), the most tokens in a batch, padding and answers included,
    or in all places together.
    """

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref

    @cached_property
    def context_window(self) -> int | None:
        """The window in tokens: what the config says, otherwise what the tokenizer says."""
        window: int | None = getattr(
            self._config.get_text_config(), "max_position_embeddings", None
        )
        limit = self._tokenizer.model_max_length
        return window or (limit if limit < 1e9 else None)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return the prompt's length in tokens, without loading weights.

        Raises `CompletionError` where this prompt cannot be encoded.
        """
        return len(encode(self._tokenizer, messages))

    def complete(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer every request, in order; see `stream`."""
        return in_order(self.stream(requests))

    def stream(self, requests: Sequence[Request]) -> Iterator[Outcomes]:
        """Answer every request, as batches or rows end; raise ModelLoadError without a model.

        A prompt that exceeds the window together with its answer is not run. Where the GPU itself
        fails, `JobError` is raised: no row is at fault, and this process has lost its model.
        """
        _ = self._network  # what is missing stops the job here, instead of row by row
        ids: dict[int, Ids] = {}
        for i, request in enumerate(requests):
            try:
                ids[i] = self._ids(request)
            except CompletionError as error:
                yield [(i, error)]
        made = share(list(ids.values())) if self._shares else map(Prompt, ids.values())
        prompts = dict(zip(ids, made, strict=True))
        known = {id(requests[i]): prompt for i, prompt in prompts.items()}

        def ask(batch: Sequence[Request]) -> Iterator[Outcomes]:
            asked = [known[id(request)] for request in batch]
            if self._slots:
                yield from self._run(self._slots, batch, asked)
            else:
                yield list(enumerate(self.generate(batch, asked)))

        for positions in self._batches(requests, prompts):
            for outcomes in isolate(ask, [requests[i] for i in positions]):
                yield [(positions[i], outcome) for i, outcome in outcomes]

    def generate(self, requests: Sequence[Request], prompts: Sequence[Prompt]) -> list[Outcome]:
        """Run one batch, whose requests have the same schema and differ at most in their seeds."""
        import torch

        started = time.perf_counter()
        shares, device = self._prefixes, self._network.device
        parameters = requests[0].parameters
        held = parameters.min_log_probability is not None
        noted = LogProbabilities(len(requests)) if held else None
        try:
            batch = Batch(
                *self._pad([prompt.ids for prompt in prompts]),
                past=shares.before(prompts) if shares else None,
                shrinks=shares is not None and device.type == "cpu",  # a GPU has places: `_run`
            )
            processors = [*([noted] if noted else []), *self._processors(requests, prompts)]
            given = generate(self._network, batch, parameters, processors, self._decode)
            probabilities = noted.of([it.ids for it in given]) if noted else None
        except torch.AcceleratorError as error:
            raise JobError(f"the GPU failed under {self.ref.name}: {error}") from error
        latency_ms = (time.perf_counter() - started) * 1000
        answers = [
            self._answer(request, len(prompt.ids), it, latency_ms)
            for request, prompt, it in zip(requests, prompts, given, strict=True)
        ]
        return _probable(answers, probabilities)

    def _run(
        self, slots: Slots, requests: Sequence[Request], prompts: Sequence[Prompt]
    ) -> Iterator[Outcomes]:
        """Answer requests of the same parameters and schema by places for rows, as they end.

        Where the memory does not suffice, the next run has half of it for its places.
        """
        import torch

        parameters = requests[0].parameters
        columns = _columns(parameters, prompts)
        held = parameters.min_log_probability is not None
        noted = LogProbabilities(len(prompts)) if held else None
        processors = [*([noted] if noted else []), *self._processors(requests, prompts)]
        if slots.rows(columns) < (len(prompts) if processors else 1):
            yield list(enumerate(self.generate(requests, prompts)))
            return
        ends = self._network.generation_config.eos_token_id or ()
        running = Running(slots, parameters, processors, ends, self._decode)
        found: dict[int, Ended] = {}
        try:
            for some in running.answer(prompts, columns):
                if noted:
                    found.update((it.position, it) for it in some)
                else:
                    yield [(it.position, self._ended(requests, prompts, it)) for it in some]
            ids = [found[i].given.ids for i in sorted(found)]
            probabilities = noted.of(ids) if noted else None
        except torch.OutOfMemoryError:
            self._slot_tokens = slots.tokens // 2
            vars(self).pop("_slots", None)
            raise
        except torch.AcceleratorError as error:
            raise JobError(f"the GPU failed under {self.ref.name}: {error}") from error
        if noted:
            answers = [self._ended(requests, prompts, found[i]) for i in sorted(found)]
            yield list(enumerate(_probable(answers, probabilities)))

    def _ended(
        self, requests: Sequence[Request], prompts: Sequence[Prompt], ended: Ended
    ) -> Answer:
        i = ended.position
        return self._answer(requests[i], len(prompts[i].ids), ended.given, ended.seconds * 1000)

    def _answer(self, request: Request, read: int, given: Generated, latency_ms: float) -> Answer:
        """Cut the tokens behind their end, and the text before its stop string."""
        ends = self._network.generation_config.eos_token_id or ()
        tokens = given.ids[: given.stopped_at]
        ended_at = next((n for n, token in enumerate(tokens, 1) if token in ends), None)
        tokens = tokens[:ended_at]
        text = self._decode([tokens])[0]
        cuts = [text.index(stop) for stop in request.parameters.stop if stop in text]
        stopped = cuts or given.stopped_at is not None or ended_at is not None
        return Answer(
            text=text[: min(cuts, default=None)],
            finish_reason="stop" if stopped else "length",
            usage=Usage(read, len(tokens)),
            latency_ms=latency_ms,
        )

    def _ids(self, request: Request) -> Ids:
        ids = encode(self._tokenizer, request.messages)
        limit = request.parameters.max_output_tokens
        apart = self._config.is_encoder_decoder  # encoder and decoder have a window each
        needed = max(len(ids), limit) if apart else len(ids) + limit
        if self.context_window is not None and needed > self.context_window:
            raise ContextLengthExceeded(
                f"expected at most {self.context_window} tokens of prompt and answer, "
                f"found {len(ids)} and up to {limit} (max_output_tokens)"
            )
        return ids

    def _batches(
        self, requests: Sequence[Request], prompts: Mapping[int, Prompt]
    ) -> Iterator[list[int]]:
        """Yield positions of requests that can run together.

        Groups have batches of their own: a row that shares nothing would leave them no column.
        """
        alike: dict[tuple[Parameters, str, bool], list[int]] = {}
        for i, prompt in prompts.items():
            parameters = requests[i].parameters.model_copy(update={"seed": 0})
            schema = json.dumps(requests[i].response_schema)
            alike.setdefault((parameters, schema, prompt.shared > prompt.head), []).append(i)
        for (parameters, *_), positions in alike.items():
            lengths = [len(prompts[i].ids) for i in positions]
            groups = [prompts[i].group for i in positions]
            batches = pack(lengths, parameters.max_output_tokens, self._budget, groups)
            if self._slots:  # held by no name here: it may have to make room for a smaller one
                order = [i for batch in batches for i in batch]
                needed = [_columns(parameters, [prompts[positions[i]]]) for i in order]
                together = _changes_scores(requests[positions[0]])
                runs = cut_runs(needed, self._slots.rows, together)
                batches = [[order[i] for i in run] for run in runs]
            yield from ([positions[i] for i in batch] for batch in batches)

    def _pad(self, prompts: Sequence[Ids]) -> tuple[Any, Any]:
        """Return ids and mask, each (rows, longest prompt) int64, on the model's device."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        padding = self._network.generation_config.pad_token_id
        side = "right" if self._config.is_encoder_decoder else "left"
        tensors = [torch.tensor(prompt, dtype=torch.long) for prompt in prompts]
        rows = pad_sequence(tensors, True, padding, side)
        mask = pad_sequence([torch.ones_like(ids) for ids in tensors], True, 0, side)
        return rows.to(self._network.device), mask.to(self._network.device)

    def _processors(
        self, requests: Sequence[Request], prompts: Sequence[Prompt]
    ) -> list[RowProcessor]:
        """Return what is done to the scores, in order: what no schema allows is never sampled."""
        parameters, schema = requests[0].parameters, requests[0].response_schema
        mask = None if schema is None else self._grammars.mask(schema, len(requests))
        held: list[RowProcessor] = [] if mask is None else [mask]
        if parameters.temperature == 0:
            return held
        seeds = [row_seed(r.parameters.seed, p.ids) for r, p in zip(requests, prompts, strict=True)]
        device = self._network.device
        return [*held, GumbelSampler(parameters.temperature, parameters.top_p, seeds, device)]

    def _decode(self, rows: Any) -> list[str]:
        texts: list[str] = self._tokenizer.batch_decode(
            rows, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts

    @cached_property
    def _grammars(self) -> Grammars:
        vocabulary = self._config.get_text_config().vocab_size
        ends = self._network.generation_config.eos_token_id or ()
        return Grammars(self.ref.name, self._tokenizer, vocabulary, ends)

    @cached_property
    def _config(self) -> Any:
        with loading("config", self.ref.spec):
            return load_config(self._folder())

    @cached_property
    def _tokenizer(self) -> Any:
        with loading("tokenizer", self.ref.spec):
            return load_tokenizer(self._folder())

    @cached_property
    def _network(self) -> Any:
        started = time.perf_counter()
        with loading("weights", self.ref.spec):
            network = load_weights(self._folder(weights=True), self._config, self._tokenizer)
        seconds = time.perf_counter() - started
        log.info("loaded %s in %.1f s (pid %d)", self.ref.name, seconds, os.getpid())
        return network

    @cached_property
    def _prefixes(self) -> PrefixCache | None:
        with loading("weights", self.ref.spec):
            return PrefixCache(self._network, self._pad) if keeps_all(self._network) else None

    @cached_property
    def _shares(self) -> bool:
        """Whether what prompts share passes through the model once."""
        if self._prefixes is None:
            return False
        on_gpu = self._network.device.type == "cuda"
        return not on_gpu or self._network.num_parameters() >= GPU_SHARES_FROM

    @cached_property
    def _slots(self) -> Slots | None:
        """Places for rows, on a GPU and where the model can use them."""
        import torch

        if self._network.device.type != "cuda" or self._prefixes is None:
            return None
        while self._slot_tokens >= LEAST_COLUMNS:
            try:
                slots = Slots(self._network, self._pad, self._prefixes.before, self._slot_tokens)
                return slots if agrees(slots, self._network) else None
            except torch.OutOfMemoryError:
                self._slot_tokens //= 2
        return None

    @cached_property
    def _slot_tokens(self) -> int:
        return self._budget

    @cached_property
    def _budget(self) -> int:
        default = GPU_BATCH_TOKENS if self._network.device.type == "cuda" else CPU_BATCH_TOKENS
        return int(dict(self.ref.options).get("batch_tokens", default))

    def _folder(self, weights: bool = False) -> Path:
        return local_folder(self.ref.location, self.ref.digest, weights)


def _probable(
    answers: Sequence[Answer], probabilities: Sequence[Sequence[float]] | None
) -> list[Outcome]:
    """Return the answers, each with its tokens' mean log-probability, where these were noted."""
    if probabilities is None:
        return list(answers)
    return [
        replace(it, log_probability=fmean(row[: it.usage.output_tokens]))
        for it, row in zip(answers, probabilities, strict=True)
    ]


def _columns(parameters: Parameters, prompts: Sequence[Prompt]) -> int:
    """Return how many columns the rows of a run need, a power of two."""
    longest = max(len(prompt.ids) for prompt in prompts)
    return above(longest + parameters.max_output_tokens, LEAST_COLUMNS)


def _changes_scores(request: Request) -> bool:
    """Return whether more than the model itself decides about the tokens of an answer."""
    parameters = request.parameters
    noted = parameters.min_log_probability is not None
    return bool(request.response_schema is not None or parameters.temperature or noted)


def resolve_transformers(spec: str, location: str, batch_tokens: int | None = None) -> ModelRef:
    """Return the model behind `path:FOLDER`, or `hf:ID` and `hf:ID@REVISION`, as it is now.

    A folder's identity is the digest of its files, a hub model's its commit; its weights are
    fetched by who loads them. Raises ModelLoadError where the model cannot be had.
    """
    options = () if batch_tokens is None else (("batch_tokens", batch_tokens),)
    if spec.startswith("hf:"):
        repository, _, revision = location.partition("@")
        with loading("files", spec):
            commit = snapshot(repository, revision or None, weights=False).name
        name = f"{repository}@{commit[:12]}"
        return ModelRef(spec, "transformers", name, repository, commit, options)
    folder = Path(location).expanduser().resolve()
    check_files(folder)
    digest = folder_digest(folder)
    name = f"{folder.name}@{digest[:12]}"
    return ModelRef(spec, "transformers", name, str(folder), digest, options)
