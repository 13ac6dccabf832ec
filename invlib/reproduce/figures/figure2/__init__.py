"""Figure 2: what each inversion recovers."""
