"""Regenerate the figures and tables of the paper."""
