"""What a user may type."""

from __future__ import annotations

import typing as t

from flask import request

#: The fewest and the most characters of each field.
LIMITS: t.Final = {"name": (3, 40), "title": (1, 120), "comment": (1, 5000)}


def typed(field: str) -> str:
    """What the user typed into *field*, tidied up. Only a comment has more than one line."""
    text = request.form.get(field, "")
    if field == "comment":
        return "\n".join(text.splitlines()).strip()
    return " ".join(text.split())


def problems(**texts: str) -> dict[str, str]:
    """What is wrong with *texts*, as a message for the user, by the name of the field."""
    messages = {field: _problem(field, text) for field, text in texts.items()}
    return {field: message for field, message in messages.items() if message}


def _problem(field: str, text: str) -> str | None:
    fewest, most = LIMITS[field]
    if not any(character.isprintable() and not character.isspace() for character in text):
        return f"Please enter a {field}."
    if len(text) < fewest:
        return f"A {field} has at least {fewest} characters."
    if len(text) > most:
        return f"A {field} has at most {most} characters. This one has {len(text)}."
    if field == "name" and not text.isprintable():
        # Characters without a shape make a name that looks like somebody else's.
        return "A name has visible characters only."
    return None
