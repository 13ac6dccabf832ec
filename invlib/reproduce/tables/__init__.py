"""The long tables on the embedded models."""
