"""The comparison of methods."""
