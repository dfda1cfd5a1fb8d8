"""The fused backends: a folder each, with its device code and the launcher that calls it."""
