"""Which seed made this picture? The noise of millions of seeds against a recovered one."""

from .generators import CPU, FRONT_ENDS, GENERATORS, Generator, cuda
from .search import SeedSearch, find_seed

__all__ = [
    "CPU",
    "FRONT_ENDS",
    "GENERATORS",
    "Generator",
    "SeedSearch",
    "cuda",
    "find_seed",
]
