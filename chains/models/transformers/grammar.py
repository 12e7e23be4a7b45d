"""Answers held to a JSON Schema while they are written: constrained decoding by xgrammar."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

log = logging.getLogger("gristmill.models")


class Grammars:
    """The grammars of response schemas over the tokens of one model.

    Where xgrammar is not installed, or does not know the tokenizer or a schema, that is logged
    once, and answers are only read by their schema, as those of any other model are.
    """

    def __init__(self, name: str, tokenizer: Any, vocabulary: int, ends: Sequence[int]) -> None:
        self._name, self._tokenizer, self._vocabulary = name, tokenizer, vocabulary
        self._ends = list(ends) or None
        self._compiled: dict[str, Any] = {}

    def mask(self, schema: Mapping[str, Any], rows: int) -> "GrammarMask | None":
        """Return what holds the answers of a batch of so many rows to the schema."""
        written = json.dumps(schema)
        if written not in self._compiled:
            self._compiled[written] = self._compile(written)
        grammar = self._compiled[written]
        return None if grammar is None else GrammarMask(grammar, rows)

    def _compile(self, schema: str) -> Any:
        try:
            import xgrammar

            tokens = xgrammar.TokenizerInfo.from_huggingface(
                self._tokenizer, vocab_size=self._vocabulary, stop_token_ids=self._ends
            )
            # Free white space is what a small model fills its answer with.
            return xgrammar.GrammarCompiler(tokens).compile_json_schema(
                schema, any_whitespace=False
            )
        except Exception as error:
            missing = isinstance(error, ImportError)
            install = "; pip install 'gristmill[structured]'" if missing else ""
            log.warning(
                "%s is not held to its response schema while it answers: %s%s",
                *(self._name, str(error).strip()[:300], install),
            )
            return None


class GrammarMask:
    """Leaves each row the tokens that can go on its answer, until the answer is whole.

    A row that has taken another token (padding behind its end, or what another processor forced)
    is not held any more. Make one for each batch.
    """

    def __init__(self, grammar: Any, rows: int) -> None:
        import xgrammar

        self.held = list(range(rows))
        self._matchers = [xgrammar.GrammarMatcher(grammar) for _ in self.held]
        self._batch = xgrammar.BatchGrammarMatcher()
        self._bits = xgrammar.allocate_token_bitmask(rows, grammar.tokenizer_info.vocab_size)
        self._began = False

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return the scores (rows, vocabulary), in place, -inf where a token does not fit."""
        import xgrammar

        if self._began:
            self.held = self._going_on(input_ids[:, -1].tolist())
        self._began = True
        if not self.held:
            return scores
        self._batch.batch_fill_next_token_bitmask(self._of_held, self._bits, self.held)
        xgrammar.apply_token_bitmask_inplace(
            scores,
            self._bits.to(scores.device),
            indices=self.held,
            # its own kernel for GPUs needs a C compiler on every executor
            backend="cpu" if scores.device.type == "cpu" else "torch_native",
        )
        return scores

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        self._matchers = [self._matchers[row] for row in rows]
        self._bits = self._bits[: len(rows)]
        self.held = [now for now, row in enumerate(rows) if row in self.held]

    def _going_on(self, tokens: Sequence[int]) -> list[int]:
        accepted = self._batch.batch_accept_token(self._of_held, [tokens[row] for row in self.held])
        return [
            row
            for row, fits in zip(self.held, accepted, strict=True)
            if fits and not self._matchers[row].is_terminated()
        ]

    @property
    def _of_held(self) -> list[Any]:
        return [self._matchers[row] for row in self.held]
