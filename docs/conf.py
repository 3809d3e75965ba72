"""The settings of Sphinx for ``make docs``."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of

from sphinx.application import Sphinx

project = "Flask-And-Redis"
author = "The Flask-And-Redis developers"
release = version = version_of("Flask-And-Redis")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

# Links to headings, as on GitHub.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True

nitpicky = True
# What belongs to others, whose documentation is in the network, where this build shall not need to go.
nitpick_ignore_regex = [
    ("py:.*", r"(flask|quart|redis|valkey|pybreaker|werkzeug|click)\..*"),
    ("py:.*", r"(asyncio|collections|t|cabc|typing)\..*"),
    # Flask's and Quart's application.
    ("py:class", "App"),
    ("py:mod", "contextvars"),
]

html_theme = "furo"
html_title = f"Flask-And-Redis {version}"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_js_files = ["filter.js"]
html_copy_source = False
html_show_sphinx = False

REPOSITORY = "https://github.com/playpauseandstop/Flask-And-Redis/blob/HEAD/"


def setup(app: Sphinx) -> None:
    """Have links to what is not in this folder go to the repository."""
    app.connect("source-read", lead_out)


def lead_out(_: Sphinx, __: str, source: list[str]) -> None:
    """Pages are read as they are in the repository too, where such links are relative. A test follows them there."""
    source[0] = re.sub(r"\]\(\.\./(?=[^)]+\))", f"]({REPOSITORY}", source[0])
