"""``flask redis``: what an operator asks on a bad day.

Every application has the commands, and few processes run one. So nothing is imported here but what Flask has imported.
"""

from __future__ import annotations

import collections.abc as cabc
import enum
import functools
import importlib
import shutil
import textwrap
import typing as t
from pathlib import Path

import click

if t.TYPE_CHECKING:
    from flask import Flask

    from .config import Settings
    from .health import Result
    from .parameters import Parameter


def register(app: Flask) -> None:
    """Give *app* the commands, and its shell the extensions. What it has by these names already stays."""
    app.cli.commands.setdefault("redis", group)
    # Not with the decorator, which refuses an application that has served a request. First, because later ones win.
    app.shell_context_processors.insert(0, functools.partial(_for_the_shell, app.extensions))


def _for_the_shell(extensions: cabc.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The extension objects by name: ``redis``, and the lower-cased prefix of others."""
    connections = extensions["flask_redis"].connections() if "flask_redis" in extensions else {}
    return {prefix.lower(): extension for prefix, (extension, _) in connections.items()}


@click.group("redis")
def group() -> None:
    """Look at the Redis connections of this application, and use them."""


_prefixes = click.option(
    "--prefix", "prefixes", multiple=True, metavar="PREFIX", help="Only this connection. May be given several times."
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print a list in JSON.")


@group.command("ping")
@_prefixes
@click.option("--timeout", default=1.0, show_default=True, help="Seconds, for all of them together.")
@_as_json
@click.pass_context
def ping_command(context: click.Context, prefixes: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Ask the server of every connection whether it answers.

    The exit status is 1 if one does not.
    """
    import dataclasses
    import json

    from . import health

    _connections(context, prefixes)
    try:
        results = health.check(_app(context), timeout, prefixes)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timeout") from None
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(result) for result in results], indent=2))
    else:
        click.echo("\n".join(_table(results)))
    context.exit(0 if all(result.ok for result in results) else 1)


@group.command("config")
@_prefixes
@_as_json
@click.pass_context
def config_command(context: click.Context, prefixes: tuple[str, ...], as_json: bool) -> None:
    """Show what every connection is configured with, and where from.

    Beside each value stands the configuration key that states it: the URL's, its own, or that of a file. Values that
    nobody set are "default". Secrets are not shown.
    """
    found = _connections(context, prefixes).values()
    if as_json:
        import json

        click.echo(json.dumps([_description(settings) for settings in found], indent=2))
    else:
        click.echo("\n\n".join("\n".join(_lines(settings)) for settings in found))


