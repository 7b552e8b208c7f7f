"""Pages of HTML that need no other file and no network."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


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
    environment.filters["png"] = lambda image: f"data:image/png;base64,{b64encode(image).decode()}"
    return environment.get_template(template).render(**parts)
