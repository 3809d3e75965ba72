"""The secret key that signs the session cookies, for an installation that was not given one."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from pathlib import Path


def load(path: Path) -> str:
    """The secret key in the file at *path*, made by the first process that comes."""
    if not path.exists():
        _create(path)
    return path.read_text("ascii")


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A temporary file is readable by its owner only. It gets its name when it is complete, so that nobody reads half a
    # key; and as a link, which unlike a rename cannot replace the key that another worker made in the meantime.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="ascii") as file:
        file.write(secrets.token_hex(32))
        file.flush()
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(file.name)
