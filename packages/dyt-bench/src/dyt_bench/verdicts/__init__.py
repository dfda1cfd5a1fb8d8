"""Records -> numbers -> words: statistics, comparisons, standings."""
