"""The field bench: every method on every sampler."""
