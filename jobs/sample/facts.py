"""From figures to words: the {slots} that the phrases of a report may use."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from jobs.sample import phrases
from jobs.sample.figures import Figures, segments
from jobs.sample.industries import Industry

Facts = dict[str, str | Callable[[], str]]  # a callable is asked again at each use

_QUARTERS = ("first", "second", "third", "fourth")
_ENDS = ("December 31", "March 31", "June 30", "September 30", "December 31")


@dataclass(frozen=True)
class Period:
    """A fiscal quarter, 1 to 4, or the fiscal year, 0."""

    year: int
    quarter: int

    @property
    def code(self) -> str:
        """The form of ids and columns: 2025-Q3, 2025-FY."""
        return f"{self.year}-{f'Q{self.quarter}' if self.quarter else 'FY'}"

    def words(self) -> Facts:
        """Return the slots that depend on nothing but the period."""
        next_year, next_quarter = self.year + self.quarter // 4, self.quarter % 4
        opens = self.year + 1 if next_quarter == 0 else next_year
        coming = f"the {_QUARTERS[next_quarter]} quarter of {opens}"
        return {
            "period_name": _name(self.year, self.quarter),
            "year_ago": _name(self.year - 1, self.quarter),
            "span": "quarter" if self.quarter else "year",
            "end_date": f"{_ENDS[self.quarter]}, {self.year}",
            "next_period": coming,
            "guide_year": f"fiscal {self.year if 0 < self.quarter < 4 else self.year + 1}",
        }


def _name(year: int, quarter: int) -> str:
    return f"the {_QUARTERS[quarter - 1]} quarter of {year}" if quarter else f"fiscal year {year}"


def report_facts(rng: Random, industry: Industry, period: Period, n: Figures) -> Facts:
    """Return the slots of a whole report; what does not apply to it has no slot."""
    facts = period.words() | _industry_words(industry) | _causes(rng, industry, n)
    facts |= _income(n) | _volume(industry, n) | _guidance(rng, period, n)
    facts |= _corporate(rng, n) if industry.kind == "corporate" else _bank(rng, n)
    facts |= _payouts(n) | _small_print(rng, period, n) | _people(rng, n)
    return facts | _key_figures(rng, industry)


def segment_facts(rng: Random, industry: Industry, n: Figures) -> list[Facts]:
    """Return the slots of three to five segments."""
    lines = rng.sample(industry.lines("segment"), rng.randint(3, 5))
    parts = segments(rng, n, len(lines))
    return [_segment(rng, industry, n, *pair) for pair in zip(parts, lines, strict=True)]


def _segment(rng: Random, industry: Industry, n: Figures, part: Figures, line: str) -> Facts:
    name, lifts, hurts = line.split(" / ")
    grew = part["revenue"] > part["revenue_prior"]
    margin, before = (part[f"result{w}"] / part[f"revenue{w}"] for w in ("", "_prior"))
    share, share_prior = (part[f"revenue{w}"] / n[f"revenue{w}"] for w in ("", "_prior"))
    capex = part["revenue"] * rng.uniform(*industry.capex)
    return {
        "segment": name,
        "seg_cause": lifts if grew else hurts,
        "when_seg_up" if grew else "when_seg_down": "",
        "seg_revenue": money(part["revenue"]),
        "seg_prior": money(part["revenue_prior"]),
        "seg_moved": moved(part["revenue"], part["revenue_prior"]),
        "seg_versus": versus(part["revenue"], part["revenue_prior"]),
        "seg_result": result(part["result"], "a segment profit of", "a segment loss of"),
        "seg_margin": percent(margin),
        "seg_margin_prior": percent(before),
        "seg_margin_moved": margin_moved(margin, before),
        "seg_share": percent(share),
        "seg_share_prior": percent(share_prior),
        "seg_capex": money(capex),
        "seg_staff": f"{n['staff'] * share:,.0f}",
        "seg_sites": str(rng.randint(3, 48)),
    }


def region_facts(rng: Random, n: Figures) -> list[Facts]:
    """Return the slots of three to four regions, whose shares of revenue add up to 100%."""
    names = rng.sample(_REGIONS, rng.randint(3, 4))
    weights = [rng.uniform(0.4, 1.6) for _ in names]
    change = n["revenue"] / n["revenue_prior"] - 1
    helps, hurts = rng.sample(_HELPS, len(names)), rng.sample(_HURTS, len(names))
    return [
        {
            "region": name,
            "reg_share": percent(weight / sum(weights)),
            "reg_revenue": money(n["revenue"] * weight / sum(weights)),
            "reg_change": percent(change + rng.uniform(-0.02, 0.02)),
            "reg_help": help_,
            "reg_hurt": hurt,
        }
        for name, weight, help_, hurt in zip(names, weights, helps, hurts, strict=True)
    ]


_REGIONS = ("the Northeast", "the Midwest", "the South", "the West Coast", "Canada")
_HELPS = ("a firm labor market", "population growth", "public investment", "new contracts")
_HURTS = (
    "high interest rates",
    "a slow construction market",
    "storms in the first weeks",
    "strikes",
)


def money(millions: float) -> str:
    """Return an amount as reports write it: $1,240.5 million."""
    return f"${millions:,.1f} million"


def percent(ratio: float) -> str:
    """Return a ratio as 12.3%."""
    return f"{ratio * 100:.1f}%"


def moved(now: float, before: float) -> str:
    """Return the verb and the size of a change: rose 6.2%."""
    change = round((now / before - 1) * 100, 1)
    if change == 0:
        return "held steady and came"
    return f"[{'rose|increased|grew' if change > 0 else 'fell|declined|decreased'}] {abs(change)}%"


def versus(now: float, before: float) -> str:
    """Return the way from an earlier amount: up 6.2% from."""
    change = round((now / before - 1) * 100, 1)
    if change == 0:
        return "level with"
    return f"{'up' if change > 0 else 'down'} {abs(change)}% from"


def margin_moved(now: float, before: float) -> str:
    """Return a change in basis points, of margins rounded as they are printed."""
    points = round(round(now * 100, 1) * 10 - round(before * 100, 1) * 10) * 10
    if points == 0:
        return f"held at {percent(now)}"
    verb = "widened|improved|rose" if points > 0 else "narrowed|slipped|fell"
    return f"[{verb}] by {abs(points):,} basis points to {percent(now)}"


def result(amount: float, gain: str, loss: str) -> str:
    """Return profit or loss as a noun phrase with its amount."""
    return f"{gain} {money(amount)}" if amount >= 0 else f"{loss} {money(-amount)}"


def per_share(eps: float) -> str:
    """Return earnings or a loss per share as a noun phrase."""
    return f"earnings of ${eps:,.2f} per share" if eps >= 0 else f"a loss of ${-eps:,.2f} per share"


def _industry_words(industry: Industry) -> Facts:
    return {
        "revenue_word": industry.revenue,
        "cost_word": industry.cost,
        "gross_word": industry.gross_name,
        "opex_word": industry.opex,
        "price_word": industry.price_word,
        "cash_heading": "Capital and payouts" if industry.kind == "bank" else "Cash flow",
        f"when_{industry.kind}": "",
    }


def _causes(rng: Random, industry: Industry, n: Figures) -> Facts:
    ups, downs = (rng.sample(industry.lines(kind), 2) for kind in ("up", "down"))
    grew = n["revenue"] > n["revenue_prior"]
    wider = n["gross"] / n["revenue"] >= n["gross_prior"] / n["revenue_prior"]
    return {
        "cause": ups[0] if grew else downs[0],
        "counter": downs[0] if grew else ups[0],
        "upside": ups[1],
        "downside": downs[1],
        "margin_cause": rng.choice(industry.lines("margin_up" if wider else "margin_down")),
        "when_up" if grew else "when_down": "",
        "risk_word": rng.choice(("demand", "trade policy", "the path of interest rates")),
    }


def _income(n: Figures) -> Facts:
    facts: Facts = {f"{name}{w}": money(n[f"{name}{w}"]) for name in _LINES for w in ("", "_prior")}
    for when in ("", "_prior"):
        operating, net = n[f"operating{when}"], n[f"net{when}"]
        facts[f"operating{when}"] = result(operating, "operating income of", "an operating loss of")
        facts[f"net{when}"] = result(net, "net income of", "a net loss of")
        facts[f"eps{when}"] = per_share(n[f"eps{when}"])
        facts[f"gross_margin{when}"] = percent(n[f"gross{when}"] / n[f"revenue{when}"])
    for name, line in (("gross_margin", "gross"), ("op_margin", "operating")):
        now, before = (n[f"{line}{w}"] / n[f"revenue{w}"] for w in ("", "_prior"))
        facts[f"{name}_moved"] = margin_moved(now, before)
    return facts | {
        "revenue_moved": moved(n["revenue"], n["revenue_prior"]),
        "revenue_versus": versus(n["revenue"], n["revenue_prior"]),
        "revenue_delta": money(abs(n["revenue"] - n["revenue_prior"])),
        "opex_moved": moved(n["opex"], n["opex_prior"]),
        "opex_share": percent(n["opex"] / n["revenue"]),
        "corporate": money(n["corporate"]),
        "shares": f"{n['shares']:,.1f}",
    }


_LINES = ("revenue", "cost", "gross", "opex")


def _volume(industry: Industry, n: Figures) -> Facts:
    facts: Facts = {}
    for name, form in (("volume", industry.volume_form), ("price", industry.price_form)):
        now, before = n[name], n[f"{name}_prior"]
        facts |= {name: form.format(now), f"{name}_prior": form.format(before)}
        facts |= {f"{name}_moved": moved(now, before), f"{name}_versus": versus(now, before)}
    return facts


def _guidance(rng: Random, period: Period, n: Figures) -> Facts:
    facts: Facts = {name: f"${n[name]:,.0f} million" for name in _GUIDED}
    facts |= {f"guide_growth_{e}": percent(n[f"guide_{e}"] / n["base_year"] - 1) for e in _ENDS_OF}
    facts |= {name: money(n[name]) for name in ("ytd", "year_before", "base_year")}
    facts |= {f"when_{_status(period, n)}": "", "guide_margin": percent(n["guide_margin"])}
    if period.quarter > 1:
        facts["when_fourth" if period.quarter == 4 else "when_quarter"] = ""
    target = rng.randint(3, 7)
    margin = max(n["guide_margin"], 0.03)
    return facts | {
        "guide_tax": f"{n['guide_tax']:.0%}",
        "guide_eps": _eps_range(n["guide_eps_low"], n["guide_eps_high"]),
        "target_growth": f"{target} to {target + 2} percent",
        "target_margin": f"{margin * 100 + rng.randint(1, 3):.0f} percent",
    }


_ENDS_OF = ("low", "high")
_GUIDED = ("guide_low", "guide_high", "old_low", "old_high", "next_revenue")


def _status(period: Period, n: Figures) -> str:
    """Say what happened to the guidance; strong and weak periods move it."""
    growth = n["revenue"] / n["revenue_prior"] - 1
    if period.quarter in (0, 4):
        return "new"
    return "raised" if growth > 0.055 else "lowered" if growth < -0.012 else "kept"


def _eps_range(low: float, high: float) -> str:
    if low >= 0:
        return f"earnings of ${low:,.2f} to ${high:,.2f} per share"
    if high <= 0:
        return f"a loss of ${-high:,.2f} to ${-low:,.2f} per share"
    return f"a result between a loss of ${-low:,.2f} and earnings of ${high:,.2f} per share"


def _corporate(rng: Random, n: Figures) -> Facts:
    """Return cash flow and financing, which banks tell in another way."""
    facts: Facts = {name: money(n[name]) for name in _FLOWS}
    facts |= {
        name: result(n[name], "free cash flow of", "a free cash outflow of")
        for name in ("fcf", "fcf_prior")
    }
    for name in ("ocf", "ocf_prior"):
        if n[name] >= 0:
            facts[name] = money(n[name])
    facts["when_wc_out" if n["working_capital"] >= 0 else "when_wc_in"] = ""
    facts["working_capital"] = money(abs(n["working_capital"]))
    facts["when_borrowed" if n["debt_change"] >= 0 else "when_repaid"] = ""
    facts["debt_change"] = money(abs(n["debt_change"]))
    if n["pretax"] > 0:
        facts |= {"interest": money(n["interest"]), **_taxes(n)}
    else:
        facts |= {"interest": money(n["interest"]), "when_loss": ""}
    return facts | _financing(rng, n)


_FLOWS = ("depreciation", "stock_pay", "capex", "cash_start", "cash", "debt", "ebitda")


def _taxes(n: Figures) -> Facts:
    paid = money(n["tax"])
    return {"tax": paid, "tax_rate": percent(n["tax"] / n["pretax"])}


def _financing(rng: Random, n: Figures) -> Facts:
    annual = n["revenue"] * n["parts"]
    facts: Facts = {
        "capex_share": percent(n["capex"] / n["revenue"]),
        "guide_capex": f"about ${n['capex'] * n['parts'] * rng.uniform(0.92, 1.08):,.0f} million",
        "net_debt": result(n["net_debt"], "net debt of", "net cash of"),
        "facility": f"${round(annual * rng.uniform(0.08, 0.2), -1):,.0f} million",
        "fixed_share": f"{rng.randint(55, 88)}%",
        "rate_cost": money(n["debt"] * rng.uniform(0.001, 0.004)),
        "receivable_days": str(rng.randint(24, 68)),
        "payable_days": str(rng.randint(28, 61)),
        "backlog": money(annual * rng.uniform(0.33, 0.5)),
    }
    if n["net_debt"] > 0 and n["ebitda"] > 0:
        leverage = n["net_debt"] / n["ebitda"]
        facts |= {"leverage": f"{leverage:.1f}", "covenant": f"{leverage // 0.5 * 0.5 + 1.5:.1f}"}
    return facts


def _bank(rng: Random, n: Figures) -> Facts:
    deposits = n["volume"] * rng.uniform(0.8, 0.9)
    loans = deposits * rng.uniform(0.72, 0.94)
    return {
        "bank_assets": money(n["volume"]),
        "deposits": money(deposits),
        "loans": money(loans),
        "loan_ratio": percent(loans / deposits),
        "coverage": f"{rng.randint(112, 158)} percent",
        "rate_cost": money(n["revenue"] * n["parts"] * rng.uniform(0.01, 0.03)),
        **(_taxes(n) if n["pretax"] > 0 else {"when_loss": ""}),
    }


def _payouts(n: Figures) -> Facts:
    facts: Facts = {}
    if n["dividends"]:
        facts |= {"dps": f"${n['dps']:,.2f}", "dividends": money(n["dividends"])}
    else:
        facts["when_no_dividend"] = ""
    if n["buyback"]:
        facts |= {"buyback": money(n["buyback"]), "shares_bought": f"{n['shares_bought']:,.2f}"}
        facts["buy_price"] = f"${n['buy_price']:,.2f}"
        facts["buy_left"] = money(n["buyback"] * 3.5)
    return facts | {
        "equity": money(n["equity"]),
        "book_value": f"${n['equity'] / n['shares']:,.2f}",
    }


def _small_print(rng: Random, period: Period, n: Figures) -> Facts:
    """Return the figures of risks and governance; the callables differ at each use."""
    annual = n["revenue"] * n["parts"]
    first = rng.choice((5, 6, 7))
    savings = annual * rng.uniform(0.01, 0.025)
    return {
        "small_share": lambda: percent(rng.uniform(0.02, 0.14)),
        "middle_share": lambda: percent(rng.uniform(0.15, 0.36)),
        "large_share": lambda: percent(rng.uniform(0.38, 0.86)),
        "rule_cost": lambda: money(annual * rng.uniform(0.002, 0.006)),
        "claim": lambda: money(annual * rng.uniform(0.006, 0.02)),
        "provision": money(annual * rng.uniform(0.001, 0.004)),
        "risk_cost": money(annual * rng.uniform(0.004, 0.012)),
        "currency_cost": money(annual * rng.uniform(0.01, 0.04)),
        "savings": money(savings),
        "savings_done": money(savings * rng.uniform(0.2, 0.8)),
        "leases": money(annual * rng.uniform(0.04, 0.16)),
        "top_ten": f"{rng.randint(14, 38)}%",
        "top_one": f"{rng.randint(3, 9)}%",
        "hedged": f"{rng.randint(50, 85)}%",
        "labor_share": f"{rng.randint(8, 35)}%",
        "allowance": f"{rng.uniform(1.0, 4.0):.1f}%",
        "headroom": f"{rng.randint(12, 60)}%",
        "pension": f"{rng.randint(84, 109)}%",
        "term": f"{rng.uniform(2.4, 6.5):.1f}",
        "maturity": str(period.year + rng.randint(2, 5)),
        "audit_years": f"the years {period.year - first} to {period.year - first + 2}",
    }


def _people(rng: Random, n: Figures) -> Facts:
    facts: Facts = {"staff": f"{n['staff']:,.0f}", "staff_prior": f"{n['staff_prior']:,.0f}"}
    names = [f"{rng.choice(phrases.FIRST.split())} {last}" for last in _last_names(rng)]
    facts |= dict(zip(("ceo", "cfo", "chair", "director", "leaver"), names, strict=True))
    for name, low, high, form in _RATES:
        facts |= _rate(rng, name, low, high, (high - low) / 6, form)
    size = rng.randint(8, 13)
    return facts | {
        "board_size": str(size),
        "independent": str(size - rng.randint(1, 3)),
        "years_served": str(rng.randint(4, 15)),
        "meetings": str(rng.randint(2, 9)),
        "bonus": f"{rng.randint(40, 140)}%",
        "renewables": f"{rng.randint(22, 95)}%",
        "survey": f"{rng.randint(61, 88)}%",
        "trained": f"{n['staff'] * rng.uniform(0.05, 0.4):,.0f}",
    }


_RATES = (
    ("turnover", 6.5, 19.0, "{:.1f}%"),
    ("injuries", 0.4, 2.6, "{:.2f}"),
    ("emissions", 12.0, 460.0, "{:,.1f}"),
)


def _last_names(rng: Random) -> list[str]:
    return rng.sample(phrases.LAST.split(), 5)


def _key_figures(rng: Random, industry: Industry) -> Facts:
    return _rate(rng, "k1", *industry.k1) | _rate(rng, "k2", *industry.k2)


def _rate(rng: Random, name: str, low: float, high: float, change: float, form: str) -> Facts:
    """Draw a figure and the one of a year ago, and say which way it went."""
    now = rng.uniform(low, high)
    text, before = form.format(now), form.format(max(now - rng.uniform(-change, change), low / 2))
    rose = _number(text) - _number(before)
    way = "unchanged from" if rose == 0 else "up from" if rose > 0 else "down from"
    return {name: text, f"{name}_from": f"{way} {before}"}


def _number(text: str) -> float:
    return float("".join(c for c in text if c.isdigit() or c == "."))
