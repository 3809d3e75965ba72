"""Redis for Flask applications, simple as dead."""

from __future__ import annotations

from .asyncio import AsyncRedis
from .config import ConfigError
from .extension import Redis

__all__ = ["AsyncRedis", "ConfigError", "Redis"]
