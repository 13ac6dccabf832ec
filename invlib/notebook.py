"""What the book's notebooks need: real source on the page, numbers in its text, a slider.

Everything here works on a static page, where no Python runs.
"""

from __future__ import annotations

import base64
import html
import inspect
import io
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import Markdown, display

WITHOUT_HEADERS = """
.invlib-frames > .p-TabBar, .invlib-frames > .lm-TabBar { display: none !important; }
.invlib-frames > .widget-tab-contents { border: none !important; padding: 0 !important; }
"""


def source(function: Callable | type) -> Markdown:
    """Show the source of a function or class as it stands in the library."""
    return Markdown(f"```python\n{textwrap.dedent(inspect.getsource(function))}```")


def glue(name: str, value: float | int | str) -> None:
    """Give the page a value that its text shows where it says ``{glue:text}`name:.0f```.

    The same as ``myst_nb.glue``, which needs Sphinx; Colab has none.

    Args:
        name: name of the value.
        value: a plain Python number or string.
    """
    if not isinstance(value, float | int | str):
        raise TypeError(f"{name}: glue a Python number, not a {type(value).__name__}")
    prefix = "application/papermill.record/"
    display(
        {f"{prefix}text/plain": repr(value)},
        metadata={"scrapbook": {"name": name, "mime_prefix": prefix}},
        raw=True,
    )


def slides(figures: Sequence[Any], *, alt: Sequence[str], description: str) -> Any:
    """A slider that leafs through finished figures; it needs no kernel.

    Args:
        figures: matplotlib figures; they are drawn once and closed.
        alt: a description of each figure for readers who do not see it.
        description: label of the slider.

    Returns:
        A widget, live in Jupyter and on the built page alike.
    """
    import ipywidgets as widgets

    frames = []
    for figure, text in zip(figures, alt, strict=True):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
        data = base64.b64encode(buffer.getvalue()).decode()
        frames.append(
            widgets.HTML(
                f'<img src="data:image/png;base64,{data}" alt="{html.escape(text)}" '
                'style="width: 35rem; max-width: 100%; height: auto">'
            )
        )
    shown, *hidden = one_of(frames)
    slider = widgets.IntSlider(
        value=0,
        max=len(frames) - 1,
        description=description,
        readout=False,  # the pictures say where they are; a frame's number says nothing
        style={"description_width": "initial"},
        layout={"width": "min(30rem, 95%)"},
    )
    widgets.jslink((slider, "value"), (shown, "selected_index"))
    return widgets.VBox([slider, shown, *hidden])


def one_of(frames: Sequence[Any]) -> list[Any]:
    """A widget that shows the frame with the number ``selected_index``, and what it needs.

    That is a stack. ipywidgets 7, the version of Colab, has none; there it is a row of tabs
    whose headers a style sheet hides.
    """
    import ipywidgets as widgets

    if hasattr(widgets, "Stack"):
        return [widgets.Stack(frames, selected_index=0)]
    tabs = widgets.Tab(frames, selected_index=0)
    tabs.add_class("invlib-frames")
    return [tabs, widgets.HTML(f"<style>{WITHOUT_HEADERS}</style>", layout={"display": "none"})]
