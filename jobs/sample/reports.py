"""Invented financial reports for the demo and the benchmarks: every figure fits the others."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import log
from random import Random
from typing import Literal

from jobs.sample import phrases
from jobs.sample.facts import Facts, Period, region_facts, report_facts, segment_facts
from jobs.sample.figures import Figures, figures
from jobs.sample.industries import INDUSTRIES, Industry

SHORTEST, LONGEST = 150, 1700  # what `words` may ask for as the least; all reports can say as much
MUST = 4  # the first points of the lead: headline, driver, result per share, guidance


@dataclass(frozen=True)
class Report:
    """One invented report; `period` is like 2025-Q3 or 2025-FY, `body` is text in paragraphs."""

    id: str
    company: str
    period: str
    title: str
    body: str


@dataclass(frozen=True)
class Section:
    """A heading (none for the lead), points to make, and how early a short report takes it up.

    The points are made once about each of `about`; `own` is what the industry adds.
    """

    heading: str
    points: str
    turn: float
    about: Literal["report", "segments", "regions"] = "report"
    own: Literal["", "point", "risk"] = ""


SECTIONS = (
    Section("", phrases.LEAD, 0.0),
    Section("[Results of operations|Operating results|Results]", phrases.RESULTS, 0.0),
    Section("[Segments|Results by segment]", phrases.SEGMENTS, 0.5, about="segments"),
    Section("[Regions|Results by region]", phrases.REGIONS, 5.0, about="regions"),
    Section("[Operations|Business review|Operating highlights]", "", 1.0, own="point"),
    Section("{cash_heading}", phrases.CASH, 1.5),
    Section("[Balance sheet|Financial position|Balance sheet and equity]", phrases.BALANCE, 2.5),
    Section("[Outlook|Guidance|Outlook for {guide_year}]", phrases.OUTLOOK, 0.0),
    Section("[Questions from the call|Conference call]", phrases.CALL, 4.5),
    Section("[Risks|Risks and uncertainties]", phrases.RISKS, 2.0, own="risk"),
    Section("[Governance|Corporate governance|Board and governance]", phrases.GOVERNANCE, 4.0),
    Section("[People and environment|Workforce and environment]", phrases.PEOPLE, 4.0),
    Section("[Notes|Accounting notes]", phrases.NOTES, 5.5),
)


Said = tuple[tuple[int, int], str]


@dataclass(frozen=True)
class Sentence:
    """What a report may say: where (section, then part and point), in which turn, which words."""

    section: int
    place: tuple[int, int]
    turn: float
    text: str


def generate(count: int, seed: int = 7, words: tuple[int, int] = (300, 3000)) -> list[Report]:
    """Invent `count` reports; each is fixed by `seed`, `words` and its place in the list.

    The number of words of a body lies within `words`, log-normally: most are short or middling.
    The longest have some 2,300 words, when there is nothing left to say.
    Raises ValueError for bounds that are closer than 200 words, or beyond what there is to say.
    """
    low, high = words
    if not SHORTEST <= low <= LONGEST or high - low < 200:
        expected = f"({SHORTEST} to {LONGEST}, at least 200 more)"
        raise ValueError(f"words: expected {expected}, found {words!r}")
    return [_report(index, seed, words) for index in range(count)]


def demo_rows(seed: int = 7) -> list[dict[str, str | None]]:
    """Return the demo's 50 rows (id, company, period, body).

    44 reports, 4 copies of bodies under ids of their own, one null body and one empty body.
    """
    reports = generate(46, seed)
    rows = [_row(report) for report in reports[:44]]
    copies = [{**rows[i], "id": f"{rows[i]['id']}-copy"} for i in (3, 11, 22, 37)]
    late, blank = (_row(report) for report in reports[44:])
    return [*rows, *copies, {**late, "body": None}, {**blank, "body": ""}]


def _row(report: Report) -> dict[str, str | None]:
    return {name: getattr(report, name) for name in ("id", "company", "period", "body")}


def _report(index: int, seed: int, words: tuple[int, int]) -> Report:
    rng = Random(f"{seed}/{index}")  # noqa: S311  # invents prose, guards nothing
    industry = INDUSTRIES[index % len(INDUSTRIES)]
    stem = _stems(seed)[index % len(_stems(seed))]
    period = Period(rng.randint(2022, 2025), rng.randint(0, 4))
    n = figures(rng, industry, period.quarter)
    facts = report_facts(rng, industry, period, n)
    facts |= {"company": f"{stem.title()} {rng.choice(industry.suffixes)}", "short": stem.title()}
    sentences = [
        sentence
        for i, said in enumerate(_said(rng, industry, facts, n))
        for sentence in _in_turn(rng, i, said)
    ]
    titles = list(_wordings(rng, _points(phrases.TITLES), facts))
    return Report(
        id=f"{period.code}-{stem}-{index:04d}",
        company=str(facts["company"]),
        period=period.code,
        title=_say(rng, rng.choice(titles)[1], facts),
        body=_body(rng, sentences, facts, words),
    )


@cache
def _stems(seed: int) -> list[str]:
    stems = phrases.STEMS.split()
    return Random(seed).sample(stems, len(stems))  # noqa: S311


def _said(rng: Random, industry: Industry, facts: Facts, n: Figures) -> Iterator[list[Said]]:
    """Yield all that each section may say, as (part and point, text)."""
    segments = segment_facts(rng, industry, n)
    facts["segment_in_focus"] = rng.choice(segments)["segment"]
    about: dict[str, list[Facts]] = {
        "report": [{}],
        "segments": segments,
        "regions": region_facts(rng, n),
    }
    for section in SECTIONS:
        points = _points(section.points) + [[point] for point in industry.lines(section.own)]
        yield [
            ((part, i), _say(rng, wording, facts | more))
            for part, more in enumerate(about[section.about])
            for i, wording in _wordings(rng, points, facts | more)
        ]


def _in_turn(rng: Random, section: int, said: list[Said]) -> Iterator[Sentence]:
    """Shuffle a section's sentences; it opens with two of them, and all sections fill up evenly."""
    rng.shuffle(said)
    if SECTIONS[section].about != "report":
        said.sort(key=lambda item: item[0][1] > 0)  # what each brought in before its details
    opens = SECTIONS[section].turn + rng.random() * 2
    for i, (place, text) in enumerate(said):
        must = section == 0 and place[1] < MUST
        yield Sentence(section, place, -1 if must else opens + max(i - 1, 0) * 8 / len(said), text)


