"""Charts of the results, as SVG that can be read on a light page and on a dark one."""

from __future__ import annotations

import math
import typing as t
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from .contenders import OURS
from .figures import Chart
from .figures import number
from .figures import Spread

#: Greys and a blue that white and black set off alike.
TEXT: t.Final = "#7d858f"
OURS_COLOUR: t.Final = "#3f8fd6"
OTHERS_COLOUR: t.Final = "#a3a9b1"
SETTINGS: t.Final[t.Any] = {
    # The same results make the same file.
    "svg.hashsalt": "flask-and-redis",
    # Letters stay letters: small files, the reader's own font.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}
#: Inches.
WIDTH: t.Final = 9.0
BAR: t.Final = 0.21


def draw(chart: Chart, folder: Path) -> Path:
    """Write the SVG of a chart."""
    with mpl.rc_context(SETTINGS):
        rows = math.ceil(len(chart.panels) / chart.columns)
        bars = max(map(len, chart.panels.values()))
        figure = Figure(figsize=(WIDTH, rows * (bars * BAR + 0.62) + 0.35), layout="constrained")
        axes = figure.subplots(rows, chart.columns, squeeze=False, sharey=_same_names(chart), sharex=chart.logarithmic)
        figure.suptitle(f"{chart.title}, {chart.unit.name}", fontsize=11)
        for panel, (title, figures) in zip(axes.flat, chart.panels.items(), strict=False):
            _draw_panel(panel, chart, title, {name: _scaled(chart, found) for name, found in figures.items()})
        for empty in axes.flat[len(chart.panels) :]:
            empty.set_visible(False)
        path = folder / f"{chart.name}.svg"
        figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
        return path


def _same_names(chart: Chart) -> bool:
    return len({tuple(figures) for figures in chart.panels.values()}) == 1


def _scaled(chart: Chart, found: Spread) -> Spread:
    return Spread(*(value * chart.unit.factor for value in found))


def _draw_panel(axes: t.Any, chart: Chart, title: str, figures: dict[str, Spread]) -> None:
    medians = [found.median for found in figures.values()]
    colours = [OURS_COLOUR if name.startswith(OURS.name) else OTHERS_COLOUR for name in figures]
    places = range(len(figures))
    axes.barh(places, medians, color=colours, height=0.66, log=chart.logarithmic)
    below = [found.median - found.low for found in figures.values()]
    above = [found.high - found.median for found in figures.values()]
    axes.errorbar(medians, places, xerr=[below, above], fmt="none", ecolor=TEXT, elinewidth=1, capsize=2)
    for place, found in zip(places, figures.values(), strict=True):
        beyond = chart.limit is not None and found.median >= chart.limit * chart.unit.factor
        axes.annotate(
            f"{'> ' if beyond else ''}{number(found.median)}",
            (found.high, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(list(places), list(figures))
    axes.set_title(title, fontsize=9, loc="left")
    # Panels may share the axis.
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    # Room for the numbers.
    axes.margins(x=0.18)
    if chart.logarithmic:
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(left=min(0.0, *(found.low for found in figures.values())))
