"""The command line: each command parses, calls and prints."""

from dyt_bench.cli import data, inspection, merging, packages, suites, tracking
from dyt_bench.cli.group import main

__all__ = ["data", "inspection", "main", "merging", "packages", "suites", "tracking"]
