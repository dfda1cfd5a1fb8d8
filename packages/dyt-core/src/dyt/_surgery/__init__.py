"""Looks into a model and changes it: audit, convert, revert, calibrate."""
