"""Cells of work, the keys that they are stored under, and what runs and stores them."""
