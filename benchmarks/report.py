"""What a run has found: for people, for programs, and for the pages of the documentation."""

from __future__ import annotations

import collections.abc as cabc
import json
import platform
import re
import subprocess
import typing as t
from pathlib import Path

from .bench import Bench
from .contenders import ROOT
from .contenders import variables
from .figures import Data
from .parts import command
from .parts import NAMES
from .parts import outage
from .parts import part

PAGE: t.Final = ROOT / "docs" / "performance.md"
#: All that show figures.
PAGES: t.Final = (PAGE, ROOT / "docs" / "asyncio.md", ROOT / "docs" / "outages.md")
#: The raw results and the charts that they show.
FOLDER: t.Final = ROOT / "docs" / "performance"
RESULTS: t.Final = "results.json"

_VERSIONS: t.Final = """
import importlib.metadata, json, sys
names = {"Flask", "Quart", "redis", "hiredis", "Flask-And-Redis", "flask-redis", "gunicorn", "Hypercorn", "pyperf"}
found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
print(json.dumps({name: found[name] for name in sorted(names & found.keys(), key=str.lower)}))
"""


def surroundings(bench: Bench) -> dict[str, t.Any]:
    """The machine, and the versions in each environment that was used."""
    import pyperf
    from tests.harness.servers import find_redis_server
    from tests.harness.servers import find_valkey_server

    from .parts.pages import server_for_caching

    metadata = pyperf.Run([1.0], collect_metadata=True).get_metadata()
    servers = {find_valkey_server() or find_redis_server(), server_for_caching()} - {None}
    return {
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": metadata.get("cpu_model_name", platform.processor()),
            "cores": metadata["cpu_count"],
            "Python": platform.python_version(),
        },
        "servers": sorted(_server_version(str(program)) for program in servers),
        "environments": {
            each.name: json.loads(
                subprocess.check_output([bench.python(each), "-c", _VERSIONS], env=variables())  # noqa: S603
            )
            for each in sorted(bench.environments, key=lambda each: each.name)
        },
    }


def _server_version(program: str) -> str:
    shown = subprocess.check_output([program, "--version"], text=True)  # noqa: S603
    return re.sub(r"^(\w+) server v=([\d.]+).*", r"\1 \2", shown.strip(), flags=re.DOTALL)


def write(results: t.Any, folder: Path) -> None:
    """Write the raw results."""
    folder.mkdir(parents=True, exist_ok=True)
    # A figure has no more than four digits that mean something.
    rounded = json.loads(json.dumps(results), parse_float=lambda text: float(f"{float(text):.4g}"))
    parts = "".join(
        f"{',' if number else ''}\n{json.dumps(name)}: {{{_cases(data)}\n}}"
        for number, (name, data) in enumerate(rounded.pop("parts").items())
    )
    head = json.dumps(rounded, indent=1)[:-2]
    (folder / RESULTS).write_text(f'{head},\n "parts": {{{parts}\n}}\n}}\n', "utf-8")


def draw(results: t.Any, folder: Path) -> None:
    """Write the charts."""
    from . import charts

    for name, data in results["parts"].items():
        for chart in part(name).charts(data):
            charts.draw(chart, folder)


def _cases(data: Data) -> str:
    """A line for each who was measured: what changes from run to run is seen at a glance."""
    lines = [
        f"\n {json.dumps(case)}: {{"
        + ",".join(f"\n  {json.dumps(who)}: {json.dumps(values)}" for who, values in figures.items())
        + "}"
        for case, figures in data.items()
    ]
    return ",".join(lines)


def read(folder: Path) -> t.Any:
    """The results that were written there."""
    return json.loads((folder / RESULTS).read_text("utf-8"))


def text(results: t.Any) -> str:
    """All of it, for a terminal."""
    blocks = blocks_of(results)
    shown = [f"# {part(name).TITLE}\n\n{blocks[name]}" for name in results["parts"]]
    return "\n\n".join([blocks["machine"], *shown])


def blocks_of(results: t.Any) -> dict[str, str]:
    """The pieces of the report, by the names that the page knows them by."""
    found = {"machine": _machine(results)}
    headlines: list[str] = []
    for name, data in results["parts"].items():
        measured = part(name)
        headlines += measured.headlines(data)
        pieces = [measured.METHOD, *map(str, measured.tables(data))]
        if goals := list(measured.goals(data)):
            pieces.append("**Goals**\n\n" + "\n".join(map(str, goals)))
        found[name] = "\n\n".join(pieces)
    if data := results["parts"].get("outage"):
        # Under the heading of the page.
        found["settings"] = str(outage.settings_table(data)).partition("\n\n")[2]
    if data := results["parts"].get("command"):
        found["breaker"] = command.price_of_the_breaker(data)
    return {**found, "short": "\n".join(f"- {line}" for line in headlines)}


def _machine(results: t.Any) -> str:
    machine = results["machine"]
    where = (
        f"{machine['system']}, {machine['cores']} cores, {machine['processor']}, Python {machine['Python']};"
        f" servers on the same machine: {' and '.join(results['servers'])}."
    )
    lines = [
        f"| {name} | {', '.join(f'{package} {version}' for package, version in versions.items())} |"
        for name, versions in results["environments"].items()
    ]
    return "\n".join([where, "", "| environment | packages |", "| --- | --- |", *lines])


def documented(page: str, results: t.Any) -> str:
    """The text of the page, with what the results say between its markers."""
    blocks = blocks_of(results)

    def fill(found: re.Match[str]) -> str:
        return f"<!-- bench: {found[1]} -->\n\n{blocks[found[1]]}\n\n<!-- end -->"

    return re.sub(r"<!-- bench: (\w+) -->.*?<!-- end -->", fill, page, flags=re.DOTALL)


def document(results: t.Any) -> None:
    """Have the pages show the results."""
    write(results, FOLDER)
    draw(results, FOLDER)
    for page in PAGES:
        page.write_text(documented(page.read_text("utf-8"), results), "utf-8")


def complete(results: t.Any) -> bool:
    """Whether no part is missing."""
    return list(results["parts"]) == list(NAMES)


def goals(results: t.Any) -> cabc.Iterator[str]:
    """Those that were missed."""
    for name, data in results["parts"].items():
        yield from (str(goal) for goal in part(name).goals(data) if not goal.met)
