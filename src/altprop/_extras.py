"""How to install what an extra brings, with a command that works: altprop is in no package index."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname


def how_to_install(extra: str) -> str:
    """The command that installs an extra, from where this altprop was installed from.

    Args:
        extra: its name, such as ``"explain"``.
    """
    return _command(_origin(), extra)


def _origin() -> dict[str, Any]:
    """What pip wrote down of where it took altprop from; empty if it did not install it."""
    try:
        text = distribution("altprop").read_text("direct_url.json")
    except PackageNotFoundError:
        text = None
    origin: dict[str, Any] = json.loads(text) if text else {}
    return origin


def _command(origin: dict[str, Any], extra: str) -> str:
    """The command for an origin, of which PEP 610 says what it holds.

    Example:
        >>> _command({"url": "https://host/altprop", "vcs_info": {"vcs": "git", "commit_id": "4f2a"}}, "snn")
        "pip install 'altprop[snn] @ git+https://host/altprop@4f2a'"
        >>> _command({}, "snn")
        "pip install -e '.[snn]' in a clone of altprop"
    """
    url = urlsplit(origin.get("url", ""))
    if not url.scheme:
        return f"pip install -e '.[{extra}]' in a clone of altprop"
    if "vcs_info" in origin:
        version = origin["vcs_info"]
        return f"pip install 'altprop[{extra}] @ {version['vcs']}+{url.geturl()}@{version['commit_id']}'"
    if url.scheme != "file":
        return f"pip install 'altprop[{extra}] @ {url.geturl()}'"
    editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return f"pip install {editable}{shlex.quote(f'{url2pathname(url.path)}[{extra}]')}"
