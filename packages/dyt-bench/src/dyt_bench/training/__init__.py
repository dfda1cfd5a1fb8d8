"""Everything that decides a run's numbers, and nothing else."""
