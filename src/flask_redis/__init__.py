"""Redis for Flask applications, simple as dead."""

from __future__ import annotations

from .asyncio import AsyncRedis
from .compat import FlaskRedis
from .config import ConfigError
from .extension import Redis

__all__ = ["AsyncRedis", "ConfigError", "FlaskRedis", "Redis"]
