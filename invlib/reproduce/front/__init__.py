"""The open front: few-step 2M at high guidance."""
