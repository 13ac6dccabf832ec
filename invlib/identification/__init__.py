"""Who made this picture: which prompt and settings of some lists, or none of them."""

from .candidates import Candidate
from .law import Surprise, surprise
from .result import Identification
from .rough import Rough, first_look
from .search import identify
from .space import Phrases, ascend

__all__ = [
    "Candidate",
    "Identification",
    "Phrases",
    "Rough",
    "Surprise",
    "ascend",
    "first_look",
    "identify",
    "surprise",
]
