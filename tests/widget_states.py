"""The widgets that a notebook stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat


def widget_models(path: Path) -> list[dict[str, Any]]:
    """Models of all widgets in a notebook, with ``model_name`` and ``state``."""
    widgets = nbformat.read(path, as_version=4).metadata.get("widgets", {})
    states = widgets.get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    return [*states.values()]
