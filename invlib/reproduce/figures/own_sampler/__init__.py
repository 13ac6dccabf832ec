"""Every model as its makers run it: its own sampler, steps and guidance."""
