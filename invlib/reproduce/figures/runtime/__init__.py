"""The run-time table."""
