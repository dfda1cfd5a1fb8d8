"""Image sets for any domain: where they come from, which files they have, how they are read."""
