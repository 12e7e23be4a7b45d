import gc

import pytest

from udfs.garbage import MANY, keep_what_is_loaded


@pytest.fixture
def unfrozen():
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_is_loaded_when_a_task_begins_is_left_out_of_collections(unfrozen):
    loaded = [[] for _ in range(MANY + 1)]
    keep_what_is_loaded()
    assert gc.get_freeze_count() > MANY
    assert len(gc.get_objects()) < len(loaded)


def test_what_few_objects_a_later_task_begins_with_are_collected_still(unfrozen):
    gc.freeze()
    frozen = gc.get_freeze_count()
    _few = [[] for _ in range(100)]
    keep_what_is_loaded()
    assert gc.get_freeze_count() == frozen
