"""Changes a model: swaps its norms, reverts the swap, and calibrates the start."""
