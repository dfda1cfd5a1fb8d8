"""The folder a benchmark works in: records, timings, and the default MLflow store."""

