"""Pages of HTML that need no other file and no network."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape


def render(template: str, **parts: Any) -> str:
    """Fill in one of the templates.

    Args:
        template: its file.
        **parts: what it shows. For what all pages have in common, see ``templates/base.html``.
    """
    environment = Environment(
        loader=PackageLoader("altprop.experiment", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = lambda image: f"data:image/svg+xml;base64,{b64encode(image).decode()}"
    environment.filters["whole"] = _with_whole_deviations
    # A page says which one script may run in it, and that it fetches nothing.
    environment.filters["sha256"] = lambda text: b64encode(sha256(text.encode()).digest()).decode()
    script = (files("altprop.experiment") / "templates" / "copy.js").read_text(encoding="utf-8")
    return environment.get_template(template).render(script=script, **parts)


def _with_whole_deviations(cell: str) -> Markup:
    """A cell in which "± 0.01" is not broken into lines."""
    return Markup(re.sub(r"± \S+", r'<span class="whole">\g<0></span>', str(escape(cell))))
