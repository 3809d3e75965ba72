"""What a client does when the server fails: retries and the circuit breaker."""

from __future__ import annotations

import copy
import importlib
import typing as t

from .config import ConfigError
from .config import Settings
from .parameters import parameters


def options(settings: Settings) -> dict[str, t.Any]:
    """The arguments of the client class for the configured retries; none leaves redis-py's own.

    :raises ConfigError: if the client class takes no such argument.
    """
    if settings.retry is None:
        return {}
    known = parameters(settings.client_class)
    if "retry" not in known:
        raise ConfigError(f"{settings.prefix}_RETRY is set, but {settings.prefix}_CLASS takes no 'retry'.")
    if not isinstance(settings.retry, int):
        return {"retry": settings.retry}
    default = known["retry"].default
    if default is None:
        return {"retry": _retry(settings, "default_backoff", settings.retry)}
    # From redis-py 6 on the signature holds the default, with its backoff.
    retry = copy.deepcopy(default)
    retry.update_retries(settings.retry)
    return {"retry": retry}


def no_retry(settings: Settings) -> t.Any:
    """A ``Retry`` that tries once."""
    return _retry(settings, "NoBackoff", 0)


def _retry(settings: Settings, backoff: str, retries: int) -> t.Any:
    make_backoff = getattr(importlib.import_module(f"{settings.package}.backoff"), backoff)
    return importlib.import_module(f"{settings.package}.retry").Retry(make_backoff(), retries)
