"""The measured tables lie in ``results/``; a wheel brings them along as package data."""

from setuptools import find_namespace_packages, setup

TABLES = "invlib.measured_tables"  # see invlib/measured.py

setup(
    packages=[*find_namespace_packages(include=["invlib*"]), TABLES],
    package_dir={TABLES: "results"},
    package_data={
        TABLES: ["*.json"],
        "invlib.portraits": ["weights/**", "pictures/*.png"],
        "invlib.stars": ["weights/**"],
    },
)
