"""The figures of the paper, one room each."""
