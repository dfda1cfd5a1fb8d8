"""What normalization layers cost: the measurement, its session, its page."""
