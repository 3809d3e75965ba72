"""A pytest plugin for skipped tests: one line for each reason, and failures with ``--no-skips``, as in CI."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

import pytest

_Report = t.TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--no-skips", action="store_true", help="a test that is skipped fails")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> cabc.Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at the outcome of a test."""
    return _if_skipped(item.config, (yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> cabc.Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Look at the outcome of importing a module."""
    return _if_skipped(collector.config, (yield))


def _if_skipped(config: pytest.Config, report: _Report) -> _Report:
    # An expected failure is reported as skipped too.
    if report.skipped and not hasattr(report, "wasxfail"):
        path, line, reason = t.cast("tuple[str, int, str]", report.longrepr)
        if config.getoption("no_skips"):
            report.outcome = "failed"
            report.longrepr = f"{path}:{line}: {reason} (--no-skips)"
        else:
            # pytest's summary has a line for each place. Here the reasons matter.
            report.longrepr = t.cast(t.Any, (str(config.rootpath / "tests"), None, reason))
    return report
