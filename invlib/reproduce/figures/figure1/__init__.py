"""Figure 1: the outline of Algorithm 2."""
