import inspect
import pickle
import re

import pytest

from chains import errors
from chains.errors import CompletionError, GristmillError

HIERARCHY = [it for it in vars(errors).values() if isinstance(it, type)]
OF_ROWS = [it for it in HIERARCHY if issubclass(it, CompletionError)]
LINE = re.compile(r"^([│├└─ ]*)(\w+)(?: +(.*))?$")


def drawn():
    """Return each drawn class with the path to it and what is said beside it."""
    tree, path = {}, []
    lines = inspect.getdoc(errors).split("\n\n")[1].splitlines()
    for indent, name, said in (LINE.fullmatch(line).groups() for line in lines):
        path = [*path[: len(indent) // 4], name]
        tree[name] = (tuple(path), said or "")
    return tree


def path_of(error):
    upwards = [it.__name__ for it in error.__mro__ if issubclass(it, GristmillError)]
    return tuple(reversed(upwards))


def test_the_drawn_tree_is_the_hierarchy():
    assert {name: path for name, (path, _) in drawn().items()} == {
        error.__name__: path_of(error) for error in HIERARCHY
    }


def test_exit_codes_are_as_drawn():
    for error in HIERARCHY:
        said = [drawn()[name][1] for name in path_of(error)]
        codes = [code for it in said for code in re.findall(r"exit (\d)", it)]
        assert str(error.exit_code) == (codes or ["1"])[-1], error


def test_outcomes_are_as_drawn():
    for error in OF_ROWS:
        first, colon, _ = drawn()[error.__name__][1].partition(":")
        assert not colon or error.outcome == first, error


def test_codes_are_unique_and_said_by_each_class_itself():
    codes = [error.__dict__["code"] for error in OF_ROWS]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch("[a-z_]+", code) for code in codes)


def test_what_is_asked_again_is_what_has_no_lasting_outcome():
    for error in OF_ROWS:
        assert error.retryable == (error.outcome in {"transient", "pending"}), error
        assert error.outcome in {"skipped", "permanent", "unparsable", "transient", "pending"}


@pytest.mark.parametrize("error", OF_ROWS)
def test_an_error_of_a_row_crosses_processes_whole(error):
    made = error("the message")
    made.raw = "what the model said"
    copy = pickle.loads(pickle.dumps(made))
    assert (type(copy), str(copy), vars(copy)) == (error, "the message", vars(made))


@pytest.mark.parametrize("error", OF_ROWS)
def test_an_error_tells_its_hint_where_it_has_one(error):
    told = error("the message").told
    assert told == (f"the message; {error.hint}" if error.hint else "the message")
