"""Figure 4: watermark keys in recovered noises."""
