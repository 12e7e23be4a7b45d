import gc

import pytest

from udfs.garbage import MANY, keep_what_is_loaded


@pytest.fixture
def unfrozen():
    gc.unfreeze()
    yield
    gc.unfreeze()


def is_collected(wanted):
    return any(it is wanted for it in gc.get_objects())


def test_what_is_loaded_when_a_task_begins_is_left_out_of_collections(unfrozen):
    loaded = [[] for _ in range(MANY + 1)]
    keep_what_is_loaded()
    assert not is_collected(loaded)


def test_what_a_later_task_begins_with_is_collected_still(unfrozen):
    gc.freeze()
    few = [[] for _ in range(100)]
    keep_what_is_loaded()
    assert is_collected(few)
