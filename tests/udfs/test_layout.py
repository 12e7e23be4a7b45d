import pytest

from udfs.layout import TaskSize


@pytest.mark.parametrize(
    ("kind", "rows", "cores", "tasks"),
    [
        ("python", 3, 2, 1),  # too few rows for another task
        ("python", 100, 2, 14),
        ("python", 100_000, 2, 64),  # no more than 32 a core
        ("python", 100_000, 100, 400),  # of 250 rows
        ("transformers", 100, 2, 2),  # of 50 rows, which batch well
        ("transformers", 960, 2, 8),
        ("extractive", 500, 2, 6),
        ("extractive", 2000, 2, 16),
        ("endpoint", 2000, 2, 4),
        ("endpoint", 10_000, 2, 10),
        ("sidecar", 10_000, 2, 10),
    ],
)
def test_misses_are_cut_into_tasks_that_keep_all_cores_busy(kind, rows, cores, tasks):
    assert TaskSize.of(kind).tasks(rows, cores) == tasks
