"""Entry points -> objects, safely: what installed packages offer, and what is wrong with it."""
