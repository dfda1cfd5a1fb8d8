"""A run's folder, the workspace of all runs, and what identifies a run."""
