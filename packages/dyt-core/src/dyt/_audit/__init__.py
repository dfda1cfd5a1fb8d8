"""Looks into a model: which modules are norms, where they stand, what they compute."""
