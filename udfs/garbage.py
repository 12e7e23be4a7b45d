"""Garbage collection in Python workers."""

import gc

MANY = 50_000  # objects; a collection looks at two million a second


def keep_what_is_loaded() -> None:
    """Leave modules and models out of garbage collection; to be called when a task begins.

    Spark's worker makes a full collection at the end of each task, which takes a quarter of a
    second once torch is there. It has just made one now: what is left is no garbage.
    """
    if len(gc.get_objects()) > MANY:
        gc.freeze()
