"""Runs that have ended -> comparisons and standings: the statistics, and their words."""
