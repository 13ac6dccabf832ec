"""The reconstruction table."""
