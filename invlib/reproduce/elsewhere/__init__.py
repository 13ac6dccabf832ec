"""All figures in a folder of one's own, from an installed package; see ``book/run_on_a_gpu``."""

from .costs import costs
from .drawing import draw, pictures
from .plan import Plan, plan

__all__ = ["Plan", "costs", "draw", "pictures", "plan"]
