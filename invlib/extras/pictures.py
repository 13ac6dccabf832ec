"""Imported where pictures are needed: an error that names the extra, or nothing."""

from . import need

need("diffusers", "PIL")
