"""Figure 3: the error against the number of inversion steps."""
