"""Checks of the book's exercises, one module a chapter: each says what is right, or what is not."""
