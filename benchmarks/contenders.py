"""Who is measured, and the environment that each of them runs in.

A new contender is an entry here; how its client is made is its *kind*, in ``clients.py``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

ROOT: t.Final = Path(__file__).resolve().parent.parent
BUILD: t.Final = ROOT / "build" / "bench"


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment, made at first use."""

    name: str
    #: What pip installs, beside this package where that belongs to it.
    requirements: tuple[str, ...]
    #: The extras of this package, as in ``"[async]"``; None where this package does not belong to it.
    this_package: str | None = None
    #: What is removed afterwards.
    without: tuple[str, ...] = ()

    @property
    def python(self) -> Path:
        """The path of its interpreter."""
        return BUILD / "environments" / self.name / "bin" / "python"

    def prepare(self, wheel: Path) -> None:
        """Make it, unless it is there; this package is installed from *wheel* each time."""
        made = self.python.parent.parent / "made-from.json"
        recipe = json.dumps([sys.version, self.requirements, self.this_package, self.without])
        if not made.exists() or made.read_text("utf-8") != recipe:
            print(f"Setting up {made.parent.relative_to(ROOT)}", flush=True)
            shutil.rmtree(made.parent, ignore_errors=True)
            run(sys.executable, "-m", "venv", str(made.parent))
            self._pip("install", *self.requirements, *self._package(wheel))
            if self.without:
                self._pip("uninstall", "--yes", *self.without)
            made.write_text(recipe, "utf-8")
        elif self.this_package is not None:
            self._pip("install", "--force-reinstall", "--no-deps", *self._package(wheel))

    def _package(self, wheel: Path) -> list[str]:
        return [] if self.this_package is None else [f"Flask-And-Redis{self.this_package} @ {wheel.as_uri()}"]

    def _pip(self, command: str, *arguments: str) -> None:
        options = ["--compile"] if command == "install" else []
        run(str(self.python), "-m", "pip", "--disable-pip-version-check", command, "--quiet", *options, *arguments)


@dataclasses.dataclass(frozen=True)
class Contender:
    """A way to talk to Redis from a Flask application."""

    #: What the tables call it.
    name: str
    #: How its client is made.
    kind: str
    environment: Environment
    #: The contender that is the same redis-py, without an extension.
    alone: str


#: Each environment has them, so that each can run every part.
TOOLS: t.Final = ("gunicorn", "pyperf")

_newest = Environment("redis-py-hiredis", ("flask", "redis[hiredis]", *TOOLS))
_newest_default = Environment("redis-py", ("flask", "redis", *TOOLS))

OURS: t.Final = Contender(
    "Flask-And-Redis 2", "Redis", Environment("ours", TOOLS, this_package=""), "redis-py + hiredis"
)
#: What the page on outages advises needs it.
OURS_WITH_BREAKER: t.Final = dataclasses.replace(
    OURS, environment=Environment("ours-breaker", TOOLS, this_package="[breaker]")
)
GUARDED: t.Final = dataclasses.replace(
    OURS_WITH_BREAKER, name="Flask-And-Redis 2, circuit breaker", kind="Redis with a circuit breaker"
)
OURS_WITHOUT_HIREDIS: t.Final = Contender(
    "Flask-And-Redis 2, no hiredis",
    "Redis",
    Environment("ours-without-hiredis", TOOLS, this_package="", without=("hiredis",)),
    "redis-py",
)
FLASK_REDIS: t.Final = Contender(
    "flask-redis 0.4.0", "FlaskRedis", Environment("flask-redis", ("flask-redis==0.4.0", *TOOLS)), "redis-py"
)
#: It needs the last Flask that it runs with, and the last redis-py whose parameters it can read.
VERSION_1: t.Final = Contender(
    "Flask-And-Redis 1.0.0",
    "Redis",
    Environment(
        "flask-and-redis-1", ("Flask-And-Redis==1.0.0", "flask<2.3", "werkzeug<2.3", "redis>=5.3,<5.4", *TOOLS)
    ),
    "redis-py 5.3",
)
#: The redis-py of version 1.0: shows what between 1.0 and 2 belongs to redis-py.
OURS_WITH_REDIS_PY_5: t.Final = Contender(
    "Flask-And-Redis 2, redis-py 5.3, no hiredis",
    "Redis",
    Environment("ours-redis-py-5", ("redis>=5.3,<5.4", *TOOLS), this_package="", without=("hiredis",)),
    "redis-py 5.3",
)
REDIS_PY: t.Final = Contender("redis-py + hiredis", "redis-py", _newest, "redis-py + hiredis")
REDIS_PY_DEFAULT: t.Final = Contender("redis-py", "redis-py", _newest_default, "redis-py")
REDIS_PY_5: t.Final = Contender(
    "redis-py 5.3", "redis-py", Environment("redis-py-5", ("flask", "redis>=5.3,<5.4", *TOOLS)), "redis-py 5.3"
)
BARE_SOCKET: t.Final = Contender("bare socket", "bare socket", _newest, "redis-py + hiredis")

CONTENDERS: t.Final = (
    OURS,
    GUARDED,
    REDIS_PY,
    OURS_WITHOUT_HIREDIS,
    REDIS_PY_DEFAULT,
    FLASK_REDIS,
    VERSION_1,
    OURS_WITH_REDIS_PY_5,
    REDIS_PY_5,
    BARE_SOCKET,
)
#: As a user gets them from pip: this package, and what he could take instead.
EXTENSIONS: t.Final = (OURS, FLASK_REDIS, VERSION_1)

#: Where the pages of the asyncio part run.
ASYNCIO: t.Final = Environment("ours-asyncio", ("hypercorn", *TOOLS), this_package="[async,quart]")


def build_wheel() -> Path:
    """This package as it stands in the tree, packed as pip packs it."""
    folder = BUILD / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    run(*command, "--wheel-dir", str(folder), str(ROOT))
    return next(folder.glob("*.whl"))


def variables(**more: str) -> dict[str, str]:
    """The variables of the environment for what is measured: none that changes how Python runs."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}, **more}


def run(*command: str) -> None:
    """Run a program; its failure ends this one."""
    subprocess.run(command, check=True, env=variables(), cwd=ROOT)  # noqa: S603
