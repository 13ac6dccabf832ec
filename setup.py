"""A wheel brings along the measured tables of ``results/`` and the pages of the figures.

The addresses are those of the build, see ``invlib/reproduce/book/address.py``.
"""

from pathlib import Path
from runpy import run_path

from setuptools import find_namespace_packages, setup

TABLES = "invlib.measured_tables"  # see invlib/measured.py
PAGES = "invlib.figure_pages"  # see invlib/reproduce/elsewhere/drawing.py
ADDRESS = run_path(str(Path(__file__).parent / "invlib/reproduce/book/address.py"))
WHERE = ADDRESS["address"]()
URLS = {"Source": WHERE.repository, "Documentation": WHERE.site}

setup(
    project_urls={name: url for name, url in URLS.items() if url},
    packages=[*find_namespace_packages(include=["invlib*"]), TABLES, PAGES],
    package_dir={TABLES: "results", PAGES: "book/figures"},
    package_data={
        TABLES: ["*.json"],
        PAGES: ["*.ipynb"],
        "invlib.portraits": ["weights/**", "pictures/*.png"],
        "invlib.stars": ["weights/**"],
    },
)
