import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chains.models.transformers.decoding import (
    GumbelSampler,
    LogProbabilities,
    StopStrings,
    row_seed,
)

CPU = torch.device("cpu")
LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, -torch.inf])


def draw(seeds, temperature=1.0, top_p=1.0, steps=1):
    """Return (steps, rows) tokens for rows that all have LOGITS."""
    sampler = GumbelSampler(temperature, top_p, seeds, CPU)
    scores = LOGITS.expand(len(seeds), -1)
    return torch.stack([sampler(None, scores).argmax(dim=-1) for _ in range(steps)])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_with_their_probabilities(temperature):
    drawn = draw(range(20_000), temperature)
    shares = torch.bincount(drawn.flatten(), minlength=5) / drawn.numel()
    assert torch.allclose(shares, (LOGITS / temperature).softmax(-1), atol=0.015)


def test_top_p_leaves_out_the_improbable_tokens():
    assert set(draw(range(2000), top_p=0.8).flatten().tolist()) == {0, 1}


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8), st.data())
def test_a_row_draws_the_same_alone_and_in_any_batch(seeds, data):
    row = data.draw(st.integers(0, len(seeds) - 1))
    assert draw(seeds, steps=5)[:, row].tolist() == draw([seeds[row]], steps=5)[:, 0].tolist()


def test_steps_and_seeds_draw_anew():
    assert len({tuple(row) for row in draw(range(50), temperature=9.0, steps=30).T.tolist()}) == 50


@given(st.integers(), st.lists(st.integers(0, 10**6)), st.lists(st.integers(0, 10**6)))
def test_seeds_differ_by_prompt_and_by_seed(seed, prompt, other):
    assert row_seed(seed, prompt) == row_seed(seed, list(prompt))
    assert row_seed(seed, prompt) != row_seed(seed + 1, prompt)
    assert (row_seed(seed, prompt) == row_seed(seed, other)) == (prompt == other)


def letters(rows):
    return ["".join(chr(token) for token in row) for row in rows.tolist()]


def test_a_stop_string_across_tokens_ends_its_row_only():
    stop = StopStrings(("END",), 0, letters)
    answers = torch.tensor([[*map(ord, text)] for text in ("mill END.", "mill EN D")])
    done = [stop(answers[:, :n], None).tolist() for n in range(1, 10)]
    assert done.index([True, False]) == 7
    assert stop.lengths == {0: 8}


def test_the_end_of_the_prompt_completes_no_stop_string():
    stop = StopStrings(("END",), 2, letters)
    assert stop(torch.tensor([[*map(ord, "ENDS")]]), None).tolist() == [False]


def test_a_stop_string_is_found_at_the_end_of_a_long_answer():
    stop = StopStrings(("END",), 0, letters)
    assert stop(torch.tensor([[*map(ord, "x" * 500 + "END")]]), None).tolist() == [True]


def test_tokens_are_noted_as_the_model_found_them_and_not_as_they_were_drawn():
    noted, sampler = LogProbabilities(2), GumbelSampler(9.0, 1.0, [1, 2], CPU)
    answers = torch.zeros(2, 0, dtype=torch.long)
    for _ in range(3):
        drawn = sampler(None, noted(answers, LOGITS.expand(2, -1)))
        answers = torch.cat([answers, drawn.argmax(dim=-1, keepdim=True)], dim=1)
    expected = LOGITS.log_softmax(-1)[answers]
    assert noted.of(answers.tolist()) == expected.tolist()


def test_of_rows_that_leave_all_tokens_are_noted():
    noted, rows = LogProbabilities(3), torch.tensor([[0], [1], [2]])
    noted(torch.zeros(3, 0, dtype=torch.long), LOGITS.expand(3, -1))
    noted.keep([1, 2])
    noted(rows[[1, 2]], LOGITS.expand(2, -1))
    noted.keep([1])
    noted(torch.tensor([[2, 1]]), LOGITS.expand(1, -1))
    answers = [[0], [1, 2], [2, 1, 0]]
    expected = LOGITS.log_softmax(-1)
    assert noted.of(answers) == [[expected[it].item() for it in row] for row in answers]
