"""The figures of one invented report: money in millions of dollars, derived from each other."""

from math import exp, log
from random import Random

from jobs.sample.industries import Industry, Range

Figures = dict[str, float]

# tone: chance, growth, change of the operating margin
TONES: dict[str, tuple[float, Range, Range]] = {
    "strong": (0.40, (0.055, 0.155), (0.004, 0.022)),
    "steady": (0.33, (-0.015, 0.055), (-0.006, 0.006)),
    "weak": (0.27, (-0.13, -0.012), (-0.028, -0.004)),
}


def figures(rng: Random, industry: Industry, quarter: int) -> Figures:
    """Draw one period's figures; `quarter` is 1 to 4, or 0 for a whole year.

    `_prior` is the same period a year earlier. Amounts are rounded to 0.1 million before others
    are derived from them, so that a reader who recomputes a total or a ratio finds the same.
    """
    parts = 4 if quarter else 1
    n = _operations(rng, industry, parts)
    n |= _bottom_line(rng, industry, n)
    n |= _cash_flow(rng, industry, n)
    n |= _balance(rng, industry, n)
    n |= _volume(rng, industry, n)
    return n | _guidance(rng, n, quarter)


def segments(rng: Random, n: Figures, count: int) -> list[Figures]:
    """Split revenue and result into `count` segments; they add up, with corporate costs."""
    size = [rng.uniform(0.5, 1.6) for _ in range(count)]
    profit = [s * rng.uniform(0.55, 1.45) for s in size]
    before = [p * rng.uniform(0.92, 1.08) for p in profit]
    now = [s * (1 + rng.uniform(-0.07, 0.07)) for s in size]
    columns = {
        "revenue": _split(n["revenue"], now),
        "revenue_prior": _split(n["revenue_prior"], size),
        "result": _split(n["operating"] + n["corporate"], profit),
        "result_prior": _split(n["operating_prior"] + n["corporate_prior"], before),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _split(total: float, weights: list[float]) -> list[float]:
    shares = [round(total * weight / sum(weights), 1) for weight in weights[1:]]
    return [round(total - sum(shares), 1), *shares]


def _operations(rng: Random, industry: Industry, parts: int) -> Figures:
    _, growth, margin_change = TONES[
        rng.choices(list(TONES), [chance for chance, _, _ in TONES.values()])[0]
    ]
    prior = round(exp(rng.uniform(*map(log, industry.scale))) / parts, 1)
    margin, gross_margin = rng.uniform(*industry.operating), rng.uniform(*industry.gross)
    change = rng.uniform(*margin_change)
    n = {"parts": float(parts), "revenue_prior": prior}
    n["revenue"] = round(prior * (1 + rng.uniform(*growth)), 1)
    gross_change = change * rng.uniform(0.3, 0.8)
    _margins(n, "", gross_margin + gross_change, margin + change)
    _margins(n, "_prior", gross_margin, margin)
    return n


def _margins(n: Figures, when: str, gross_margin: float, margin: float) -> None:
    revenue = n[f"revenue{when}"]
    n[f"gross{when}"] = gross = round(revenue * gross_margin, 1)
    n[f"cost{when}"] = round(revenue - gross, 1)
    n[f"opex{when}"] = opex = max(0.1, round(gross - revenue * margin, 1))
    n[f"operating{when}"] = round(gross - opex, 1)
    n[f"corporate{when}"] = round(opex * 0.06, 1)


def _bottom_line(rng: Random, industry: Industry, now: Figures) -> Figures:
    """Add interest, taxes and what is left, in total and for each share."""
    annual = now["revenue"] * now["parts"]
    indebted = 0.0 if industry.kind == "bank" else rng.uniform(0.12, 0.25) + industry.capex[1] * 4
    n = {"debt_start": round(annual * indebted, 1)}
    n["shares"] = round(annual / rng.uniform(14, 62), 1)
    n["interest"] = round(n["debt_start"] * rng.uniform(0.034, 0.052) / now["parts"], 1)
    n["interest_prior"] = round(n["interest"] * rng.uniform(0.92, 1.06), 1)
    n["shares_prior"] = round(n["shares"] * rng.uniform(1.0, 1.02), 1)
    for when in ("", "_prior"):
        n[f"pretax{when}"] = pretax = round(now[f"operating{when}"] - n[f"interest{when}"], 1)
        n[f"tax{when}"] = tax = round(max(pretax, 0.0) * rng.uniform(0.19, 0.26), 1)
        n[f"net{when}"] = round(pretax - tax, 1)
        n[f"eps{when}"] = round(n[f"net{when}"] / n[f"shares{when}"], 2)
    return n


def _cash_flow(rng: Random, industry: Industry, now: Figures) -> Figures:
    n: Figures = {}
    wear = sum(industry.capex) / 2 * rng.uniform(0.85, 1.05)
    for when in ("", "_prior"):
        revenue = now[f"revenue{when}"]
        n[f"depreciation{when}"] = round(revenue * wear, 1)
        n[f"stock_pay{when}"] = round(revenue * rng.uniform(0.006, 0.02), 1)
        n[f"working_capital{when}"] = round(revenue * rng.uniform(-0.03, 0.03), 1)  # absorbed
        n[f"capex{when}"] = round(revenue * rng.uniform(*industry.capex), 1)
        n[f"ocf{when}"] = _sum(
            now[f"net{when}"],
            *(n[f"depreciation{when}"], n[f"stock_pay{when}"], -n[f"working_capital{when}"]),
        )
        n[f"fcf{when}"] = _sum(n[f"ocf{when}"], -n[f"capex{when}"])
    return n | _payouts(rng, now, n["fcf"])


def _payouts(rng: Random, now: Figures, fcf: float) -> Figures:
    """Add what shareholders and lenders got, and cash before and after."""
    annual, eps = now["revenue"] * now["parts"], now["eps"]
    n = {"dps": round(eps * rng.uniform(0.2, 0.45), 2) if eps > 0 and rng.random() < 0.75 else 0.0}
    n["dividends"] = round(n["dps"] * now["shares"], 1)
    n["buy_price"] = round(eps * now["parts"] * rng.uniform(11, 19), 2)
    buys = eps > 0.05 and fcf > n["dividends"] and rng.random() < 0.6
    n["shares_bought"] = round(now["shares"] * rng.uniform(0.003, 0.012), 2) if buys else 0.0
    n["buyback"] = round(n["shares_bought"] * n["buy_price"], 1)
    n["cash_start"] = round(annual * rng.uniform(0.07, 0.19), 1)
    before_debt = _sum(n["cash_start"], fcf, -n["dividends"], -n["buyback"])
    needed = max(0.04 * annual - before_debt, 0.0)
    n["debt_change"] = round(needed + annual * rng.uniform(-0.012, 0.012), 1)
    n["cash"] = _sum(before_debt, n["debt_change"])
    return n


def _balance(rng: Random, industry: Industry, now: Figures) -> Figures:
    annual = now["revenue"] * now["parts"]
    n = {"debt": _sum(now["debt_start"], now["debt_change"])}
    n["net_debt"] = _sum(n["debt"], -now["cash"])
    n["ebitda"] = round((now["operating"] + now["depreciation"]) * now["parts"], 1)
    n["staff"] = round(annual / rng.uniform(0.18, 0.52))
    n["staff_prior"] = round(n["staff"] * rng.uniform(0.95, 1.05))
    n["equity"] = round(annual * rng.uniform(0.35, 0.8) * (3 if industry.kind == "bank" else 1), 1)
    return n


def _volume(rng: Random, industry: Industry, now: Figures) -> Figures:
    """Split revenue into volume and price, so that their product is the revenue of both years."""
    growth = now["revenue"] / now["revenue_prior"] - 1
    digits = 2 if industry.price[1] < 1000 else 0
    yearly = now["parts"] if industry.kind == "bank" else 1.0
    prior = rng.uniform(*industry.price)
    n = {"price_prior": round(prior, digits)}
    n["price"] = round(
        prior * (1 + growth * rng.uniform(0.2, 0.6) + rng.uniform(-0.01, 0.01)), digits
    )
    for when in ("", "_prior"):
        revenue = now[f"revenue{when}"] * yearly
        n[f"volume{when}"] = revenue * industry.per_million / n[f"price{when}"]
    return n


def _guidance(rng: Random, now: Figures, quarter: int) -> Figures:
    """Add the next outlook: of this fiscal year in quarters 1 to 3, otherwise of the next."""
    growth = now["revenue"] / now["revenue_prior"] - 1
    done, before = _year_so_far(rng, now, growth, quarter)
    n = {"ytd": done, "year_before": before}
    if 1 <= quarter <= 3:
        middle = done + (4 - quarter) * now["revenue"] * (1 + rng.uniform(-0.01, 0.03))
        n["base_year"] = round(before + (4 - quarter) * now["revenue_prior"], 1)
    else:
        middle = done * (1 + growth * 0.4 + rng.uniform(0.0, 0.02))
        n["base_year"] = done
    half = rng.uniform(0.006, 0.018)
    n |= {
        "guide_low": float(round(middle * (1 - half))),
        "guide_high": float(round(middle * (1 + half))),
    }
    shift = rng.uniform(0.012, 0.03) * (1 if growth > 0 else -1)
    n |= {f"old_{end}": float(round(n[f"guide_{end}"] * (1 - shift))) for end in ("low", "high")}
    n["next_revenue"] = float(round(now["revenue"] * (now["parts"] / 4) * rng.uniform(0.97, 1.05)))
    return n | _guided_result(rng, now, n)


def _year_so_far(rng: Random, now: Figures, growth: float, quarter: int) -> tuple[float, float]:
    done, before = now["revenue"], now["revenue_prior"]
    for _ in range(1, quarter):
        earlier = now["revenue"] * rng.uniform(0.94, 1.03)
        done += earlier
        before += earlier / (1 + growth + rng.uniform(-0.01, 0.01))
    return round(done, 1), round(before, 1)


def _guided_result(rng: Random, now: Figures, n: Figures) -> Figures:
    margin = round(now["operating"] / now["revenue"] + rng.uniform(-0.003, 0.006), 3)
    tax = round(rng.uniform(0.2, 0.25), 2)
    guided = {"guide_margin": margin, "guide_tax": tax}
    for end in ("low", "high"):
        pretax = n[f"guide_{end}"] * margin - now["interest"] * now["parts"]
        kept = 1 - tax if pretax > 0 else 1.0
        guided[f"guide_eps_{end}"] = round(pretax * kept / now["shares"], 2)
    return guided


def _sum(*amounts: float) -> float:
    return round(sum(amounts), 1)
