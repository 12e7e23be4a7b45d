"""The plots of a run's page: SVG that stands in the page and needs nothing from elsewhere."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from udfs.latencies import Latencies, begin_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator

_INK, _FAINT, _RULE = "#22302f", "#6b7a78", "#dfe6e4"
_PLAIN, _GOOD, _IDLE, _BAD = "#3d7ea6", "#2f8f7f", "#b9c4c2", "#c8553d"
_COLOURS = {
    "answered": _GOOD,
    "ledger": _GOOD,
    "skipped": _IDLE,
    "unchanged": _IDLE,
    "unanswered": _BAD,
}
_WIDTH, _BAR_HEIGHT, _PLOT_HEIGHT = 5.4, 0.36, 2.5
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _FAINT,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9.5,
    "svg.fonttype": "none",  # text stays text; its font is the page's
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
}


def bars(title: str, values: Mapping[str, float], form: str = ",.0f", errors: bool = False) -> str:
    """Return a horizontal bar for each value, the first on top, each with its number.

    With `errors`, names without a colour of their own are error codes.
    """

    def draw(axes: "Axes") -> None:
        names = list(values)[::-1]
        numbers = [values[it] for it in names]
        default = _BAD if errors else _PLAIN
        colours = [_COLOURS.get(it, default) for it in names]
        drawn = axes.barh(names, numbers, height=0.62, color=colours)
        labels = [format(it, form) for it in numbers]
        axes.bar_label(drawn, labels, padding=5, color=_INK)
        axes.set_xlim(0, (max(numbers, default=0) or 1) * 1.22)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelcolor=_INK)

    return _svg(title, draw, 0.35 + _BAR_HEIGHT * max(2, len(values)))


def latency_histogram(title: str, latencies: Latencies, marks: Mapping[str, float]) -> str:
    """Return calls by their time, on a logarithmic axis; `marks` are quantiles in milliseconds."""

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import LogLocator, NullLocator

        first, last = min(latencies), max(latencies)
        buckets = range(first, last + 1)
        begins = [begin_of(it) for it in buckets]
        widths = [begin_of(it + 1) - begin_of(it) for it in buckets]
        counts = [latencies.get(it, 0) for it in buckets]
        axes.bar(begins, counts, widths, align="edge", color=_PLAIN, edgecolor="white")
        axes.set_xscale("log")
        axes.set_xlim(begin_of(first - 2), begin_of(last + 3))
        axes.set_ylim(0, max(counts) * 1.3)
        _marked(axes, marks)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if last - first < 20 else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda ms, _: _duration(ms))
        axes.yaxis.set_major_locator(_whole())
        axes.set_ylabel("calls")

    return _svg(title, draw, _PLOT_HEIGHT)


def line(title: str, points: Sequence[tuple[int, float]], unit: str) -> str:
    """Return a number of each micro-batch, over their numbers."""

    def draw(axes: "Axes") -> None:
        steps, values = [it for it, _ in points], [it for _, it in points]
        axes.plot(steps, values, color=_PLAIN, linewidth=1.6, marker="o", markersize=3)
        axes.set_ylim(0, (max(values) or 1) * 1.15)
        axes.xaxis.set_major_locator(_whole())
        axes.yaxis.grid(True, color=_RULE, linewidth=0.7)
        axes.set_xlabel("micro-batch")
        axes.set_ylabel(unit)

    return _svg(title, draw, _PLOT_HEIGHT)


def _marked(axes: "Axes", marks: Mapping[str, float]) -> None:
    """Draw quantiles as lines, named so that close ones stay legible: the first to its left."""
    for place, (name, ms) in enumerate(marks.items()):
        is_first, top = place == 0, 0.98 - 0.12 * max(0, place - 1)
        axes.axvline(ms, ymax=top, color=_INK, linewidth=0.9, linestyle=(0, (3, 2)))
        axes.annotate(
            f"{name}  {_duration(ms)}",
            (ms, top),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if is_first else 5, 0),
            textcoords="offset points",
            ha="right" if is_first else "left",
            va="top",
        )


def _whole() -> "Locator":
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5, integer=True)


def _duration(ms: float) -> str:
    if ms < 1000:
        return f"{ms:.3g} ms"
    return f"{ms / 1000:.3g} s"


def _svg(title: str, draw: Callable[["Axes"], None], height: float) -> str:
    """Draw on new axes; return the element alone, named by its title for those who cannot see it.

    Equal numbers give equal text.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context({**_STYLE, "svg.hashsalt": title}):
        figure = Figure((_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    element = re.sub(r"^.*?(?=<svg)", "", written.getvalue(), flags=re.S)
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.S)
    return element.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
