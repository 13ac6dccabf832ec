"""Checks of the book's exercises, one module a chapter: each says what is right, or what is not."""


def told(name: str, right: str, problem: str) -> bool:
    """Print what is right about an answer, or its problem if there is one; whether it passed."""
    print(f"not yet: {problem}" if problem else f"ok  {name}: {right}")
    return not problem
