import os
import re
import subprocess
import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.sample import industries, phrases
from jobs.sample.facts import Period, region_facts, report_facts, segment_facts
from jobs.sample.figures import figures, segments
from jobs.sample.industries import INDUSTRIES
from jobs.sample.reports import Report, demo_rows, generate


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    return generate(200)


def words(text):
    return len(text.split())


def test_same_seed_gives_the_same_reports(reports):
    assert generate(20) == reports[:20]
    assert generate(20, seed=8) != reports[:20]


def test_same_reports_in_every_process(reports):
    code = "from jobs.sample.reports import generate; print([r.body for r in generate(8)])"
    env = {**os.environ, "PYTHONHASHSEED": "42"}
    there = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert there.stdout.strip() == str([report.body for report in reports[:8]]), there.stderr


def test_ids_are_unique_and_tell_period_and_place(reports):
    assert len({report.id for report in reports}) == len(reports)
    for i, report in enumerate(reports):
        assert re.fullmatch(rf"{report.period}-[a-z]+-{i:04d}", report.id)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), low=st.integers(150, 1700), more=st.integers(200, 2000))
def test_word_counts_lie_within_the_bounds(seed, low, more):
    for report in generate(8, seed, (low, low + more)):
        assert low <= words(report.body) <= low + more


def test_most_reports_are_short_and_a_few_are_long(reports):
    lengths = sorted(words(report.body) for report in reports)
    assert lengths[100] < 1000
    assert lengths[-1] > 1600


@pytest.mark.parametrize("bounds", [(100, 900), (300, 400), (2500, 3000)])
def test_bounds_that_cannot_be_met_are_refused(bounds):
    with pytest.raises(ValueError, match="words: expected"):
        generate(1, words=bounds)


def test_no_slot_or_choice_is_left_open(reports):
    for report in reports:
        assert not re.search(r"[{}|\[\]]|  ", report.title + report.body)


def test_every_slot_of_every_phrase_has_a_figure_in_some_report():
    known = {"company", "short", "segment_in_focus"}
    for seed in range(200):
        rng, industry = Random(seed), INDUSTRIES[seed % len(INDUSTRIES)]
        n = figures(rng, industry, seed % 5)
        known |= report_facts(rng, industry, Period(2024, seed % 5), n).keys()
        for facts in segment_facts(rng, industry, n) + region_facts(rng, n):
            known |= facts.keys()
    texts = [*vars(phrases).values(), *(industry.words for industry in INDUSTRIES)]
    slots = {s for text in texts if isinstance(text, str) for s in re.findall(r"\{(\w+)\}", text)}
    assert slots - {"slots"} <= known


def test_reports_open_with_result_driver_earnings_and_guidance(reports):
    for report in reports:
        lead = report.body.split("\n\n")[0]
        assert report.company in lead
        assert re.search(r"\$[\d,.]+ million", lead)
        assert re.search(r"owed chiefly|led by|driver|came from|caused|most of|larger|mainly", lead)
        assert re.search(r"\$[\d.,]+ per share", lead)
        assert re.search(r"for fiscal 20\d\d|to fiscal 20\d\d", lead, re.IGNORECASE)


def test_figures_and_sentences_differ_between_reports(reports):
    headlines = [re.search(r"\$[\d,.]+ million", report.body)[0] for report in reports]
    assert len(set(headlines)) > 190
    said = [set(re.split(r"(?<=\.)\s+", report.body)) for report in reports[:44]]
    for i, mine in enumerate(said):
        shared = max(len(mine & other) for other in said[:i] + said[i + 1 :])
        assert shared / len(mine) < 0.25


def test_a_report_does_not_say_the_same_twice(reports):
    for report in reports:
        sentences = [s for s in re.split(r"(?<=[a-z%]\.)\s+", report.body) if words(s) > 5]
        assert len(sentences) == len(set(sentences))


@pytest.mark.parametrize("seed", range(60))
def test_figures_follow_from_each_other(seed):
    rng, industry = Random(seed), INDUSTRIES[seed % len(INDUSTRIES)]
    n = figures(rng, industry, seed % 5)
    parts = segments(rng, n, 4)
    for when in ("", "_prior"):
        assert n[f"revenue{when}"] - n[f"cost{when}"] == pytest.approx(n[f"gross{when}"])
        assert n[f"gross{when}"] - n[f"opex{when}"] == pytest.approx(n[f"operating{when}"])
        assert n[f"operating{when}"] - n[f"interest{when}"] == pytest.approx(n[f"pretax{when}"])
        assert n[f"pretax{when}"] - n[f"tax{when}"] == pytest.approx(n[f"net{when}"])
        assert sum(part[f"revenue{when}"] for part in parts) == pytest.approx(n[f"revenue{when}"])
        assert n[f"ocf{when}"] - n[f"capex{when}"] == pytest.approx(n[f"fcf{when}"])
    assert n["eps"] == round(n["net"] / n["shares"], 2)
    flows = n["fcf"] - n["dividends"] - n["buyback"] + n["debt_change"]
    assert n["cash_start"] + flows == pytest.approx(n["cash"])
    assert n["cash"] > 0
    assert n["debt"] - n["cash"] == pytest.approx(n["net_debt"])
    assert n["guide_low"] < n["guide_high"]


def test_growth_in_the_text_is_that_of_the_printed_amounts(reports):
    pattern = r"of \$([\d,.]+) million[^.$]*?, (up|down) ([\d.]+)% from \$([\d,.]+) million"
    found = 0
    for report in reports:
        for now, way, change, before in re.findall(pattern, report.body):
            growth = (float(now.replace(",", "")) / float(before.replace(",", "")) - 1) * 100
            assert growth * (1 if way == "up" else -1) == pytest.approx(float(change), abs=0.051)
            found += 1
    assert found > 50


def test_guidance_moves_the_way_the_report_says(reports):
    pattern = r"\$([\d,]+) million to \$[\d,]+ million[^.]*?(up from|down from) \$([\d,]+) million"
    moves = [m for report in reports for m in re.findall(pattern, report.body)]
    assert {way for _, way, _ in moves} == {"up from", "down from"}
    for now, way, before in moves:
        assert (int(now.replace(",", "")) > int(before.replace(",", ""))) == (way == "up from")


def test_demo_has_fifty_rows_with_copies_a_null_and_an_empty_body():
    rows = demo_rows()
    bodies = [row["body"] for row in rows if row["body"]]
    assert len(rows) == len({row["id"] for row in rows}) == 50
    assert all(row.keys() == {"id", "company", "period", "body"} for row in rows)
    assert (len(bodies), len(set(bodies))) == (48, 44)
    assert [row["body"] for row in rows].count(None) == 1
    assert [row["body"] for row in rows].count("") == 1
    assert demo_rows() == rows


def test_every_industry_has_words_of_each_kind():
    for industry in industries.INDUSTRIES:
        for kind in ("segment", "up", "down", "margin_up", "margin_down", "point", "risk"):
            assert len(industry.lines(kind)) >= 2, (industry.suffixes, kind)
        assert all(line.count(" / ") == 2 for line in industry.lines("segment"))


def test_of_a_quarter_with_next_to_no_expenses_a_report_is_written_too():
    """This one's gross and operating profit were the same, rounded: the change was out of 0."""
    *_, report = generate(1434, seed=13, words=(400, 900))
    assert 400 <= words(report.body) <= 900
