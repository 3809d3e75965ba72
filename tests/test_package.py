"""The package as a user gets it: what the wheel and the sdist hold and say, and that they work when installed."""

from __future__ import annotations

import email.message
import email.parser
import os
import re
import subprocess
import sys
import tarfile
import typing as t
import zipfile
from pathlib import Path

import pytest

from .harness.servers import Server

ROOT = Path(__file__).parent.parent


class Built(t.NamedTuple):
    """The files of a release."""

    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The wheel and the sdist of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


def build(source: Path, folder: Path, *options: str) -> None:
    """Build what is in *source*."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder), *options]
    subprocess.run(command, cwd=source, check=True, capture_output=True)


@pytest.fixture(scope="module")
def metadata(built: Built) -> email.message.Message:
    """What the wheel says of itself."""
    with zipfile.ZipFile(built.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return email.parser.Parser().parsestr(wheel.read(name).decode())


def test_wheel(built: Built) -> None:
    """The wheel holds the modules, their mark as typed, the license and the metadata, and nothing else."""
    source = ROOT / "src"
    modules = {path.relative_to(source).as_posix() for path in source.glob("flask_redis/**/*") if path.is_file()}
    modules = {name for name in modules if "__pycache__" not in name}
    assert {Path(name).suffix for name in modules} <= {".html", ".py", ".typed"}
    assert "flask_redis/py.typed" in modules
    info = {f"flask_and_redis-2.0.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD", "licenses/LICENSE")}
    with zipfile.ZipFile(built.wheel) as wheel:
        assert sorted(wheel.namelist()) == sorted(modules | info)
    assert built.wheel.name == "flask_and_redis-2.0.0-py3-none-any.whl"


def test_sdist(built: Built) -> None:
    """The sdist holds the files of the repository that build, test and explain the package, and nothing else."""
    git = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    kept_back = re.compile(r"\.(?!gitignore$)")
    with tarfile.open(built.sdist) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    assert held == {name for name in listed if not kept_back.match(name) and (ROOT / name).exists()} | {"PKG-INFO"}
    assert {"pyproject.toml", "LICENSE", "README.md", "Makefile", "tests/test_package.py", "docs/conf.py"} <= held
    useful = {
        ".css",
        ".gitignore",
        ".html",
        ".js",
        ".json",
        ".md",
        ".png",
        ".py",
        ".svg",
        ".toml",
        ".txt",
        ".typed",
        "",
    }
    assert {Path(name).suffix for name in held} <= useful


def test_wheel_of_the_sdist(built: Built, tmp_path: Path) -> None:
    """The sdist builds the same wheel."""
    with tarfile.open(built.sdist) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    build(source, tmp_path, "--target", "wheel")
    assert (tmp_path / built.wheel.name).read_bytes() == built.wheel.read_bytes()


def test_metadata(metadata: email.message.Message) -> None:
    """An index knows what the package is, whom it is for, where it lives and that it is typed."""
    assert (metadata["Name"], metadata["Version"]) == ("Flask-And-Redis", "2.0.0")
    assert (metadata["License-Expression"], metadata["License-File"]) == ("BSD-3-Clause", "LICENSE")
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["Summary"]
    assert metadata["Author"]
    assert {"Framework :: Flask", "Typing :: Typed"} <= set(metadata.get_all("Classifier", []))
    links = dict(link.split(", ") for link in metadata.get_all("Project-URL", []))
    assert links.keys() == {"Documentation", "Changelog", "Source", "Issues"}
    needed = [name for name in metadata.get_all("Requires-Dist", []) if "extra ==" not in name]
    assert needed == ["flask>=2.3", "redis[hiredis]>=5.0"]
    extras = {"all", "async", "breaker", "debugtoolbar", "embedded", "memory", "quart", "valkey"}
    assert set(metadata.get_all("Provides-Extra", [])) == extras


def test_description(metadata: email.message.Message) -> None:
    """An index shows the README, and its links lead somewhere from there too."""
    assert metadata["Description-Content-Type"] == "text/markdown"
    shown = metadata.get_payload()
    assert isinstance(shown, str)
    assert shown.startswith("# Flask-And-Redis\n")
    links = re.findall(r"\]\(([^)]+)\)", shown)
    repository = "https://github.com/playpauseandstop/Flask-And-Redis/blob/HEAD/"
    for link in links:
        assert link.startswith("https://"), link
        if link.startswith(repository):
            assert (ROOT / link.removeprefix(repository).partition("#")[0]).exists(), link
    assert any(link.startswith(repository) for link in links)


README = """
import os
from flask import Flask

Flask.default_config = {**Flask.default_config, "REDIS_URL": os.environ["REDIS_URL"]}
exec(os.environ["README"])
client = app.test_client()
print(*[client.get("/").text for _ in range(2)], sep=", ")
"""


def test_install(built: Built, server: Server, tmp_path: Path) -> None:
    """In an empty environment pip installs the wheel with what it needs, and the README's three lines run.

    With the extra for it, they run without a Redis too.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}

    def pip(*arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", *arguments]
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment)

    def readme(url: str) -> str:
        code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)[0]
        env = {**environment, "README": code, "REDIS_URL": url}
        done = subprocess.run(
            [python, "-W", "error", "-c", README], cwd=tmp_path, env=env, check=True, capture_output=True, text=True
        )
        assert not done.stderr
        return done.stdout

    pip("install", "--quiet", "--no-compile", str(built.wheel))
    assert readme(server.url) == "Visit number 1, Visit number 2\n"
    pip("install", "--quiet", "--no-compile", f"{built.wheel}[embedded]")
    assert readme("embedded://") == "Visit number 1, Visit number 2\n"
    pip("check")
