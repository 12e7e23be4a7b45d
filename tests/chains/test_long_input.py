import math
import random
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.errors import ContextLengthExceeded
from chains.long_input import split, truncate

prose = st.text(st.sampled_from("ab. !?\n\u00e9\u4e16")) | st.text()
limits = st.integers(1, 40)
sentences = st.integers(2, 20).map(lambda words: " ".join(["some"] * words) + ".")
paragraphs = st.lists(sentences, min_size=1, max_size=9).map(" ".join)
ordinary = st.lists(paragraphs, min_size=1, max_size=50).map("\n\n".join)
short_words = st.lists(st.text("abc", min_size=1, max_size=5), min_size=40).map(" ".join)


class Excess:
    """Length over a limit, in characters and after `overhead` of them; counts its calls."""

    def __init__(self, limit, overhead=0):
        self.limit, self.overhead, self.calls = limit, overhead, 0

    def __call__(self, text):
        self.calls += 1
        return (len(text) + self.overhead) / self.limit


class Erratic(Excess):
    """An excess that follows no rule, but the same for the same text."""

    def __call__(self, text):
        self.calls += 1
        choices = [0.0, 0.5, 1.0, 1.0 + 1e-9, 1.5, 7.0, 1e300, math.inf]
        return random.Random(f"{self.limit}{text!r}").choice(choices)


# -- split


@given(prose, limits, st.integers(0, 9))
def test_parts_joined_are_the_text_and_each_fits(text, limit, overhead):
    excess = Excess(limit + overhead, overhead)
    parts = split(text, excess)
    assert "".join(parts) == text
    assert all(excess(part) <= 1 for part in parts)
    assert all(parts) or text == ""


@given(prose)
def test_a_text_that_fits_stays_whole(text):
    excess = Excess(max(len(text), 1))
    assert split(text, excess) == [text]
    assert excess.calls == 1


@given(st.text(min_size=1) | ordinary, limits)
def test_there_are_few_more_parts_than_needed(text, limit):
    assert len(split(text, Excess(limit))) <= 1.15 * math.ceil(len(text) / limit) + 1


@given(ordinary, st.integers(200, 2_000), st.integers(0, 100))
def test_the_length_of_the_prompt_itself_makes_few_parts_more(text, limit, overhead):
    excess = Excess(limit + overhead, overhead)
    parts = split(text, excess)
    assert len(parts) <= 1.15 * math.ceil(len(text) / limit) + 1
    assert excess.calls <= 2 + 5 * len(parts)


@given(st.lists(ordinary, min_size=2, max_size=4), st.integers(200, 2_000))
def test_a_text_that_is_dense_in_places_makes_few_parts_more(texts, limit):
    """Digits weigh four times as much as letters; texts of both kinds follow each other."""
    dense = [re.sub(r"\w", "1", text) if i % 2 else text for i, text in enumerate(texts)]

    def excess(text):
        return (len(text) + 3 * text.count("1")) / limit

    parts = split("".join(dense), excess)
    assert all(excess(part) <= 1 for part in parts)
    assert len(parts) <= 1.25 * math.ceil(excess("".join(dense))) + 2


@given(limits, st.integers(1, 9))
def test_a_text_without_breaks_is_cut_into_as_many_parts_as_it_needs(limit, pieces):
    assert split("x" * limit * pieces, Excess(limit)) == ["x" * limit] * pieces


@given(short_words, st.integers(60, 90))
def test_no_short_word_is_broken(text, limit):
    parts = split(text, Excess(limit))
    assert len(parts) > 1
    assert [word for part in parts for word in part.split()] == text.split()


@given(st.lists(st.sampled_from(["Rain fell.", "Did it?", "Yes!"]), min_size=40, max_size=80))
def test_breaks_are_between_sentences_where_there_are_some(sentences):
    parts = split(" ".join(sentences), Excess(120))
    assert len(parts) > 1
    assert all(part.rstrip()[-1] in ".?!" for part in parts)


@given(st.lists(st.integers(2, 4), min_size=30, max_size=60))
def test_breaks_are_between_paragraphs_where_there_are_some(sizes):
    paragraphs = [" ".join(["Rain fell."] * size) for size in sizes]
    parts = split("\n\n".join(paragraphs), Excess(400))
    assert len(parts) > 1
    assert all(before.endswith("\n\n") for before, _ in pairwise(parts))


@pytest.mark.parametrize("function", [split, truncate])
@pytest.mark.parametrize("excess", [Excess(5, overhead=5), Excess(1, overhead=10**9)])
def test_a_prompt_that_is_too_long_by_itself_is_an_error(function, excess):
    with pytest.raises(ContextLengthExceeded, match="even without its input"):
        function("x" * 5_000, excess)
    assert excess.calls < 50


@pytest.mark.parametrize("function", [split, truncate])
def test_a_window_without_any_room_is_an_error(function):
    with pytest.raises(ContextLengthExceeded):
        function("some text", lambda text: math.inf)


@given(prose, st.integers())
def test_splitting_ends_whatever_the_excess_says(text, seed):
    excess = Erratic(seed)
    try:
        parts = split(text, excess)
    except ContextLengthExceeded:
        parts = None
    assert excess.calls <= 10 * len(text) + 2
    if parts is not None:
        assert "".join(parts) == text
        assert all(excess(part) <= 1 for part in parts)


# -- truncate


@given(st.text(min_size=1), limits, st.integers(0, 9))
def test_truncate_returns_the_longest_beginning_that_fits(text, limit, overhead):
    assert truncate(text, Excess(limit + overhead, overhead)) == text[:limit]


@given(st.text(min_size=1), st.integers())
def test_truncating_ends_whatever_the_excess_says(text, seed):
    excess = Erratic(seed)
    try:
        kept = truncate(text, excess)
    except ContextLengthExceeded:
        kept = None
    assert excess.calls <= math.log2(len(text)) + 2
    if kept is not None:
        assert kept
        assert text.startswith(kept)
        assert excess(kept) <= 1


def test_a_giant_document_is_truncated_in_few_steps():
    excess = Excess(1_000)
    assert truncate("x" * 2_000_000, excess) == "x" * 1_000
    assert excess.calls <= 22
