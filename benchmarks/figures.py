"""From the figures of the rounds to tables, goals and charts. Nothing here measures."""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import statistics
import typing as t

#: One figure for each round.
Values: t.TypeAlias = "list[float]"
#: The figures of a part: by case, and by who was measured. The nth figures of a case belong to the same round.
Data: t.TypeAlias = "dict[str, dict[str, Values]]"


class Spread(t.NamedTuple):
    """What a table shows of many figures."""

    low: float
    median: float
    high: float


def spread(values: cabc.Iterable[float]) -> Spread:
    """Minimum, median and maximum."""
    ordered = sorted(values)
    return Spread(ordered[0], statistics.median(ordered), ordered[-1])


def ratios(values: Values, base: Values) -> Spread:
    """How many times *base*: taken round by round, because what slows a machine down slows both."""
    return spread(a / b for a, b in zip(values, base, strict=True))


def differences(values: Values, base: Values) -> Spread:
    """How much more than *base*, round by round."""
    return spread(a - b for a, b in zip(values, base, strict=True))


@dataclasses.dataclass(frozen=True)
class Unit:
    """A unit, and how many of it are one of the figure's own."""

    name: str
    factor: float = 1.0


MICROSECONDS: t.Final = Unit("µs", 1e6)
MILLISECONDS: t.Final = Unit("ms", 1e3)
KIBIBYTES: t.Final = Unit("KiB", 1 / 1024)
PER_SECOND: t.Final = Unit("requests/s")


@dataclasses.dataclass
class Table:
    """A table of a report."""

    title: str
    header: list[str]
    rows: list[list[str]] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        """In Markdown, with aligned columns."""
        rows = [self.header, *self.rows]
        widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(self.header))]
        rows.insert(1, ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)])
        lines = [
            "| "
            + " | ".join(
                f"{cell:{'<' if column == 0 else '>'}{width}}"
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            + " |"
            for row in rows
        ]
        return f"**{self.title}**\n\n" + "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a figure shall be, and whether it is."""

    text: str
    figure: str
    met: bool

    def __str__(self) -> str:
        return f"- {'met' if self.met else '**missed**'}: {self.text}: {self.figure}"


def at_most(text: str, found: Spread, limit: float, unit: Unit | None = None) -> Goal:
    """The goal that the median is not above *limit*, which is in the *unit* of the table.

    A ratio is compared as it is shown, with the two digits that a goal for it has.
    """
    if unit is None:
        return Goal(f"{text}: at most {limit:g}", times(found), round(found.median, 2) <= limit)
    return Goal(f"{text}: at most {limit:g} {unit.name}", between(found, unit), found.median * unit.factor <= limit)


@dataclasses.dataclass(frozen=True)
class Chart:
    """Bars of medians, with a line from minimum to maximum: a panel for each case."""

    name: str
    title: str
    unit: Unit
    panels: cabc.Mapping[str, cabc.Mapping[str, Spread]]
    columns: int = 3
    logarithmic: bool = False
    #: Bars that reach it go beyond it, nobody knows how far.
    limit: float | None = None


def charted(data: Data, cases: cabc.Mapping[str, str]) -> dict[str, dict[str, Spread]]:
    """The panels of a chart: the *cases* of the figures, and what the chart calls them."""
    return {title: {who: spread(values) for who, values in data[case].items()} for case, title in cases.items()}


def cells(found: Spread, unit: Unit) -> list[str]:
    """Minimum, median and maximum."""
    return [number(value * unit.factor) for value in found]


def between(found: Spread, unit: Unit) -> str:
    """The median, and the extremes in parentheses."""
    low, median, high = cells(found, unit)
    return f"{median} ({low} to {high})"


def times(found: Spread) -> str:
    """A ratio with its extremes."""
    low, median, high = (f"{value:.2f}" if value < 100 else f"{value:,.0f}" for value in found)
    return f"{median} ({low} to {high})"


def number(value: float) -> str:
    """Three digits that mean something."""
    size = abs(value)
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.0995 or size == 0 else f"{value:.2g}"


def spread_header(unit: Unit) -> list[str]:
    """The heads of the columns of :func:`cells`."""
    return [f"min, {unit.name}", "median", "max"]