def _body(rng: Random, sentences: list[Sentence], facts: Facts, words: tuple[int, int]) -> str:
    headings = [_say(rng, section.heading, facts) for section in SECTIONS]
    room = _length(rng, *words)
    chosen: list[Sentence] = []
    for sentence in sorted(sentences, key=lambda s: s.turn):
        new = all(s.section != sentence.section for s in chosen)
        cost = len(sentence.text.split()) + (len(headings[sentence.section].split()) if new else 0)
        if cost <= room:
            chosen.append(sentence)
            room -= cost
    chosen.sort(key=lambda s: (s.section, s.place))
    return "\n\n".join(_paragraphs(rng, chosen, headings))


def _length(rng: Random, low: int, high: int) -> int:
    """Draw a number of words, log-normal and within the bounds.

    It stays above the lower one by what a body may fall short of it: the last sentence that did
    not fit, and sections of one sentence, which are left out.
    """
    middle, spread = 0.6 * log(low) + 0.4 * log(high), log(high / low) / 4
    while not low + 90 <= (length := round(rng.lognormvariate(middle, spread))) <= high:
        pass
    return length


def _paragraphs(rng: Random, chosen: list[Sentence], headings: list[str]) -> Iterator[str]:
    for i, heading in enumerate(headings):
        said = [sentence.text for sentence in chosen if sentence.section == i]
        if len(said) < 2:
            continue
        if heading:
            yield heading
        while said:
            size = len(said) if len(said) < 6 else rng.randint(3, 5)
            yield " ".join(said[:size])
            said = said[size:]


def _wordings(rng: Random, points: list[list[str]], facts: Facts) -> Iterator[tuple[int, str]]:
    """Yield the number and one wording of each point that the report has the figures for."""
    for i, point in enumerate(points):
        fits = [w for w in point if facts.keys() >= set(re.findall(r"\{(\w+)\}", w))]
        if fits:
            yield i, rng.choice(fits)


def _say(rng: Random, wording: str, facts: Facts) -> str:
    """Fill a wording's {slots}, then settle its [choices]."""

    def fill(slot: re.Match[str]) -> str:
        value = facts[slot[1]]
        return value() if callable(value) else value

    text = re.sub(r"\{(\w+)\}", fill, wording)
    text = re.sub(r"\[([^\[\]]*)\]", lambda choice: rng.choice(choice[1].split("|")).strip(), text)
    return text[:1].upper() + text[1:]


@cache
def _points(text: str) -> list[list[str]]:
    """Read a section's text: its points, each a list of wordings on one line."""
    blocks = [re.split(r"^- ", block, flags=re.MULTILINE) for block in text.split("\n\n")]
    return [[" ".join(w.split()) for w in block if w.strip()] for block in blocks if block[1:]]
