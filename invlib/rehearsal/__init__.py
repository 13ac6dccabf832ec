"""What inversion costs on networks of full size; the weights are random, only cost is real."""

from .architectures import ARCHITECTURES, DTYPES, random_network
from .measure import rehearse
from .table import keep, markdown

__all__ = ["ARCHITECTURES", "DTYPES", "keep", "markdown", "random_network", "rehearse"]
