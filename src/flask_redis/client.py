"""Where flask-redis has its class: many applications import it from here."""

from __future__ import annotations

from .compat import FlaskRedis

__all__ = ["FlaskRedis"]
