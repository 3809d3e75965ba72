"""``flask redis``: what an operator asks on a bad day.

Every application has the commands, and few processes run one. So nothing is imported here but what Flask has imported.
"""

from __future__ import annotations

import collections.abc as cabc
import enum
import functools
import shutil
import textwrap
import typing as t
from pathlib import Path

import click

if t.TYPE_CHECKING:
    from flask import Flask

    from .config import Settings
    from .health import Result


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


@group.command("ping")
@_prefixes
@click.option("--timeout", default=1.0, show_default=True, help="Seconds, for all of them together.")
@click.option("--json", "as_json", is_flag=True, help="Print a list in JSON.")
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
@click.pass_context
def config_command(context: click.Context, prefixes: tuple[str, ...]) -> None:
    """Show what every connection is configured with, and where from.

    Beside each value stands the configuration key that states it: the URL's, its own, or that of a file. Values that
    nobody set are "default". Secrets are not shown.
    """
    descriptions = ("\n".join(_description(settings)) for settings in _connections(context, prefixes).values())
    click.echo("\n\n".join(descriptions))


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
        raise click.ClickException(f"{settings.url}: {health.without_secrets(settings, error)}") from error
    arguments_for = console.for_iredis if Path(program).stem == "iredis" else console.for_redis_cli
    options, environment = arguments_for(target)
    console.run([program, *options, *arguments], environment, stay=settings.topology == "embedded")


def _app(context: click.Context) -> Flask:
    # Flask's and Quart's ScriptInfo are different classes with the same method.
    return t.cast("Flask", context.obj.load_app())


def _connections(context: click.Context, prefixes: cabc.Collection[str]) -> dict[str, Settings]:
    from . import health

    try:
        return health.connections(_app(context), prefixes)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--prefix") from None


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


def _description(settings: Settings) -> cabc.Iterator[str]:
    values = _values(settings)
    names = [name for name in _USUAL if name in values] + sorted(settings.sources.keys() & values.keys() - {*_USUAL})
    rows = [(name, _source(settings, name), _shown(name, values[name])) for name in names]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield _wrapped(f"{settings.prefix}  {settings.topology}  {settings.url}", 2)
    for name, source, value in rows:
        start = f"  {name.ljust(widths[0])}  {source.ljust(widths[1])}  "
        yield _wrapped(start + value, len(start))


def _values(settings: Settings) -> dict[str, t.Any]:
    """What there is to know, by the rest of the keys in lower case."""
    from .parameters import parameters

    known = parameters(settings.client_class)
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
        # It is that of the connections, which the client's does not say.
        values.pop("retry", None)
    if settings.retry is not None:
        values["retry"] = settings.retry
    return {name: value for name, value in values.items() if _applies(settings, name, value)}


def _applies(settings: Settings, name: str, value: t.Any) -> bool:
    """Whether there is such a value, and it was set or would make a difference."""
    if name in {"host", "port"} and "unix_socket_path" in settings.options:
        return False
    if name in settings.sources or name == "class":
        return True
    if "connection_pool" in settings.options:
        return False
    if name in {"host", "port"}:
        return settings.topology == "standalone"
    if name in {"username", "password", "ssl"}:
        return settings.topology not in {"memory", "embedded"}
    # None is a number of retries that redis-py sets elsewhere.
    return value is not None or name not in {"retry", "startup_nodes", "unix_socket_path"}


def _source(settings: Settings, name: str) -> str:
    sources = settings.sources
    if name in {"sentinels", "startup_nodes"}:
        # A URL has them in the place of the host, which another key may state as well.
        return sources.get(name) or sources.get("url") or sources.get("host") or "default"
    if name == "unix_socket_path":
        return sources.get(name) or sources["host"]
    return sources.get(name, "default")


def _shown(name: str, value: t.Any) -> str:
    """*value* as a reader would set it. Of an object whose text nobody knows, which may hold a secret, the class."""
    from . import urls

    if value is None:
        return "off" if name == "circuit_breaker" else "none"
    if urls.SECRET.search(name) or name == "sentinel_kwargs":
        return "***"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return urls.mask(value) if "://" in value else value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (int, float)):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(_shown(name, each) for each in value)
    if name == "circuit_breaker":
        return ", ".join(f"{limit} {number:g}" for limit, number in value.items()) or "on"
    if name == "retry":
        return str(value._retries)
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
