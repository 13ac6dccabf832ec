"""Who made this picture: which prompt and settings of some lists, or none of them."""

from .candidates import Candidate
from .law import Surprise, surprise
from .prompt import FoundPrompt, find_prompt
from .result import Identification
from .rough import Rough, first_look
from .search import identify
from .space import Phrases, ascend

__all__ = [
    "Candidate",
    "FoundPrompt",
    "Identification",
    "Phrases",
    "Rough",
    "Surprise",
    "ascend",
    "find_prompt",
    "first_look",
    "identify",
    "surprise",
]
