"""Waiting for what another process does: poll with a deadline, never sleep and hope."""

from __future__ import annotations

import collections.abc as cabc
import time
import typing as t

_T = t.TypeVar("_T")


def wait_until(
    condition: cabc.Callable[[], _T | None],
    timeout: float = 30.0,
    message: str | cabc.Callable[[], str] = "the condition did not become true",
    *,
    ignoring: tuple[type[Exception], ...] = (),
    interval: float = 0.01,
) -> _T:
    """Call *condition* until it returns something true, and return that.

    :param timeout: seconds.
    :param message: what the failure says; a callable is asked only then.
    :param ignoring: exceptions of *condition* that mean "not yet".
    :param interval: seconds between two calls.
    :raises AssertionError: when the time is up.
    """
    deadline = time.monotonic() + timeout
    while True:
        # Looked at before the condition: however slow the machine, it is asked once more after the deadline.
        late = time.monotonic() >= deadline
        reason: Exception | None = None
        try:
            value = condition()
        except ignoring as error:
            value = None
            reason = error
        if value:
            return value
        if late:
            text = message if isinstance(message, str) else message()
            raise AssertionError(f"Waited {timeout:g} s: {text}") from reason
        time.sleep(interval)
