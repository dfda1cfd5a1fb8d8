"""One module for each fused backend: its launcher, beside its device code."""
