"""The stored form of a notebook: equal outputs are equal bytes.

Jupyter gives widgets and tables random names, notes when a cell ran, cuts what is printed wherever
the clock happens to cut it, and shows where an object lies in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from nbformat import NotebookNode

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
LINK = "IPY_MODEL_"  # how the state of a widget names another one
TABLE = re.compile(r'<table id="(T_\w+?)"')
ADDRESS = re.compile(r" at 0x[0-9a-f]+(?=>)")


def tidied(notebook: NotebookNode) -> NotebookNode:
    """A notebook without what changes from run to run: times, random names, addresses.

    Cells that papermill added go, too. Doing it twice is doing it once.
    """
    page = deepcopy(notebook)
    page.metadata.pop("papermill", None)
    page.cells = [c for c in page.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    for cell in page.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
    code = [cell for cell in page.cells if cell.cell_type == "code"]
    for number, cell in enumerate((c for c in code if c.execution_count), 1):
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    for cell in code:
        cell.outputs = joined(cell.outputs)
    data = [output.data for cell in code for output in cell.outputs if "data" in output]
    for shown in data:
        if "text/plain" in shown:
            shown["text/plain"] = ADDRESS.sub("", shown["text/plain"])
    _name_tables(data)
    _name_widgets(page, [shown[VIEW] for shown in data if VIEW in shown])
    return page


def joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Outputs in which what is printed in a row is one piece."""
    found: list[NotebookNode] = []
    for output in outputs:
        last = found[-1] if found else None
        if last and last.output_type == output.output_type == "stream" and last.name == output.name:
            last.text += output.text
        else:
            found.append(output)
    return found


def _name_tables(data: Iterable[NotebookNode]) -> None:
    """Number the tables of pandas, whose cells carry the name of the table."""
    count = 0
    for shown in data:
        text, names = shown.get("text/html", ""), dict[str, str]()
        for name in TABLE.findall(text):
            count += 1
            names.setdefault(name, f"T_{count:05}")
        if names:
            shown["text/html"] = _replaced(text, names)


def _replaced(text: str, names: Mapping[str, str]) -> str:
    """A text with new names of tables, also where the name of a cell starts with one."""
    return re.sub(rf"\b({'|'.join(names)})(?=\b|_)", lambda found: names[found[0]], text)


def _name_widgets(page: NotebookNode, views: list[NotebookNode]) -> None:
    """Number the widgets as the page shows them; without a view, no state is kept."""
    if not views:
        page.metadata.pop("widgets", None)
        return
    stored = page.metadata.get("widgets", {}).get(STATE, {})
    models = stored.get("state", {})
    names = widget_names([view.model_id for view in views], models)
    for view in views:
        view.model_id = names[view.model_id]
    if models:
        stored["state"] = {names[name]: _renamed(model, names) for name, model in models.items()}


def widget_names(views: Iterable[str], models: Mapping[str, Any]) -> dict[str, str]:
    """Numbers as names of widgets: first what is shown and what that is made of, then the rest."""
    names: dict[str, str] = {}

    def visit(name: str) -> None:
        if name not in names:
            names[name] = f"{len(names) + 1:032x}"
            for other in _links(models.get(name)):
                visit(other)

    for view in views:
        visit(view)
    while rest := [name for name in models if name not in names]:  # such as links between sliders
        visit(min(rest, key=lambda n: json.dumps(_renamed(models[n], names), sort_keys=True)))
    return names


def _links(value: Any) -> Iterator[str]:
    """The widgets that a part of a state names, in an order that is always the same."""
    if isinstance(value, str) and value.startswith(LINK):
        yield value.removeprefix(LINK)
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from _links(value[key])
    elif isinstance(value, list):
        for part in value:
            yield from _links(part)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A part of a state with new names of widgets; empty ones where none is known."""
    if isinstance(value, str) and value.startswith(LINK):
        return LINK + names.get(value.removeprefix(LINK), "")
    if isinstance(value, Mapping):
        return NotebookNode({key: _renamed(part, names) for key, part in value.items()})
    return [_renamed(part, names) for part in value] if isinstance(value, list) else value
