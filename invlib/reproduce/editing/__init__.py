"""Edits of what inversions recovered."""
