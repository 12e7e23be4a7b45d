from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.task_size import TaskSize

KINDS = st.sampled_from(["python", "transformers", "extractive", "endpoint", "sidecar"])


@given(kind=KINDS, rows=st.integers(1, 10_000_000), cores=st.integers(1, 200))
def test_the_rounds_are_all_of_the_work_in_tasks_that_get_no_larger(kind, rows, cores):
    rounds = TaskSize.of(kind).rounds(rows, cores)
    begin, first = 0.0, 0
    for it in rounds:
        assert it.begin == pytest.approx(begin)
        assert it.first == first
        begin, first = begin + it.tasks * it.each, first + it.tasks
    assert begin == pytest.approx(1.0)
    sizes = [it.each for it in rounds]
    of_batches = TaskSize.of(kind).by_length
    assert not of_batches or all(b <= 2 * a for a, b in pairwise(sizes))


@pytest.mark.parametrize("kind", ["python", "transformers", "extractive", "endpoint"])
def test_every_core_takes_part(kind):
    assert TaskSize.of(kind).rounds(2000, 2)[0].tasks >= 2
    assert TaskSize.of(kind).rounds(160, 16)[0].tasks >= 16
    assert [it.tasks for it in TaskSize.of(kind).rounds(3, 16)] == [1]


def test_cores_end_together_for_the_last_tasks_are_small():
    rounds = TaskSize.of("extractive").rounds(2000, 2)
    assert rounds[0].each == 0.25
    assert rounds[-1].each < 0.02
    assert sum(it.tasks for it in rounds) < 20


def test_no_task_of_a_long_run_is_large():
    rounds = TaskSize.of("extractive").rounds(1_000_000, 2)
    assert max(it.each for it in rounds) == 1 / 64
    assert sum(it.tasks for it in rounds) < 100


def test_what_a_server_answers_is_cut_evenly_into_few_tasks():
    (only,) = TaskSize.of("endpoint").rounds(2000, 2)
    assert (only.tasks, only.each) == (4, 0.25)


def test_longer_rows_are_more_work():
    even = TaskSize(fixed=0.0).work([10, 20, 30], 8, 2 * (10 + 15 + 25 + 100))
    assert even == pytest.approx([100 / 150, 25 / 150, 15 / 150, 10 / 150])
    half = TaskSize(fixed=1.0).work([10, 20, 30], 8, 2 * (10 + 15 + 25 + 100))
    assert half == pytest.approx([(it / 150 + 0.25) / 2 for it in (100, 25, 15, 10)])
    assert TaskSize().work([], 8, 100) == [1.0]
    assert TaskSize().work([0, 0, 0], 8, 0) == [0.25] * 4
