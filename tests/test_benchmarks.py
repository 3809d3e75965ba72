"""The benchmarks run, and the documentation shows what they printed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from benchmarks import report
from benchmarks.contenders import ROOT
from benchmarks.figures import at_most
from benchmarks.figures import MICROSECONDS
from benchmarks.figures import ratios
from benchmarks.figures import Spread
from benchmarks.figures import Table
from benchmarks.parts import NAMES
from benchmarks.parts import part

from .harness.processes import Process


def test_a_quick_run(tmp_path: Path) -> None:
    """Parts that really run print the machine, the tables and the goals, and write their figures."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--output", str(tmp_path), "beside", "command"]
    with Process(command, cwd=ROOT, separate_errors=True) as process:
        assert process.wait(100) == 0, process
    parts = json.loads((tmp_path / "results.json").read_text("utf-8"))["parts"]
    # A single ratio of two commands may be anything.
    beside = parts["beside"]
    assert beside.keys() == parts["command"].keys()
    assert all(set(figures) == {"Flask-And-Redis 2"} for figures in beside.values())
    assert all(min(figures["Flask-And-Redis 2"]) > 0 for figures in beside.values())
    assert re.search(r"^\| Flask-And-Redis 2 +(\| +[\d.,]+ \(.*?\) ){6}\|$", process.output, re.MULTILINE)
    values = parts["command"]["get of 64 B, TCP"]
    assert {"Flask-And-Redis 2", "redis-py + hiredis", "bare socket"} == values.keys()
    assert all(0 < min(each) < 1 for each in values.values())
    assert re.search(r"^\| Flask-And-Redis 2 +\| +\d", process.output, re.MULTILINE)
    assert re.search(r"cores, .*Python 3\.", process.output)
    assert re.search(r"^- (met|\*\*missed\*\*): get of 64 B, TCP: .* at most 1.01: ", process.output, re.MULTILINE)


def test_an_unknown_part(tmp_path: Path) -> None:
    """A part that does not exist is an error that names those that do."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--output", str(tmp_path), "nothing"]
    with Process(command, cwd=ROOT) as process:
        assert process.wait(30) == 2
    assert "no such part: nothing; there are beside, command" in process.output


def test_the_pages_show_the_results() -> None:
    """Every table and figure of the pages is that of the results."""
    results = report.read(report.FOLDER)
    assert report.complete(results)
    markers: set[str] = set()
    for page in report.PAGES:
        text = page.read_text("utf-8")
        assert report.documented(text, results) == text
        markers |= set(re.findall("<!-- bench: (.*) -->", text))
    assert markers == report.blocks_of(results).keys() == {"short", "machine", "settings", "breaker", *NAMES}


def test_the_page_shows_the_charts() -> None:
    """The charts of the page are those that the parts draw, and nothing else is beside it."""
    shown = re.findall(r"\]\(performance/(.*?)\)", report.PAGE.read_text("utf-8"))
    drawn = [
        f"{chart.name}.svg"
        for name, data in report.read(report.FOLDER)["parts"].items()
        for chart in part(name).charts(data)
    ]
    assert sorted(shown) == sorted([*drawn, "results.json"]) == sorted(each.name for each in report.FOLDER.iterdir())


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that is slow for a while is slow for both."""
    assert ratios([1.0, 10.0, 3.0], [1.0, 10.0, 2.0]) == Spread(1.0, 1.0, 1.5)


def test_goals() -> None:
    """A goal is met by the median as it is shown, in the unit that it is stated in."""
    met = at_most("it takes", Spread(1e-7, 4e-7, 9e-7), 0.5, MICROSECONDS)
    assert str(met) == "- met: it takes: at most 0.5 µs: 0.40 (0.10 to 0.90)"
    shown = at_most("times the other", Spread(0.9, 1.0105, 1.1), 1.01)
    assert str(shown) == "- met: times the other: at most 1.01: 1.01 (0.90 to 1.10)"
    missed = at_most("times the other", Spread(0.9, 1.02, 1.1), 1.01)
    assert str(missed) == "- **missed**: times the other: at most 1.01: 1.02 (0.90 to 1.10)"


def test_a_table() -> None:
    """A table is Markdown whose columns are aligned where it is printed, too."""
    table = Table("Name", ["", "median"], [["one", "1.00"], ["another", "12"]])
    assert str(table).splitlines() == [
        "**Name**",
        "",
        "|         | median |",
        "| ------- | -----: |",
        "| one     |   1.00 |",
        "| another |     12 |",
    ]