@group.command("cli")
@click.option("--prefix", metavar="PREFIX", help="The connection. REDIS, or the only one, need not be named.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def cli_command(context: click.Context, prefix: str | None, arguments: tuple[str, ...]) -> None:
    """Open valkey-cli, redis-cli or iredis on a connection.

    The first of them that is installed. ARGUMENTS go to it, after "--" where they begin with a dash:

    \b
      flask redis cli
      flask redis cli INFO memory
      flask redis cli -- --bigkeys
    """
    from . import console
    from . import health

    known = _connections(context, [prefix] if prefix else [])
    if len(known) > 1 and "REDIS" not in known:
        raise click.UsageError(f"Say which connection with --prefix; there are: {', '.join(known)}.")
    settings = known["REDIS"] if "REDIS" in known else next(iter(known.values()))
    if settings.topology == "memory":
        raise click.ClickException(
            f"{settings.url} is in the process of the application, where no other program reaches it. embedded:// is a"
            " real server."
        )
    program = next(filter(None, map(shutil.which, console.PROGRAMS)), None)
    if program is None:
        raise click.ClickException(
            "None of valkey-cli, redis-cli and iredis is installed: install the package valkey-tools or redis-tools of"
            " your system, or pip install iredis."
        )
    try:
        target = console.target_of(settings, health.clients_of(_app(context))._surroundings)
    except Exception as error:
        raise click.ClickException(f"{settings.url}: {health.reason(settings, error)}") from error
    arguments_for = console.for_iredis if Path(program).stem == "iredis" else console.for_redis_cli
    options, environment = arguments_for(target)
    console.run([program, *options, *arguments], environment, stay=settings.topology == "embedded")


def _app(context: click.Context) -> Flask:
    # Flask's and Quart's ScriptInfo are different classes with the same method.
    return t.cast("Flask", context.obj.load_app())


def _connections(context: click.Context, prefixes: cabc.Collection[str]) -> dict[str, Settings]:
    from . import health

    app = _app(context)
    try:
        found = health.connections(app, prefixes)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--prefix") from None
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    if not found:
        raise click.ClickException(f"Nothing is known of the connections of {app.name!r}: another class makes them.")
    return found


# What ping prints


def _table(results: cabc.Sequence[Result]) -> cabc.Iterator[str]:
    """A line for each result, and below it what is wrong, and a URL that is too long for the line."""
    rows = [
        (
            result.prefix,
            _milliseconds(result.latency) if result.ok else "FAILED",
            " ".join(filter(None, (result.server, result.version))) or "-",
            result.role or "-",
            result.topology,
        )
        for result in results
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for result, row in zip(results, rows, strict=True):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        if len(f"{line}  {result.url}") <= _width():
            yield f"{line}  {result.url}"
        else:
            yield line.rstrip()
            yield _indented(result.url)
        if result.error:
            yield _indented(result.error)
        if result.breaker not in {None, "closed"}:
            yield _indented(f"The application's circuit breaker is {result.breaker}.")


def _milliseconds(seconds: float | None) -> str:
    milliseconds = 1000 * (seconds or 0)
    return f"{milliseconds:.2f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


def _indented(text: str) -> str:
    return _wrapped(f"  {text}", 2)


def _wrapped(text: str, indent: int) -> str:
    """*text* in lines as wide as the terminal, all but the first indented. What may be copied stays in one piece."""
    # Beside a long beginning there is room for a word.
    width = max(_width(), indent + 20)
    lines = textwrap.wrap(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def _width() -> int:
    return shutil.get_terminal_size().columns


# What config prints

#: The values that are shown though nobody has set them.
_USUAL: t.Final = (
    "class",
    "sentinels",
    "sentinel_service",
    "startup_nodes",
    "host",
    "port",
    "unix_socket_path",
    "db",
    "username",
    "password",
    "ssl",
    "decode_responses",
    "socket_timeout",
    "socket_connect_timeout",
    "max_connections",
    "retry",
    "circuit_breaker",
)


def _lines(settings: Settings) -> cabc.Iterator[str]:
    rows = [
        (name, found["source"], _shown(name, found["value"]))
        for name, found in _description(settings)["values"].items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield _wrapped(f"{settings.prefix}  {settings.topology}  {settings.url}", 2)
    for name, source, value in rows:
        start = f"  {name.ljust(widths[0])}  {source.ljust(widths[1])}  "
        yield _wrapped(start + value, len(start))


def _description(settings: Settings) -> dict[str, t.Any]:
    """What JSON can hold, without secrets."""
    values = _values(settings)
    names = [name for name in _USUAL if name in values] + sorted(settings.sources.keys() & values.keys() - {*_USUAL})
    return {
        "prefix": settings.prefix,
        "topology": settings.topology,
        "url": settings.url,
        "values": {name: {"source": _source(settings, name), "value": _plain(name, values[name])} for name in names},
    }


def _values(settings: Settings) -> dict[str, t.Any]:
    """What there is to know, by the rest of the keys in lower case."""
    known = _known(settings)
    where = "sentinels" if settings.topology == "sentinel" else "startup_nodes"
    values: dict[str, t.Any] = {
        **{name: known[name].default for name in _USUAL if name in known},
        **settings.options,
        "class": settings.client_class,
        "circuit_breaker": settings.breaker,
        "slow_command": settings.slow_command,
        "server_timing": settings.server_timing,
        **({where: [f"{host}:{port}" for host, port in settings.nodes]} if settings.nodes else {}),
    }
    if settings.topology == "sentinel":
        values.update(sentinel_service=settings.name, role="replica" if settings.replica else "master")
        values.update(sentinel_kwargs=settings.sentinel_options)
    if "retry" in known:
        values["retry"] = _retry(settings, known)
    # What None means here: as many as a pool has by itself, and as long as for an answer.
    if values.get("max_connections", 0) is None:
        values["max_connections"] = importlib.import_module(settings.module).ConnectionPool().max_connections
    if values.get("socket_connect_timeout", 0) is None:
        values["socket_connect_timeout"] = values.get("socket_timeout")
    return {name: value for name, value in values.items() if _applies(settings, name)}


def _known(settings: Settings) -> dict[str, Parameter]:
    """The parameters with their defaults, of which the connections of a Sentinel's pool have their own."""
    from .parameters import parameters

    known = parameters(settings.client_class)
    if settings.topology != "sentinel":
        return known
    return known | parameters(importlib.import_module(f"{settings.module}.connection").Connection)


def _retry(settings: Settings, known: cabc.Mapping[str, Parameter]) -> t.Any:
    """The number of retries, or an object that has it."""
    from .topologies import EMBEDDED_RETRIES

    options = settings.options
    if settings.retry is not None:
        return settings.retry
    if settings.topology == "embedded":
        return EMBEDDED_RETRIES
    if settings.topology == "cluster":
        name = "cluster_error_retry_attempts"
        return options.get(name, known.get(name, known["retry"]).default)
    if known["retry"].default is not None:
        return known["retry"].default
    # A connection without a Retry. A circuit breaker brings one, which tries once.
    again = options.get("retry_on_timeout") or options.get("retry_on_error")
    return int(bool(again) and settings.breaker is None)


def _applies(settings: Settings, name: str) -> bool:
    """Whether this was set, or would make a difference."""
    if name in {"host", "port"} and settings.options.get("unix_socket_path"):
        return False
    if name == "unix_socket_path":
        return bool(settings.options.get(name))
    if name in settings.sources or name == "class":
        return True
    if settings.options.get("connection_pool") is not None:
        return False
    if name in {"host", "port"}:
        return settings.topology == "standalone"
    return name not in {"username", "password", "ssl"} or settings.topology not in {"memory", "embedded"}


def _source(settings: Settings, name: str) -> str:
    sources = settings.sources
    if name in {"sentinels", "startup_nodes"}:
        # A URL has them in the place of the host, which another key may state as well.
        return sources.get(name) or sources.get("url") or sources.get("host") or "default"
    if name == "unix_socket_path":
        return sources.get(name) or sources["host"]
    if name == "retry":
        return sources.get(name) or sources.get("cluster_error_retry_attempts") or "default"
    return sources.get(name, "default")


def _shown(name: str, value: t.Any) -> str:
    """What :func:`_plain` returns, as a reader would set it."""
    if value is None:
        return "off" if name == "circuit_breaker" else "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(_shown(name, each) for each in value)
    if isinstance(value, dict):
        return ", ".join(f"{limit} {_shown(limit, number)}" for limit, number in value.items()) or "on"
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _plain(name: str, value: t.Any) -> t.Any:
    """*value* as JSON has it. Of an object whose text nobody knows, which may hold a secret, the class."""
    from . import health
    from . import urls

    if value is None:
        return None
    if urls.SECRET.search(name) or name == "sentinel_kwargs":
        return "***"
    value = health.as_text(value)
    if isinstance(value, str):
        return urls.mask(value) if "://" in value else value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, list):
        return [_plain(name, each) for each in value]
    if name == "circuit_breaker":
        return dict(value)
    if name == "retry":
        return value._retries
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
