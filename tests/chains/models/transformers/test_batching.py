from itertools import groupby, pairwise

from hypothesis import given
from hypothesis import strategies as st

from chains.models.transformers.batching import JOINED, cut_runs, pack

lengths = st.lists(st.integers(0, 500))
output_tokens = st.integers(1, 100)
budgets = st.integers(1, 5000)


def cost(batch, lengths, output_tokens):
    return len(batch) * (max(lengths[i] for i in batch) + output_tokens)


@given(lengths, output_tokens, budgets)
def test_every_row_is_in_exactly_one_batch(lengths, output_tokens, budget):
    packed = [i for batch in pack(lengths, output_tokens, budget) for i in batch]
    assert sorted(packed) == list(range(len(lengths)))


@given(lengths, output_tokens, budgets)
def test_a_batch_is_within_the_budget_or_one_row(lengths, output_tokens, budget):
    for batch in pack(lengths, output_tokens, budget):
        assert batch
        assert len(batch) == 1 or cost(batch, lengths, output_tokens) <= budget


@given(lengths, output_tokens, budgets)
def test_longest_prompts_come_first_and_equal_ones_keep_their_order(lengths, output_tokens, budget):
    packed = [i for batch in pack(lengths, output_tokens, budget) for i in batch]
    assert packed == sorted(packed, key=lambda i: (-lengths[i], i))


@given(lengths, output_tokens, budgets)
def test_no_batch_has_room_for_the_row_that_follows_it(lengths, output_tokens, budget):
    batches = pack(lengths, output_tokens, budget)
    for batch, following in pairwise(batches):
        assert cost([*batch, following[0]], lengths, output_tokens) > budget


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 5))), output_tokens, budgets)
def test_rows_of_a_group_are_neighbours_within_the_budget(rows, output_tokens, budget):
    lengths, groups = [length for length, _ in rows], [group for _, group in rows]
    batches = pack(lengths, output_tokens, budget, groups)
    packed = [groups[i] for batch in batches for i in batch]
    assert len([group for group, _ in groupby(packed)]) == len(set(groups))
    assert all(len(it) == 1 or cost(it, lengths, output_tokens) <= budget for it in batches)


def places(columns):
    return 4096 // columns


def test_few_narrow_rows_share_the_places_of_wide_ones():
    assert cut_runs([256, 1024, 512, 256], places, together=False) == [[1, 2, 0, 3]]


def test_many_narrow_rows_have_places_of_their_own():
    columns = [1024] + [256] * 4 * JOINED
    runs = cut_runs(columns, places, together=False)
    assert runs == [[0], list(range(1, len(columns)))]


@given(st.lists(st.sampled_from([256, 512, 1024, 8192]), max_size=60), st.booleans())
def test_every_row_is_in_one_run_that_has_places_where_rows_stay_together(columns, together):
    runs = cut_runs(columns, places, together)
    assert sorted(i for run in runs for i in run) == list(range(len(columns)))
    for run in runs:
        widest = [columns[i] for i in run]
        assert widest == sorted(widest, reverse=True)
        assert not together or len(run) <= max(1, places(widest[0]))
