"""The cost of normalization layers: its measurement, its session, its page."""
