"""Checks of the book's exercises, one module a chapter: each says what is right, or what is not."""

from torch import Tensor


def told(name: str, right: str, problem: str) -> bool:
    """Print what is right about an answer, or its problem if there is one; whether it passed."""
    print(f"not yet: {problem}" if problem else f"ok  {name}: {right}")
    return not problem


def unlike(name: str, answer: object, like: Tensor, ending: str) -> str:
    """What is wrong with an answer that is not a tensor shaped like another, else nothing."""
    if not isinstance(answer, Tensor):
        return f"{name} returns a {type(answer).__name__}; {ending}"
    if answer.shape != like.shape:
        return f"{name} returns shape {tuple(answer.shape)} instead of {tuple(like.shape)}"
    return ""
