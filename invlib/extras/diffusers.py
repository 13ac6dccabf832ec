"""Imported where diffusers pipelines are needed: an error that names the extra, or nothing."""

from . import need

need("diffusers")
