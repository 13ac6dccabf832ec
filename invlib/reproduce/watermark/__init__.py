"""What inversions read of marks in pictures."""
