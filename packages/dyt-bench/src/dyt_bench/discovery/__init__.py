"""Entry points -> objects: what installed packages offer, imported safely and checked."""
