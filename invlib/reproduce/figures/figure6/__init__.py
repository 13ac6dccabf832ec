"""Figure 6: edits of two portraits."""
