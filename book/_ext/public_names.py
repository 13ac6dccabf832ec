"""Resolve references to public names, such as ``invlib.invert``, to where they are documented."""

from __future__ import annotations

from importlib import import_module

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

import invlib
from invlib import (
    autoencoder,
    editing,
    flow,
    identification,
    inverters,
    noisefile,
    pipelines,
    reversible,
    seeds,
)

LIKELIHOOD = import_module("invlib.likelihood")  # ``invlib.likelihood`` itself is the function
PACKAGES = (
    *(invlib, autoencoder, editing, flow, identification, inverters),
    *(LIKELIHOOD, noisefile, pipelines, reversible, seeds),
)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"].rpartition(".")[2]
    values = [getattr(package, name, None) for package in PACKAGES]
    homes = [f"{getattr(v, '__module__', None)}.{getattr(v, '__qualname__', None)}" for v in values]
    objects = env.get_domain("py").objects
    home = next((home for home in homes if home in objects), "")
    entry = objects.get(home)
    if entry is None:
        return None
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, home)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
