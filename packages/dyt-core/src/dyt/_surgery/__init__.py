"""Looks into a model and changes it: finds its norms, swaps, reverts and calibrates them."""
